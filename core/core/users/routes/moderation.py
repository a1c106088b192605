"""``PUT /users/<id>``: what moderators change of an account."""

from typing import Any

from flask import Response

from core.blueprint import Blueprint
from core.identity import current_identity
from core.permissions import CorePermissions as P
from core.requests import body, require_permission, returns
from core.responses import json_response
from core.users import services
from core.users.moderation_serializers import UserChanges
from core.users.serializers import UserSerializer

__all__ = ["bp"]

bp = Blueprint("moderation", __name__, url_prefix="/users")


@bp.put("/<int:user_id>")
@require_permission(P.USERS_MODERATE)
@body(UserChanges())
@returns(200, UserSerializer())
def change_user(user_id: int, data: dict[str, Any]) -> Response:
    """Change an account: everything that is asked for, or nothing.

    Classes, and permissions that are not basic, need ``users_moderate_advanced``. Nobody gives what
    they do not hold.
    """
    return json_response(UserSerializer.serialize(services.change_user(user_id, data, current_identity())))
