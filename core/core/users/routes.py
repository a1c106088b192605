"""``/users``: who is who."""

from flask import Response

from core.blueprint import Blueprint
from core.identity import current_identity
from core.permissions import CorePermissions as P
from core.requests import login_required, require_permission, returns
from core.responses import json_response
from core.users import services
from core.users.serializers import UserSerializer

__all__ = ["bp"]

bp = Blueprint("users", __name__, url_prefix="/users")


@bp.get("/me")
@login_required
@returns(200, UserSerializer())
def get_me() -> Response:
    """The caller."""
    user_id = current_identity().user_id
    assert user_id is not None, "the route needs a login"
    return json_response(UserSerializer.serialize(services.get_user(user_id)))


@bp.get("/<int:user_id>")
@require_permission(P.USERS_VIEW)
@returns(200, UserSerializer())
def get_user(user_id: int) -> Response:
    """One user."""
    return json_response(UserSerializer.serialize(services.get_user(user_id)))
