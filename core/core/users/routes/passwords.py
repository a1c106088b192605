"""Pages for people who have forgotten their password, and the page that a mailed link opens."""

from typing import Any

from flask import Response, render_template, request

from core import cookies
from core.blueprint import Blueprint
from core.errors import PulsarError, Unauthenticated
from core.identity import current_identity
from core.openapi import HTML
from core.requests import login_required, public, returns
from core.responses import json_response
from core.users import services
from core.users.routes.sign_in import POLICY, STALE, show_login

__all__ = ["bp"]

SENT = "If there is an account with this address, a mail with a link is on its way."

bp = Blueprint("passwords", __name__, template_folder="../templates")


@bp.get("/password")
@public
@returns(200, HTML, "A page.")
def get_request() -> Response:
    """The page on which people ask for a link to set their password."""
    return _page(asks=True)


@bp.post("/password")
@public
@returns(200, HTML, "A page, the same whether there is such an account or not.")
@returns(400, HTML, "The page again: this is no address.")
@returns(403, HTML, "The page again: the form is not of this browser.")
def post_request() -> Response:
    """Ask for a link by the form of the page."""
    if not cookies.is_own_form(request):
        return _page(asks=True, problem=STALE, status=403)
    try:
        cookies.check_origin(request)
        services.ask_for_reset(request.form.get("email", ""))
    except PulsarError as exc:
        return _page(asks=True, problem=exc.message, status=exc.status)
    return _page(note=SENT)


@bp.get("/password/<token>")
@public
@returns(200, HTML, "A page.")
@returns(400, HTML, "A page: the link is no good, or not any more.")
def get_reset(token: str) -> Response:
    """The page that a mailed link opens."""
    try:
        return _page(username=services.find_resettable(token).username)
    except Unauthenticated as exc:
        return _page(problem=exc.message, status=400)


@bp.post("/password/<token>")
@public
@returns(200, HTML, "A page.")
@returns(400, HTML, "The page again: the link is no good, or the password.")
@returns(403, HTML, "The page again: the form is not of this browser.")
def post_reset(token: str) -> Response:
    """Set the password by the form of the page."""
    try:
        username = services.find_resettable(token).username
        if not cookies.is_own_form(request):
            return _page(username=username, problem=STALE, status=403)
        cookies.check_origin(request)
        services.reset_password(token, request.form.get("password", ""))
    except Unauthenticated as exc:
        return _page(problem=exc.message, status=400)
    except PulsarError as exc:
        return _page(username=username, problem=exc.message, status=exc.status)
    return _page(note="The password is set.")


@bp.get("/activate/<token>")
@public
@returns(303, None, "The address is verified.")
@returns(400, HTML, "A page: the link is no good, or not any more.")
def activate(token: str) -> Response:
    """Verify the address of an account, by the link that was mailed to it."""
    try:
        services.verify_address(token)
    except Unauthenticated as exc:
        return show_login(problem=exc.message, status=400)
    return Response(status=303, headers={"Location": f"{request.script_root}/login"})


@bp.post("/users/me/verification")
@login_required
@returns(200, {"type": "string"})
def ask_for_verification() -> Response:
    """Mail the caller a link that verifies the address of the account."""
    user = services.get_user(current_identity().user_id or 0)
    services.ask_for_verification(user)
    return json_response(
        "A mail is on its way." if user.email_verified_at is None else "The address is verified."
    )


def _page(*, status: int = 200, **shown: Any) -> Response:
    response = Response(status=status, mimetype="text/html")
    token = cookies.set_form(response, request)
    page = render_template("core/password.html", csrf_token=token, root=request.script_root, **shown)
    response.set_data(page)
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Cache-Control"] = "no-store"
    # The address of the page opens the account.
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
