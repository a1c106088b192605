"""API keys, and the sessions and tokens that are kept like them."""

import re
import secrets
import string
from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any, Final

from flask import current_app
from sqlalchemy import func, or_, select, update

from core.db import change, db, now
from core.errors import BadRequest, NotFound
from core.events import CoreEvents, emit
from core.identity import Identity, digest_of, expiry_event, identity_of, touch
from core.site import current_site
from core.users.models import API_KEY, SESSION, TOKENS, ApiKey, User

__all__ = [
    "add_key",
    "create_key",
    "create_session",
    "get_key",
    "list_keys",
    "revoke_all_keys",
    "revoke_key",
    "revoke_keys",
]

KEY_ALPHABET: Final = string.ascii_letters + string.digits + "-_"
PUBLIC_PART: Final = re.compile(r"[A-Za-z0-9_-]{10}", re.ASCII)
SHORTEST: Final = 60  # s; no key ends sooner after its last use
EXPIRED: Final = 1000  # keys that one look revokes at most


def create_key(
    user: User,
    *,
    maker: Identity | None = None,
    permissions: Collection[str] = (),
    permanent: bool = False,
    timeout: int = 1800,
    name: str = "",
) -> tuple[ApiKey, str]:
    """Make an API key for ``user``.

    :param maker: the identity that asks; the new key is never wider than the key it asks with.
    :param timeout: s without use after which the key is revoked.
    :returns: the stored key and its text, which is not kept and cannot be shown again.
    :raises BadRequest: for a permission that does not exist, or that the user does not hold.
    """
    inherited = maker.scope if maker else ()
    if permissions:
        _check_scope(user, permissions, maker)
    # An inherited scope keeps what the user lost since: an empty one would be no restriction at all.
    scope = sorted(set(permissions or inherited))
    key, text = add_key(user.id, permissions=scope, permanent=permanent, timeout=timeout, name=name)
    emit(CoreEvents.API_KEY_CREATED, target=f"api_key:{key.hash}", user_id=user.id, permissions=scope)
    return key, text


def create_session(user: User) -> tuple[ApiKey, str]:
    """Sign a browser in as ``user``, until it was not used for ``SESSION_LIFETIME`` seconds.

    :returns: the stored session and its text, which is for the cookie alone.
    """
    session, text = add_key(user.id, kind=SESSION, timeout=current_app.config["SESSION_LIFETIME"])
    emit(CoreEvents.SESSION_CREATED, target=f"user:{user.id}", session_hash=session.hash)
    return session, text


def add_key(user_id: int, *, kind: str = API_KEY, **columns: Any) -> tuple[ApiKey, str]:
    """Store a new key, session or token.

    :returns: its row and its text, which is not kept.
    """
    moment = now()
    public = "".join(secrets.choice(KEY_ALPHABET) for _ in range(10))
    secret = secrets.token_urlsafe(32)
    key = ApiKey(
        hash=public,
        user_id=user_id,
        digest=digest_of(secret),
        created_at=moment,
        last_used_at=moment,
        kind=kind,
        **columns,
    )
    db.session.add(key)
    db.session.flush()
    return key, public + secret


def get_key(hash_: str, identity: Identity, permission: str) -> ApiKey:
    """The key, or session, called ``hash_``; revoked ones too.

    :param permission: with which ``identity`` may have keys of others.
    :raises NotFound: if there is none, or it belongs to somebody else.
    """
    key = db.session.get(ApiKey, hash_) if PUBLIC_PART.fullmatch(hash_) else None
    if key is None or not (key.user_id == identity.user_id or identity.can(permission)):
        raise NotFound.of("APIKey", hash_)
    return key


def list_keys(user_id: int, *, include_dead: bool, page: int, limit: int) -> tuple[list[ApiKey], int]:
    """Keys and sessions of a user, newest first, and how many there are in all."""
    _revoke_expired(user_id)
    query = select(ApiKey).where(ApiKey.user_id == user_id)
    if not include_dead:
        query = query.where(ApiKey.revoked.is_(False))
    total = db.session.scalar(select(func.count()).select_from(query.subquery())) or 0
    newest = query.order_by(ApiKey.created_at.desc(), ApiKey.hash)
    return list(db.session.scalars(newest.limit(limit).offset((page - 1) * limit))), total


def _revoke_expired(user_id: int) -> None:
    """Revoke the keys of a user that have ended and that nobody has tried to use since."""
    moment = now()
    old = (
        ApiKey.user_id == user_id,
        ApiKey.revoked.is_(False),
        ApiKey.permanent.is_(False),
        or_(ApiKey.last_used_at < moment - timedelta(seconds=SHORTEST), ApiKey.kind.in_(TOKENS)),
    )
    oldest = select(ApiKey).where(*old).order_by(ApiKey.last_used_at).limit(EXPIRED)
    for key in db.session.scalars(oldest).all():
        if key.counted_from + timedelta(seconds=key.timeout) < moment:
            touch(user_id)
            # Unless another process has used it meanwhile.
            same = (
                ApiKey.hash == key.hash,
                ApiKey.last_used_at == key.last_used_at,
                ApiKey.revoked.is_(False),
            )
            if change(db.session, update(ApiKey).where(*same).values(revoked=True)):
                db.session.add(expiry_event(key.hash, user_id))


def revoke_key(key: ApiKey) -> None:
    """End one key or session; with a token the sign-in it belongs to, with a key what signed in with it.

    :raises BadRequest: if it is revoked already.
    """
    touch(key.user_id)  # first, so that no new token is made of this one meanwhile
    revoke = (
        update(ApiKey).where(ApiKey.user_id == key.user_id, ApiKey.revoked.is_(False)).values(revoked=True)
    )
    if not change(db.session, revoke.where(ApiKey.hash == key.hash)):
        raise BadRequest(f"APIKey {key.hash} is already revoked.", code="already_revoked")
    change(db.session, revoke.where(ApiKey.kind.in_(TOKENS), ApiKey.family == (key.family or key.hash)))
    emit(CoreEvents.API_KEY_REVOKED, target=f"api_key:{key.hash}", user_id=key.user_id)


def revoke_all_keys(user: User, *, keep: str = "") -> None:
    """The same for all that ``user`` has, because somebody asked for it."""
    revoked = revoke_keys(user, keep=keep)
    emit(CoreEvents.API_KEY_REVOKED, target=f"user:{user.id}", count=revoked)


def revoke_keys(user: User, *, keep: str = "", kinds: Collection[str] = ()) -> int:
    """Revoke every key, session and token of ``user``.

    :param keep: hash of one that stays.
    :param kinds: only these; empty: all.
    :returns: how many there were.
    """
    touch(user.id)
    alive = [ApiKey.user_id == user.id, ApiKey.revoked.is_(False), ApiKey.hash != keep]
    if kinds:
        alive.append(ApiKey.kind.in_(kinds))
    return change(db.session, update(ApiKey).where(*alive).values(revoked=True))


def _check_scope(user: User, scope: Iterable[str], maker: Identity | None) -> None:
    known = current_site().permissions
    held = identity_of(user)
    allowed = maker.scope if maker and maker.scope else known
    bad = [name for name in scope if name not in known or name not in allowed or not held.can(name)]
    if bad:
        raise BadRequest(f"A key cannot have these permissions: {', '.join(bad)}.", code="validation_failed")
