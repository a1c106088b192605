"""Cookies of a browser that signs in, and proof that a page of this site sent the request.

A browser sends its cookies with every request, also when a page of somebody else asks. So an unsafe
request by cookie needs a token that only pages of this site can read, and must not come from elsewhere.
"""

import hmac
import secrets
from typing import Final
from urllib.parse import urlsplit

from flask import Request, Response, current_app

from core.errors import Forbidden
from core.identity import Identity

__all__ = [
    "check_origin",
    "clear_session",
    "csrf_token",
    "is_own_form",
    "own_path",
    "proves_intent",
    "session_cookie",
    "set_form",
    "set_session",
]

SESSION_COOKIE: Final = "pulsar_session"
FORM_COOKIE: Final = "pulsar_form"  # ties the sign-in form, which has no session yet, to its browser
YEAR: Final = 365 * 24 * 3600  # s; the site decides when a session ends, not the browser
FORM_LIFE: Final = 24 * 3600  # s
FORM_BYTES: Final = 2**16  # largest form that is searched for a token
OWN_PAGES: Final = ("same-origin", "none")  # of Sec-Fetch-Site; "none": typed in, or a bookmark


def session_cookie(request: Request) -> str:
    """The text of the session, or nothing."""
    return request.cookies.get(_name(request, SESSION_COOKIE), "")


def set_session(response: Response, request: Request, token: str) -> None:
    """Let the browser keep a session."""
    _set(response, request, SESSION_COOKIE, token, YEAR)


def clear_session(response: Response, request: Request) -> None:
    """Let the browser forget its session."""
    _set(response, request, SESSION_COOKIE, "", 0)


def csrf_token(identity: Identity) -> str:
    """What an unsafe request by cookie has to send along; good as long as the session."""
    return _sign("session", identity.key_hash or "")


def proves_intent(request: Request, identity: Identity) -> bool:
    """Whether the request has the token of its session, in ``X-CSRF-Token`` or in its form."""
    given = request.headers.get("X-CSRF-Token")
    is_form = request.mimetype == "application/x-www-form-urlencoded"
    if given is None and is_form and (request.content_length or 0) <= FORM_BYTES:
        request.get_data()  # kept: the route may want to read the same bytes as JSON
        given = request.form.get("csrf_token")
    return given is not None and _same(given, csrf_token(identity))


def set_form(response: Response, request: Request) -> str:
    """Tie a form to this browser by a cookie; what its field ``csrf_token`` has to hold."""
    nonce = request.cookies.get(_name(request, FORM_COOKIE)) or secrets.token_urlsafe(24)
    _set(response, request, FORM_COOKIE, nonce[:64], FORM_LIFE)
    return _sign("form", nonce[:64])


def is_own_form(request: Request) -> bool:
    """Whether the form of the request is one that this site gave to this browser."""
    nonce = request.cookies.get(_name(request, FORM_COOKIE), "")
    return bool(nonce) and _same(request.form.get("csrf_token", ""), _sign("form", nonce))


def check_origin(request: Request) -> None:
    """Refuse what the page of another site sent, as far as the browser says so.

    :raises Forbidden: with the code ``csrf_failed``.
    """
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    own = {request.host, urlsplit(current_app.config["PUBLIC_URL"]).netloc} - {""}
    if (site is not None and site not in OWN_PAGES) or (origin is not None and _netloc(origin) not in own):
        raise Forbidden("This was sent by a page of another site.", code="csrf_failed")


def own_path(target: str, default: str) -> str:
    """``target`` if it is a path of this site, else ``default``: whither after signing in."""
    plain = target.isascii() and target.isprintable() and "\\" not in target and " " not in target
    return target if plain and target.startswith("/") and not target.startswith("//") else default


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc or origin
    except ValueError:
        return origin


def _name(request: Request, name: str) -> str:
    # With this prefix a browser takes the cookie from nobody but the site itself, over TLS.
    return f"__Host-{name}" if request.is_secure else name


def _set(response: Response, request: Request, name: str, value: str, life: int) -> None:
    response.set_cookie(
        _name(request, name), value, life, secure=request.is_secure, httponly=True, samesite="Lax"
    )


def _sign(purpose: str, text: str) -> str:
    key = hmac.digest(current_app.config["SECRET_KEY"].encode(), b"pulsar.csrf.v1", "sha256")
    return hmac.new(key, f"{purpose} {text}".encode("utf-8", "surrogateescape"), "sha256").hexdigest()


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
