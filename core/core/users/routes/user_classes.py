"""``/user_classes``: classes of users, of both kinds."""

from typing import Any

from flask import Response

from core.blueprint import Blueprint
from core.identity import current_identity
from core.permissions import CorePermissions as P
from core.requests import body, query, require_permission, returns
from core.responses import json_response
from core.users import services
from core.users.moderation_serializers import (
    ChangeClass,
    CreateClass,
    SecondaryQuery,
    UserClassSerializer,
)

__all__ = ["bp"]

bp = Blueprint("user_classes", __name__, url_prefix="/user_classes")


@bp.get("")
@require_permission(P.USERCLASSES_LIST)
@returns(200, {"type": "object"}, "Two lists: `user_classes` and `secondary_classes`.")
def list_classes() -> Response:
    """Every class of both kinds."""
    seen = current_identity().can(P.USERCLASSES_MODIFY)
    return json_response(
        {
            key: UserClassSerializer.serialize_many(
                services.list_classes(secondary=secondary, with_permissions=seen)
            )
            for key, secondary in (("user_classes", False), ("secondary_classes", True))
        }
    )


@bp.get("/<int:class_id>")
@require_permission(P.USERCLASSES_LIST)
@query(SecondaryQuery())
@returns(200, UserClassSerializer())
def get_class(class_id: int, args: dict[str, Any]) -> Response:
    """One class."""
    return json_response(UserClassSerializer.serialize(services.get_class_by_id(class_id, **args)))


@bp.post("")
@require_permission(P.USERCLASSES_MODIFY)
@body(CreateClass())
@returns(200, UserClassSerializer())
def create_class(data: dict[str, Any]) -> Response:
    """Make a class."""
    return json_response(
        UserClassSerializer.serialize(services.create_class(**data, actor=current_identity()))
    )


@bp.put("/<int:class_id>")
@require_permission(P.USERCLASSES_MODIFY)
@body(ChangeClass())
@returns(200, UserClassSerializer())
def change_class(class_id: int, data: dict[str, Any]) -> Response:
    """Give permissions to a class and take others away: everything that is asked for, or nothing."""
    changed = services.change_class(
        class_id, data["permissions"], current_identity(), secondary=data["secondary"]
    )
    return json_response(UserClassSerializer.serialize(changed))


@bp.delete("/<int:class_id>")
@require_permission(P.USERCLASSES_MODIFY)
@query(SecondaryQuery())
@returns(200, {"type": "string"})
def delete_class(class_id: int, args: dict[str, Any]) -> Response:
    """Delete a class in which nobody is."""
    name = services.delete_class(class_id, current_identity(), **args)
    kind = "SecondaryClass" if args["secondary"] else "UserClass"
    return json_response(f"{kind} {name} has been deleted.")
