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
from sqlalchemy import Dialect, bindparam, select, update
from sqlalchemy.exc import OperationalError

from core.db import change, db, now, own_transaction
from core.errors import AccountDisabled, AccountLocked, Forbidden, KeyScope, Unauthenticated
from core.models import Event
from core.permissions import GOD_MODE, CorePermissions
from core.rights import granted_to, locked_permissions, rights_of
from core.site import Site, current_site
from core.users.models import ACCESS, API_KEY, CODE, REFRESH, SESSION, TOKENS, ApiKey, User

__all__ = [
    "ACCESS",
    "ANONYMOUS",
    "API_KEY",
    "CODE",
    "OPERATOR",
    "PASSWORD",
    "REFRESH",
    "SESSION",
    "Identity",
    "anonymous",
    "by_key",
    "current_identity",
    "digest_of",
    "expiry_event",
    "granted_to",
    "identity_of",
    "keep_warm",
    "still_good",
    "touch",
]

log = logging.getLogger(__name__)

HASH_LENGTH: Final = 10  # characters of a key that are its public identifier
MIN_KEY_LENGTH: Final = 34  # hash and the shortest secret ever made: 24 characters
WARM_LIMIT: Final = 10_000  # identities kept in memory, about 2 KB each
KEYS: Final = frozenset({API_KEY, ACCESS})  # what a program may send with any request
# What an identity can be proven by besides the kinds of rows in core_api_keys.
PASSWORD: Final = "password"  # noqa: S105 - the word, not one
USE_INTERVAL: Final = 120.0  # s, or a quarter of the key's timeout: how exactly its last use is known


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller.

    :param user_id: None for a caller without credentials.
    :param granted: permissions of the user.
    :param scope: permissions the key is restricted to; empty means no restriction.
    :param kind: what proved it: an API key, a session, a token, a password; empty for a foreign credential.
    """

    user_id: int | None = None
    username: str | None = None
    user_class_ids: tuple[int, ...] = ()
    secondary_class_ids: tuple[int, ...] = ()
    granted: frozenset[str] = frozenset()
    scope: frozenset[str] = frozenset()
    key_hash: str | None = None
    locked: bool = False
    kind: str = ""

    @property
    def authenticated(self) -> bool:
        return self.user_id is not None

    def can(self, permission: str) -> bool:
        """True if the user holds ``permission`` and the key's scope allows it."""
        return self.held(permission) and self._in_scope(permission)

    def held(self, permission: str) -> bool:
        """True if the user holds ``permission``, whatever the key's scope says."""
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
        raise KeyScope if self.held(permission) else Forbidden

    def shown_address(self, address: str | None) -> str:
        """What is written down of the caller's address."""
        # The permission itself is asked for: god mode, which stands for all, shall not hide anybody.
        return "0.0.0.0" if CorePermissions.SITE_NO_IP_HISTORY in self.granted else address or ""  # noqa: S104

    @property
    def is_god(self) -> bool:
        """True for an administrator whose key is not restricted."""
        return self.can(GOD_MODE)


ANONYMOUS = Identity()
OPERATOR = Identity(granted=frozenset({GOD_MODE}))  # whoever can run commands here may do anything


@dataclass(slots=True)
class Warm:
    """An identity kept between requests, and what tells whether it is still good."""

    identity: Identity
    generation: int
    timeout: float | None  # s; None for a permanent key
    counted_from: datetime  # when the time-out began: with the last use, or of a token when it was made
    ip: str
    user_agent: str
    written: datetime = field(default_factory=now)


def anonymous(site: Site) -> Identity:
    """A caller without credentials, with the permissions that the configuration gives to everyone."""
    granted = site.settings.values["ANONYMOUS_PERMISSIONS"]
    return Identity(granted=frozenset(granted)) if granted else ANONYMOUS


def current_identity() -> Identity:
    """The identity of the present request; the anonymous one outside of requests."""
    found: Identity = g.get("identity", ANONYMOUS)
    return found


def digest_of(secret: str) -> str:
    """What is stored of a machine-made secret: long and random, so a fast digest is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def by_key(key: str, request: Request, kinds: Collection[str] = KEYS) -> Identity:
    """The identity of a key, or of another credential that is kept like one.

    :raises Unauthenticated: if there is none such of these ``kinds`` that is alive.
    :raises AccountDisabled: if its user's account is switched off.
    """
    if len(key) < MIN_KEY_LENGTH or " " in key or not (key.isascii() and key.isprintable()):
        raise Unauthenticated
    identities: dict[bytes, Warm] = current_site().identities
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
    moment = now()
    warm = identities.get(digest)
    if warm is None or not still_good(warm, moment):
        warm = _load(key)
        if _expired(warm, moment):
            if _revoke(warm):
                raise Unauthenticated
            warm = _load(key)  # another process has just used it
        keep_warm(digest, warm)
    if warm.identity.kind not in kinds:
        raise Unauthenticated
    _note_use(warm, moment, request)
    return warm.identity


def keep_warm(digest: bytes, warm: Warm) -> None:
    """Remember an identity for the requests to come."""
    identities = current_site().identities
    if len(identities) >= WARM_LIMIT:
        identities.clear()  # rare, and costs each caller one more read
    identities[digest] = warm


def still_good(warm: Warm, moment: datetime) -> bool:
    """Whether nothing has changed since ``warm`` was made."""
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
    return warm.timeout is not None and (moment - warm.counted_from).total_seconds() > warm.timeout


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
    identity = identity_of(user, scope=stored.permissions, key_hash=stored.hash, kind=stored.kind)
    return Warm(
        identity=identity,
        generation=user.generation,
        timeout=None if stored.permanent else float(stored.timeout),
        counted_from=stored.counted_from,
        ip=stored.ip,
        user_agent=stored.user_agent,
        written=stored.last_used_at,
    )


def identity_of(
    user: User, *, scope: Collection[str] = (), key_hash: str | None = None, kind: str = ""
) -> Identity:
    """The identity of ``user`` acting through a key with ``scope``."""
    rights = rights_of(user)
    return Identity(
        user_id=user.id,
        username=user.username,
        user_class_ids=(user.user_class_id,),
        secondary_class_ids=tuple(rights.by_secondary_class),
        granted=locked_permissions() if user.locked else rights.granted,
        scope=frozenset(scope),
        key_hash=key_hash,
        locked=user.locked,
        kind=kind,
    )


def touch(*user_ids: int) -> None:
    """Make every process forget what it knows of these users' permissions and keys, from the commit on."""
    db.session.execute(update(User).where(User.id.in_(user_ids)).values(generation=User.generation + 1))


def _revoke(warm: Warm) -> bool:
    """Revoke an expired key, unless its stored last use is no longer the one that was read."""
    identity = warm.identity
    same = [ApiKey.hash == identity.key_hash, ApiKey.revoked.is_(False)]
    if identity.kind not in TOKENS:
        same.append(ApiKey.last_used_at == warm.counted_from)
    # The user's row first, as everybody does who changes keys: so they never wait in a circle.
    known = update(User).where(User.id == identity.user_id).values(generation=User.generation + 1)
    with own_transaction() as session:
        session.execute(known)
        done = change(session, update(ApiKey).where(*same).values(revoked=True)) > 0
        if done:
            session.add(expiry_event(str(identity.key_hash), identity.user_id))
    return done


def expiry_event(key_hash: str, user_id: int | None) -> Event:
    """What is written down when a key has expired: the site itself revokes it."""
    return Event(
        name="core.api_key.revoked",
        happened_at=now(),
        request_id=g.get("request_id", ""),
        target=f"api_key:{key_hash}",
        payload={"user_id": user_id, "expired": True},
    )


def _note_use(warm: Warm, moment: datetime, request: Request) -> None:
    """Slide the window of the key; write it down now and then, and when address or agent changed."""
    if warm.identity.kind not in TOKENS:
        warm.counted_from = moment
    interval = timedelta(seconds=min(USE_INTERVAL, warm.timeout / 4 if warm.timeout else USE_INTERVAL))
    ip, agent = warm.identity.shown_address(request.remote_addr), request.headers.get("User-Agent", "")[:512]
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
