"""``/users/settings``: what users change of themselves."""

from typing import Any

from flask import Response, request

from core.blueprint import Blueprint
from core.errors import Forbidden, Unauthenticated
from core.identity import current_identity
from core.permissions import CorePermissions as P
from core.requests import assert_permission, body, query, require_permission, returns
from core.responses import json_response
from core.users import services
from core.users.serializers import OwnerQuery, SettingsBody

__all__ = ["bp"]

bp = Blueprint("user_settings", __name__, url_prefix="/users/settings")


@bp.put("")
@require_permission(P.USERS_EDIT_SETTINGS)
@query(OwnerQuery())
@body(SettingsBody())
@returns(200, {"type": "string"})
@returns(404, None, "There is no such user.")
def edit_settings(args: dict[str, Any], data: dict[str, Any]) -> Response:
    """Change the password; every other key and session ends. Another user's needs `users_moderate`."""
    identity = current_identity()
    user_id = args.get("user_id", identity.user_id)
    if user_id is None:
        raise Unauthenticated
    own = user_id == identity.user_id
    if not own:
        assert_permission(P.USERS_MODERATE)
    user = services.get_user(user_id)
    if not own:
        services.check_rank(identity, user)
    if "new_password" in data:
        if not identity.can(P.USERS_CHANGE_PASSWORD):
            raise Forbidden("You do not have permission to change this password.")
        existing = data.get("existing_password")
        if not existing or not services.check_password(user, existing, request.remote_addr or ""):
            raise Unauthenticated("Invalid existing password.")
        services.change_password(user, data["new_password"], keep=(identity.key_hash or "") if own else "")
    return json_response("Settings updated.")
