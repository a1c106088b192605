"""Sessions of browsers: a page to sign in, and the same for scripts of pages."""

import secrets
from typing import Any, Final

from flask import Response, g, render_template, request

from core import cookies, mail
from core.blueprint import Blueprint
from core.errors import NotFound, PulsarError, Unauthenticated, UnsupportedMedia
from core.identity import SESSION, current_identity, identity_of
from core.openapi import HTML
from core.requests import body, login_required, public, query, returns
from core.responses import json_response
from core.users import services
from core.users.serializers import Credentials, LoginQuery, SessionSerializer

__all__ = ["POLICY", "STALE", "bp", "show_login"]

# Nothing is loaded; the style stands in the page itself, and so does the one script that may run. No
# form-action: browsers apply it to the redirect after signing in too, and some to the wrong address.
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
STALE: Final = "The page was open for too long. Try again."

bp = Blueprint("sign_in", __name__, template_folder="../templates")


@bp.get("/login")
@public
@query(LoginQuery())
@returns(200, HTML, "A page.")
def get_login(args: dict[str, Any]) -> Response:
    """The page on which people sign in, or out. `next` is where they go afterwards, a path of this site."""
    return show_login(args["next"])


@bp.post("/login")
@public
@returns(303, None, "Signed in.")
@returns(401, HTML, "The page again: name or password is wrong.")
@returns(403, HTML, "The page again: the account is disabled, or the form is not of this browser.")
def post_login() -> Response:
    """Sign in by the form of the page."""
    form = request.form
    target = form.get("next", "")
    if not cookies.is_own_form(request):
        return show_login(target, STALE, 403)
    try:
        cookies.check_origin(request)
        token = _sign_in(form.get("username", ""), form.get("password", ""))
    except PulsarError as exc:
        return show_login(target, exc.message, exc.status, exc.headers)
    response = _go_to(cookies.own_path(target, f"{request.script_root}/login"))
    cookies.set_session(response, request, token)
    return response


@bp.post("/logout")
@public
@returns(303, None, "Signed out.")
def post_logout() -> Response:
    """Sign out by the form of the page."""
    response = _go_to(f"{request.script_root}/login")
    identity = current_identity()
    if identity.kind == SESSION:
        _end_session()
        cookies.clear_session(response, request)
    return response


@bp.post("/sessions")
@public
@body(Credentials())
@returns(200, SessionSerializer(), "Signed in; the cookie is set.")
def create_session(data: dict[str, Any]) -> Response:
    """Sign in by JSON. The cookie is for the browser, `csrf_token` for the scripts of the page."""
    if request.mimetype != "application/json":
        # Pages of other sites can send other types without asking, and sign somebody in as themselves.
        raise UnsupportedMedia("Content-Type must be application/json.")
    cookies.check_origin(request)
    token = _sign_in(data.get("username", ""), data.get("password", ""))
    response = json_response(_session())
    cookies.set_session(response, request, token)
    return response


@bp.get("/sessions/current")
@login_required
@returns(200, SessionSerializer())
@returns(404, None, "The caller came by something else.")
def get_session() -> Response:
    """The session of this request."""
    return json_response(_session())


@bp.delete("/sessions/current")
@login_required
@returns(200, {"type": "string"})
@returns(404, None, "The caller came by something else.")
def delete_session() -> Response:
    """Sign out."""
    _session()
    _end_session()
    response = json_response("Signed out.")
    cookies.clear_session(response, request)
    return response


def _sign_in(username: str, password: str) -> str:
    """Make a session, and let the rest of the request act as its user; its text."""
    if not username or not password:
        raise Unauthenticated("Invalid credentials.")
    user = services.log_in(username, password, request.remote_addr or "")
    g.identity = identity_of(user)
    session, token = services.create_session(user)
    g.identity = identity_of(user, key_hash=session.hash, kind=SESSION)
    return token


def _go_to(path: str) -> Response:
    return Response(status=303, headers={"Location": path})


def _session() -> Any:
    """:raises NotFound: if the caller came by something else."""
    identity = current_identity()
    if identity.kind != SESSION:
        raise NotFound.of("Session", "current")
    return SessionSerializer().dump(
        {
            "hash": identity.key_hash,
            "username": identity.username,
            "csrf_token": cookies.csrf_token(identity),
        }
    )


def _end_session() -> None:
    identity = current_identity()
    services.revoke_key(services.get_key(identity.key_hash or "", identity, ""))


def show_login(target: str = "", problem: str = "", status: int = 200, headers: Any = None) -> Response:
    """The page for signing in, or out."""
    response = Response(status=status, mimetype="text/html", headers=headers)
    identity = current_identity()
    signed_in = identity.kind == SESSION
    additions = services.find_additions(identity) if signed_in else []
    nonce = secrets.token_urlsafe(16) if additions else ""
    response.set_data(
        render_template(
            "core/login.html",
            username=identity.username if signed_in else None,
            csrf_token=cookies.csrf_token(identity) if signed_in else cookies.set_form(response, request),
            target=cookies.own_path(target, ""),
            problem=problem,
            root=request.script_root,
            additions=additions,
            can_reset=mail.can_send(),
            nonce=nonce,
        )
    )
    response.headers["Content-Security-Policy"] = f"{POLICY}; script-src 'nonce-{nonce}'" if nonce else POLICY
    response.headers["Cache-Control"] = "no-store"
    return response
