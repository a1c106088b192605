"""``/notifications``: what the site has to tell its users."""

import re
from typing import Any, Final

from flask import Response

from core.blueprint import Blueprint
from core.errors import ValidationFailed
from core.identity import current_identity
from core.notifications import services
from core.notifications.serializers import ListQuery, NotificationSerializer, OverviewQuery, ReadSchema
from core.permissions import CorePermissions as P
from core.requests import body, query, require_permission, returns
from core.responses import add_page_headers, json_response

__all__ = ["bp"]

bp = Blueprint("notifications", __name__, url_prefix="/notifications")

ID: Final = re.compile("[0-9]{1,400}")
TEXT: Final = {"type": "string"}
LISTS: Final = {"type": "object", "additionalProperties": {"type": "array"}}


@bp.get("")
@require_permission(P.NOTIFICATIONS_VIEW)
@query(OverviewQuery())
@returns(200, LISTS, "By type, its newest unread notifications, at most 25.")
@returns(404, None, "There is no such user.")
def list_unread(args: dict[str, Any]) -> Response:
    """The newest unread notifications of every type."""
    found = services.list_unread(current_identity(), **args)
    return json_response({name: NotificationSerializer.serialize_many(some) for name, some in found.items()})


@bp.get("/<type_>")
@require_permission(P.NOTIFICATIONS_VIEW)
@query(ListQuery())
@returns(200, NotificationSerializer(many=True))
@returns(400, None, "There is no such type.")
@returns(404, None, "There is no such user.")
def list_notifications(type_: str, args: dict[str, Any]) -> Response:
    """The unread notifications of one type, newest first; with ``include_read`` all of them."""
    found, total = services.list_notifications(current_identity(), type_, **args)
    answer = json_response(NotificationSerializer.serialize_many(found))
    return add_page_headers(answer, total=total, page=args["page"], limit=args["limit"])


@bp.put("")
@require_permission(P.NOTIFICATIONS_MODIFY)
@query(OverviewQuery())
@body(ReadSchema())
@returns(200, TEXT)
@returns(404, None, "There is no such user.")
def clear_all(data: dict[str, Any], args: dict[str, Any]) -> Response:
    """Mark all notifications as read."""
    _only_read(data)
    services.mark_all(current_identity(), **args)
    return json_response("All notifications cleared.")


@bp.put("/<type_>")
@require_permission(P.NOTIFICATIONS_MODIFY)
@query(OverviewQuery())
@body(ReadSchema())
@returns(200, TEXT)
@returns(404, None, "There is no such notification, or no such user.")
def mark(type_: str, data: dict[str, Any], args: dict[str, Any]) -> Response:
    """Mark all of one type as read; or, by its id in place of a type, one as read or as unread."""
    # One rule for both: to the description of the API they are the same path.
    if ID.fullmatch(type_) is None:
        _only_read(data)
        services.mark_all(current_identity(), type_, **args)
        return json_response(f"{type_} notifications cleared.")
    if args["user_id"] is not None:
        raise ValidationFailed.from_messages({"user_id": ["an id says whose it is"]})
    services.mark(current_identity(), int(type_), **data)
    return json_response(f"Notification {type_} marked as {'read' if data['read'] else 'unread'}.")


def _only_read(data: dict[str, Any]) -> None:
    if not data["read"]:
        raise ValidationFailed.from_messages({"read": ["many can be marked as read, and not as unread"]})
