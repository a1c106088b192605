"""Which credentials of a request count, and what they prove.

The header ``Authorization`` first, where the owner of the path accepts its scheme; then the cookie of a
browser that signed in; then what plugins know by the hook ``authenticate_request``.
"""

import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from threading import Lock
from typing import Final

from flask import Request, current_app
from werkzeug.datastructures import Authorization

from core.blueprint import BARE, Mount
from core.cookies import check_origin, proves_intent, session_cookie
from core.db import now
from core.errors import AccountDisabled, Forbidden, NotFound, PulsarError, Unauthenticated
from core.identity import (
    PASSWORD,
    SESSION,
    Identity,
    Warm,
    anonymous,
    by_key,
    identity_of,
    keep_warm,
    still_good,
)
from core.requests import route_info
from core.site import Site, current_site
from core.users import services

__all__ = ["Claim", "authenticate"]

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
PASSWORD_LIFE: Final = 300.0  # s that a password is known without another digest
_SECRET: Final = secrets.token_bytes(32)  # what is kept of a password in memory opens nothing elsewhere
# Many requests at once with the same password, as a downloader sends them, make one digest.
_locks: Final = tuple(Lock() for _ in range(64))


@dataclass(frozen=True)
class Claim:
    """Whom a foreign credential stands for; what a plugin answers to ``authenticate_request``.

    :param scope: permissions it is restricted to; empty means no restriction.
    """

    user_id: int
    scope: Collection[str] = ()


def authenticate(site: Site, mount: Mount, request: Request) -> Identity:
    """The identity that the credentials of ``request`` prove.

    :raises Unauthenticated: if they are bad; never because there are none.
    :raises AccountDisabled: if they are good and the account is switched off.
    :raises Forbidden: if a browser sends them, but perhaps not because its user wants to.
    """
    header = request.headers.get("Authorization")
    if header is not None:
        # At any white space: what says "Token" is a token, however it goes on.
        scheme, credentials = [*header.split(None, 1), "", ""][:2]
        scheme = scheme.lower()
        if not credentials and BARE in mount.auth_schemes:
            scheme, credentials = BARE, header
        if scheme in mount.auth_schemes:
            return _basic(header, request) if scheme == "basic" else by_key(credentials.strip(), request)
    if "HTTP_COOKIE" in request.environ and (identity := _by_cookie(request)):
        return identity
    return _foreign(request) or anonymous(site)


def _basic(header: str, request: Request) -> Identity:
    """A name with its password, or any name with an API key."""
    parsed = Authorization.from_header(header)
    username, password = (parsed.username or "", parsed.password or "") if parsed else ("", "")
    if not password:
        raise Unauthenticated
    if request.method not in SAFE_METHODS:
        check_origin(request)  # browsers remember such credentials and send them along
    if services.looks_like_a_key(password):
        return by_key(password, request)
    return _by_password(username, password, request.remote_addr or "")


def _by_password(username: str, password: str, address: str) -> Identity:
    text = f"{username.lower()}\0{password}".encode("utf-8", "surrogatepass")
    digest = hmac.digest(_SECRET, text, "sha256")
    if (identity := _warm(digest)) is None:
        with _locks[digest[0] % len(_locks)]:
            if (identity := _warm(digest)) is None:
                return _log_in(digest, username, password, address)
    # Or whoever guesses could tell the right password from a wrong one while the account is closed.
    services.refuse_if_locked_out(username, address)
    return identity


def _warm(digest: bytes) -> Identity | None:
    warm: Warm | None = current_site().identities.get(digest)
    moment = now()
    if warm is None or (moment - warm.written).total_seconds() > PASSWORD_LIFE:
        return None
    return warm.identity if still_good(warm, moment) else None


def _log_in(digest: bytes, username: str, password: str, address: str) -> Identity:
    user = services.log_in(username, password, address)
    moment = now()
    identity = identity_of(user, kind=PASSWORD)
    keep_warm(digest, Warm(identity, user.generation, None, moment, "", "", moment))
    return identity


def _by_cookie(request: Request) -> Identity | None:
    """The identity of the session; None if there is none that counts here."""
    token = session_cookie(request)
    if not token:
        return None
    try:
        identity = by_key(token, request, (SESSION,))
    except Unauthenticated:
        return None  # it has ended, and the browser cannot know
    except AccountDisabled:
        if request.blueprint == "sign_in":
            return None  # or nobody could sign in with another account
        raise
    if request.method in SAFE_METHODS:
        return identity
    try:
        check_origin(request)
        if not proves_intent(request, identity):
            raise Forbidden("The CSRF token is missing or wrong.", code="csrf_failed")
    except PulsarError:
        if _is_public(request):
            return None  # the route works without a session, and the cookie alone proves nothing
        raise
    return identity


def _is_public(request: Request) -> bool:
    rule = request.url_rule
    return rule is not None and route_info(current_app.view_functions[rule.endpoint]).public


def _foreign(request: Request) -> Identity | None:
    """The identity that a plugin sees in the request; account state and scope are applied here."""
    hook = current_site().hooks.hook.authenticate_request
    if not hook.get_hookimpls():
        return None
    claim: Claim | None = hook(request=request)
    if claim is None:
        return None
    try:
        user = services.get_user(claim.user_id)
    except NotFound:
        raise Unauthenticated from None
    if not user.enabled:
        raise AccountDisabled
    return identity_of(user, scope=claim.scope)
