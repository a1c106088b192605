"""Who is asking, and what that caller may do: one identity per request.

An identity is the user's permissions cut down to the scope of the key. Every decision asks it, and
nothing asks the user. It is kept in memory between requests and checked against the user's
generation number, which one indexed read gives; so a lock, a revocation or a new grant holds on
the very next request in every process.
"""

import hashlib
import hmac
import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Final

from flask import Request, g
from flask.globals import request_ctx
from sqlalchemy import Dialect, bindparam, select, update
from sqlalchemy.exc import OperationalError
from werkzeug.datastructures import Authorization

from core.blueprint import BARE, Mount
from core.db import change, db, now, own_transaction
from core.errors import AccountDisabled, AccountLocked, Forbidden, KeyScope, Unauthenticated
from core.permissions import GOD_MODE
from core.site import current_site
from core.users.models import ApiKey, ClassPermission, User, UserPermission

__all__ = [
    "ANONYMOUS",
    "Identity",
    "anonymous",
    "authenticate",
    "current_identity",
    "digest_of",
    "granted_to",
]

log = logging.getLogger(__name__)

HASH_LENGTH: Final = 10  # characters of a key that are its public identifier
MIN_KEY_LENGTH: Final = 34  # hash and the shortest secret ever made: 24 characters
WARM_LIMIT: Final = 10_000  # identities kept in memory, about 2 KB each
USE_INTERVAL: Final = 120.0  # s, or a quarter of the key's timeout: how exactly its last use is known


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller.

    :param user_id: None for a caller without credentials.
    :param granted: permissions of the user.
    :param scope: permissions the key is restricted to; empty means no restriction.
    """

    user_id: int | None = None
    username: str | None = None
    user_class_ids: tuple[int, ...] = ()
    granted: frozenset[str] = frozenset()
    scope: frozenset[str] = frozenset()
    key_hash: str | None = None
    locked: bool = False

    @property
    def authenticated(self) -> bool:
        return self.user_id is not None

    def can(self, permission: str) -> bool:
        """True if the user holds ``permission`` and the key's scope allows it."""
        return self._holds(permission) and self._in_scope(permission)

    def _holds(self, permission: str) -> bool:
        return permission in self.granted or GOD_MODE in self.granted

    def _in_scope(self, permission: str) -> bool:
        return (
            not self.scope
            or permission in self.scope
            or (GOD_MODE in self.scope and GOD_MODE in self.granted)
        )

    def require(self, permission: str) -> None:
        """:raises Unauthenticated: without credentials; :raises Forbidden: if :meth:`can` says no."""
        if self.can(permission):
            return
        if not self.authenticated:
            raise Unauthenticated
        if self.locked:
            raise AccountLocked
        raise KeyScope if self._holds(permission) else Forbidden

    @property
    def is_god(self) -> bool:
        """True for an administrator whose key is not restricted."""
        return self.can(GOD_MODE)


ANONYMOUS = Identity()


@dataclass(slots=True)
class Warm:
    """An identity kept between requests, and what tells whether it is still good."""

    identity: Identity
    generation: int
    timeout: float | None  # s; None for a permanent key
    last_used: datetime
    ip: str
    user_agent: str
    written: datetime = field(default_factory=now)


def anonymous() -> Identity:
    """A caller without credentials, with the permissions that the configuration gives to everyone."""
    granted = current_site().settings.values["ANONYMOUS_PERMISSIONS"]
    return Identity(granted=frozenset(granted)) if granted else ANONYMOUS


def current_identity() -> Identity:
    """The identity of the present request; the anonymous one outside of requests."""
    found: Identity = g.get("identity", ANONYMOUS)
    return found


def digest_of(secret: str) -> str:
    """What is stored of a machine-made secret: long and random, so a fast digest is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def authenticate(mount: Mount) -> Identity:
    """The identity that the present request's credentials prove.

    :raises Unauthenticated: if they are bad; never because there are none.
    :raises AccountDisabled: if they are good and the account is switched off.
    """
    request = request_ctx.request
    header = request.headers.get("Authorization")
    if header is None:
        return anonymous()
    scheme, _, credentials = header.strip().partition(" ")
    scheme = scheme.lower()
    if not credentials and BARE in mount.auth_schemes:
        scheme, credentials = BARE, header
    if scheme not in mount.auth_schemes:
        return anonymous()
    if scheme == "basic":
        parsed = Authorization.from_header(header)
        credentials = (parsed.password if parsed and parsed.password else "") or ""
    return _by_key(credentials.strip(), request)


def _by_key(key: str, request: Request) -> Identity:
    if len(key) < MIN_KEY_LENGTH or " " in key:
        raise Unauthenticated
    identities: dict[bytes, Warm] = current_site().identities
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
    moment = now()
    warm = identities.get(digest)
    if warm is None or not _still_good(warm, moment):
        warm = _load(key)
        if _expired(warm, moment):
            if _revoke(warm):
                raise Unauthenticated
            warm = _load(key)  # another process has just used it
        if len(identities) >= WARM_LIMIT:
            identities.clear()  # rare, and costs each caller one more read
        identities[digest] = warm
    _note_use(warm, moment, request)
    return warm.identity


def _still_good(warm: Warm, moment: datetime) -> bool:
    # A key that looks expired here may be in use in another process: the stored row decides.
    generation = _generation_of(warm.identity.user_id)
    return generation == warm.generation and not _expired(warm, moment)


def _generation_of(user_id: int | None) -> int | None:
    """The one query of a warm request. Through the driver's cursor, it costs a tenth of a ``select()``."""
    connection = db.session.connection()
    sql, positional = _generation_query(connection.dialect)
    try:
        cursor = connection.connection.cursor()
        cursor.execute(sql, (user_id,) if positional else {"user": user_id})
        row = cursor.fetchone()
        cursor.close()
    except connection.dialect.loaded_dbapi.Error as exc:
        connection.invalidate(exc)
        raise OperationalError(sql, None, exc) from exc
    return row[0] if row else None


@cache
def _generation_query(dialect: Dialect) -> tuple[str, bool]:
    compiled = select(User.generation).where(User.id == bindparam("user")).compile(dialect=dialect)
    return str(compiled), compiled.positional


def _expired(warm: Warm, moment: datetime) -> bool:
    return warm.timeout is not None and (moment - warm.last_used).total_seconds() > warm.timeout


def _load(key: str) -> Warm:
    row = db.session.execute(
        select(ApiKey, User).join(User, User.id == ApiKey.user_id).where(ApiKey.hash == key[:HASH_LENGTH])
    ).first()
    given = digest_of(key[HASH_LENGTH:])
    if row is None or not hmac.compare_digest(row.ApiKey.digest, given) or row.ApiKey.revoked:
        raise Unauthenticated
    stored, user = row
    if not user.enabled:
        raise AccountDisabled
    identity = identity_of(user, scope=stored.permissions, key_hash=stored.hash)
    return Warm(
        identity=identity,
        generation=user.generation,
        timeout=None if stored.permanent else float(stored.timeout),
        last_used=stored.last_used_at,
        ip=stored.ip,
        user_agent=stored.user_agent,
        written=stored.last_used_at,
    )


def identity_of(user: User, *, scope: Collection[str] = (), key_hash: str | None = None) -> Identity:
    """The identity of ``user`` acting through a key with ``scope``."""
    granted = frozenset() if user.locked else granted_to(user)
    return Identity(
        user_id=user.id,
        username=user.username,
        user_class_ids=(user.user_class_id,),
        granted=granted,
        scope=frozenset(scope),
        key_hash=key_hash,
        locked=user.locked,
    )


def granted_to(user: User) -> frozenset[str]:
    """What the user's class gives, with what was granted to or taken from the user alone."""
    by_class = select(ClassPermission.permission).where(ClassPermission.user_class_id == user.user_class_id)
    own = db.session.execute(
        select(UserPermission.permission, UserPermission.granted).where(UserPermission.user_id == user.id)
    )
    granted = set(db.session.scalars(by_class))
    for permission, added in own:
        granted = granted | {permission} if added else granted - {permission}
    return frozenset(granted)


def _revoke(warm: Warm) -> bool:
    """Revoke an expired key, unless its stored last use is no longer the one that was read."""
    identity = warm.identity
    same = (ApiKey.hash == identity.key_hash, ApiKey.last_used_at == warm.last_used)
    with own_transaction() as session:
        done = change(session, update(ApiKey).where(*same).values(revoked=True)) > 0
        if done:
            session.execute(
                update(User).where(User.id == identity.user_id).values(generation=User.generation + 1)
            )
    return done


def _note_use(warm: Warm, moment: datetime, request: Request) -> None:
    """Slide the window of the key; write it down now and then, and when address or agent changed."""
    warm.last_used = moment
    interval = timedelta(seconds=min(USE_INTERVAL, warm.timeout / 4 if warm.timeout else USE_INTERVAL))
    ip, agent = request.remote_addr or "", request.headers.get("User-Agent", "")[:512]
    if moment - warm.written < interval and (ip, agent) == (warm.ip, warm.user_agent):
        return
    warm.written, warm.ip, warm.user_agent = moment, ip, agent
    try:
        with own_transaction() as session:
            session.execute(
                update(ApiKey)
                .where(ApiKey.hash == warm.identity.key_hash)
                .values(last_used_at=moment, ip=ip[:45], user_agent=agent)
            )
    except OperationalError:
        # Somebody holds the database for long, or it can only be read: not this caller's problem.
        log.warning("the last use of key %s could not be written down", warm.identity.key_hash)
