"""Tokens: how a program signs in without seeing a password, and stays signed in.

A page shows its user a one-time code. For the code the program gets an access token, which it sends with its
requests, and a refresh token, for which it gets the next pair. All of them are rows like those of API
keys. They have the scope of what they were made with, and end with it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import and_, delete, or_, select, update

from core.db import change, db, now
from core.errors import BadRequest, Unauthenticated
from core.events import CoreEvents, emit
from core.identity import Identity, touch
from core.users.models import ACCESS, API_KEY, CODE, REFRESH, SESSION, TOKENS, ApiKey
from core.users.services.keys import add_key

__all__ = ["EXCHANGEABLE", "Tokens", "create_access_token", "create_code", "exchange", "replace_key"]

EXCHANGEABLE: Final = frozenset({CODE, REFRESH, API_KEY})
# s from the making to the end. A transfer of many hours asks with one access token; who does not come
# for a season has to sign in again.
LIVES: Final = {CODE: 600, ACCESS: 24 * 3600, REFRESH: 90 * 24 * 3600}
OVERLAP: Final = 600  # s that a refresh token outlives its use: two processes may use it at once
MOST_CODES: Final = 20  # that wait for their use; of more the oldest end


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a program keeps of a sign-in."""

    refresh: str
    access: str
    expires_at: datetime  # the access token


def create_code(identity: Identity) -> str:
    """A code with which a program can sign in as the user of ``identity``, within its scope, once.

    :raises Unauthenticated: if what proved the identity has ended meanwhile.
    """
    user_id = _lock(identity)
    maker = _alive(identity) if identity.key_hash else None
    family = "" if maker is None or maker.kind == SESSION else maker.family or maker.hash
    _delete_old(user_id)
    mine = (ApiKey.user_id == user_id, ApiKey.kind == CODE, ApiKey.revoked.is_(False))
    newest = select(ApiKey.hash).where(*mine).order_by(ApiKey.created_at.desc()).offset(MOST_CODES - 1)
    if too_many := db.session.scalars(newest.limit(MOST_CODES)).all():
        db.session.execute(delete(ApiKey).where(ApiKey.hash.in_(too_many)))
    return _add(identity, CODE, family)[1]


def create_access_token(identity: Identity) -> str:
    """An access token for a user who has just given the password."""
    _lock(identity)
    row, text = _add(identity, ACCESS, "")
    _announce(row, "password")
    return text


def exchange(identity: Identity) -> Tokens:
    """New tokens for a code, a refresh token or an API key.

    A code is used up by this; a refresh token goes on for ten minutes at most; a key stays as it is.

    :param identity: what one of :data:`EXCHANGEABLE` proved.
    :raises Unauthenticated: if it has ended meanwhile, or the code was used in the same moment.
    """
    user_id = _lock(identity)
    given = _alive(identity)
    assert given.kind in EXCHANGEABLE, "nothing else gets this far"
    if given.kind == CODE:
        change(db.session, delete(ApiKey).where(ApiKey.hash == given.hash))
    elif given.kind == REFRESH:
        age = int((now() - given.created_at).total_seconds())
        sooner = (ApiKey.hash == given.hash, ApiKey.timeout > age + OVERLAP)
        db.session.execute(update(ApiKey).where(*sooner).values(timeout=age + OVERLAP))
    _delete_old(user_id)
    family = given.family or given.hash
    _, refresh = _add(identity, REFRESH, family)
    row, access = _add(identity, ACCESS, family)
    _announce(row, given.kind)
    return Tokens(refresh, access, row.created_at + timedelta(seconds=row.timeout))


def replace_key(identity: Identity) -> str:
    """Another access token, or API key, in the place of the one that asks, which ends.

    :raises BadRequest: if a browser's session asks.
    :raises Unauthenticated: if it has ended meanwhile.
    """
    user_id = _lock(identity)
    old = _alive(identity)
    if old.kind not in (ACCESS, API_KEY):
        raise BadRequest("Only an access token or an API key can be replaced.")
    new, text = add_key(
        user_id,
        kind=old.kind,
        name=old.name,
        permissions=list(old.permissions),
        permanent=old.permanent,
        timeout=old.timeout,
        family=old.family or old.hash,
    )
    db.session.execute(update(ApiKey).where(ApiKey.hash == old.hash).values(revoked=True))
    _announce(new, old.kind)
    return text


def _lock(identity: Identity) -> int:
    """Make everybody wait who uses up, replaces or revokes a key of this user."""
    if identity.user_id is None:
        raise Unauthenticated
    touch(identity.user_id)
    return identity.user_id


def _alive(identity: Identity) -> ApiKey:
    query = select(ApiKey).where(ApiKey.hash == identity.key_hash, ApiKey.revoked.is_(False))
    row = db.session.scalar(query.execution_options(populate_existing=True))
    if row is None:
        raise Unauthenticated
    return row


def _add(identity: Identity, kind: str, family: str) -> tuple[ApiKey, str]:
    # The scope as it stands: what the user has lost since stays in it. Without it a scope could become
    # empty, which is no restriction at all.
    assert identity.user_id is not None, "it was locked"
    scope = sorted(identity.scope)
    return add_key(identity.user_id, kind=kind, permissions=scope, timeout=LIVES[kind], family=family)


def _announce(row: ApiKey, by: str) -> None:
    target = f"user:{row.user_id}"
    emit(CoreEvents.TOKEN_CREATED, target=target, token_hash=row.hash, by=by, permissions=row.permissions)


def _delete_old(user_id: int) -> None:
    """Forget the tokens of a user that have ended long ago, and the codes that nobody used."""
    moment = now()
    ended = or_(
        ApiKey.created_at < moment - timedelta(seconds=LIVES[REFRESH]),
        and_(ApiKey.kind == CODE, ApiKey.created_at < moment - timedelta(seconds=LIVES[CODE])),
    )
    db.session.execute(delete(ApiKey).where(ApiKey.user_id == user_id, ApiKey.kind.in_(TOKENS), ended))
