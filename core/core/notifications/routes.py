"""``/notifications``: what the site has to tell its users."""

from typing import Any

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


@bp.get("")
@require_permission(P.NOTIFICATIONS_VIEW)
@query(OverviewQuery())
@returns(200, {"type": "object"}, "By type, its newest unread notifications, at most 25.")
def list_unread(args: dict[str, Any]) -> Response:
    """The newest unread notifications of every type."""
    found = services.list_unread(current_identity(), **args)
    return json_response({name: NotificationSerializer.serialize_many(some) for name, some in found.items()})


@bp.get("/<type_>")
@require_permission(P.NOTIFICATIONS_VIEW)
@query(ListQuery())
@returns(200, NotificationSerializer(many=True))
@returns(400, None, "There is no such type.")
def list_notifications(type_: str, args: dict[str, Any]) -> Response:
    """The unread notifications of one type, newest first; with ``include_read`` all of them."""
    found, total = services.list_notifications(current_identity(), type_, **args)
    answer = json_response(NotificationSerializer.serialize_many(found))
    return add_page_headers(answer, total=total, page=args["page"], limit=args["limit"])


@bp.put("")
@require_permission(P.NOTIFICATIONS_MODIFY)
@query(OverviewQuery())
@body(ReadSchema())
@returns(200, {"type": "string"})
def clear_all(data: dict[str, Any], args: dict[str, Any]) -> Response:
    """Mark all notifications as read."""
    _only_read(data)
    services.mark_all(current_identity(), **args)
    return json_response("All notifications cleared.")


@bp.put("/<type_>")
@require_permission(P.NOTIFICATIONS_MODIFY)
@query(OverviewQuery())
@body(ReadSchema())
@returns(200, {"type": "string"})
def clear_type(type_: str, data: dict[str, Any], args: dict[str, Any]) -> Response:
    """Mark all notifications of one type as read."""
    _only_read(data)
    services.mark_all(current_identity(), type_, **args)
    return json_response(f"{type_} notifications cleared.")


@bp.put("/<int:notification_id>")
@require_permission(P.NOTIFICATIONS_MODIFY)
@body(ReadSchema())
@returns(200, {"type": "string"})
def mark(notification_id: int, data: dict[str, Any]) -> Response:
    """Mark one notification as read, or as unread."""
    services.mark(current_identity(), notification_id, **data)
    return json_response(f"Notification {notification_id} marked as {'read' if data['read'] else 'unread'}.")


def _only_read(data: dict[str, Any]) -> None:
    if not data["read"]:
        raise ValidationFailed.from_messages({"read": ["many can be marked as read, and not as unread"]})
