"""``/permissions``: which there are, and why somebody may do something."""

from typing import Any

from flask import Response

from core.blueprint import Blueprint
from core.permissions import CorePermissions as P
from core.requests import query, require_permission, returns
from core.responses import json_response
from core.users import services
from core.users.moderation_serializers import (
    DescribedPermission,
    ExplainQuery,
    Explanation,
    PermissionsQuery,
)

__all__ = ["bp"]

bp = Blueprint("permissions", __name__, url_prefix="/permissions")


@bp.get("")
@require_permission(P.PERMISSIONS_MODIFY)
@query(PermissionsQuery())
@returns(200, {"type": "object"}, "`permissions`: names, or with `detail` objects; then also `orphans`.")
def list_permissions(args: dict[str, Any]) -> Response:
    """Every permission of the enabled plugins."""
    if not args["detail"]:
        return json_response({"permissions": services.list_permissions()})
    described = DescribedPermission(many=True).dump(services.describe_permissions())
    return json_response({"permissions": described, "orphans": services.list_orphans()})


@bp.get("/explain")
@require_permission(P.PERMISSIONS_MODIFY)
@query(ExplainQuery())
@returns(200, Explanation())
@returns(404, None, "There is no such user, or no such key of that user.")
def explain(args: dict[str, Any]) -> Response:
    """Why a user may do something, or may not."""
    return json_response(Explanation().dump(services.explain(**args)))
