"""``/api/token`` and the other calls by which the published client signs in; core does the work."""

from typing import Any, Final

from flask import current_app, g, request

from core.blueprint import Blueprint
from core.errors import BadRequest, Conflict, Unauthenticated
from core.identity import by_key, current_identity, identity_of
from core.permissions import CorePermissions
from core.requests import body, login_required, public, returns
from core.users import services
from registry.errors import SignupDisabled
from registry.serializers import AddressSchema, CredentialsSchema, NewPasswordSchema, RegistrationSchema

__all__ = ["bp"]

MAX_BYTES: Final = 2**16  # of a form; a token has 53 characters

bp = Blueprint("sign_in", __name__, url_prefix="/api")


@bp.post("/token")
@public
@returns(200, {"type": "object"}, "``refresh_token``, ``access_token`` and ``expires_at`` of the latter.")
def exchange() -> dict[str, Any]:
    """Sign in, or stay signed in: a code of the page ``/login``, a refresh token or an API key for tokens.

    The body is a form with the one field ``refresh_token``, whichever of the three it holds.
    """
    request.max_content_length = MAX_BYTES
    given = request.form.get("refresh_token", "").strip()
    if not given:
        raise BadRequest("refresh_token is missing")
    g.identity = by_key(given, request, services.EXCHANGEABLE)
    tokens = services.exchange(current_identity())
    return {
        "refresh_token": tokens.refresh,
        "access_token": tokens.access,
        "expires_at": tokens.expires_at.timestamp(),
    }


@bp.post("/login")
@public
@body(CredentialsSchema())
@returns(200, {"type": "object"}, "``token``: an access token.")
def log_in(data: dict[str, Any]) -> dict[str, Any]:
    """An access token for a name and its password."""
    try:
        user = services.log_in(data["username"], data["password"], request.remote_addr or "")
    except Unauthenticated:
        raise Unauthenticated("Login attempt failed") from None
    g.identity = identity_of(user)
    return {"token": services.create_access_token(current_identity())}


@bp.get("/code")
@login_required
@returns(200, {"type": "object"}, "``code``")
def get_code() -> dict[str, Any]:
    """A code with which another program can sign in as the caller, within the same scope, once."""
    return {"code": services.create_code(current_identity())}


@bp.post("/refresh")
@login_required
@returns(200, {"type": "object"}, "``token``")
def refresh() -> dict[str, Any]:
    """Another token in the place of the one that asks, which ends."""
    return {"token": services.replace_key(current_identity())}


@bp.post("/logout")
@login_required
@returns(200, {"type": "object"}, "Empty.")
def log_out() -> dict[str, Any]:
    """End the token that asks, and with it the refresh token it came with."""
    identity = current_identity()
    services.revoke_key(services.get_key(identity.key_hash or "", identity, ""))
    return {}


@bp.get("/me")
@login_required
@returns(200, {"type": "object"}, "``current_user``, ``email``, ``is_active``, ``is_staff``.")
def get_me() -> dict[str, Any]:
    """Who the caller is."""
    identity = current_identity()
    assert identity.user_id is not None, "the route needs a login"
    user = services.get_user(identity.user_id)
    return {
        "current_user": user.username,
        "email": user.email,
        "is_active": user.enabled,
        "is_staff": identity.can(CorePermissions.SITE_GOD_MODE),
    }


@bp.post("/register")
@public
@body(RegistrationSchema())
@returns(200, {"type": "object"}, "Empty.")
@returns(409, None, "Somebody else has the name.")
@returns(501, None, "Nobody can register by himself here.")
def register(data: dict[str, Any]) -> dict[str, Any]:
    """Register. Where the site asks for invites, ``code`` is one; without it nobody registers there."""
    if current_app.config["REQUIRE_INVITE_CODE"] and data["code"] is None:
        raise SignupDisabled
    if services.find_user(data["username"]) is not None:
        raise Conflict("The given username is taken.")
    services.register(**data)
    return {}


@bp.post("/reset_password")
@public
@body(AddressSchema())
@returns(200, {"type": "object"}, "Empty, whether there is such an account or not.")
def ask_for_reset(data: dict[str, Any]) -> dict[str, Any]:
    """Have a link mailed that sets the password of the account with this address."""
    services.ask_for_reset(data["email"])
    return {}


@bp.post("/change_password")
@public
@body(NewPasswordSchema())
@returns(200, {"type": "object"}, "Empty.")
def change_password(data: dict[str, Any]) -> dict[str, Any]:
    """Set a password by a link that was mailed, once; every key, code and token of the account ends."""
    services.reset_password(data["link"].rpartition("/")[2], data["password"])
    return {}
