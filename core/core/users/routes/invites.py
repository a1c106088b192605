"""``/invites``: who was asked to join, and by whom."""

from typing import Any

from flask import Response, request

from core.blueprint import Blueprint
from core.identity import current_identity
from core.permissions import CorePermissions as P
from core.requests import body, query, require_permission, returns
from core.responses import add_page_headers, json_response
from core.users import services
from core.users.serializers import InviteQuery, InviteSerializer, NewInviteSchema

__all__ = ["bp"]

bp = Blueprint("invites", __name__, url_prefix="/invites")


@bp.get("")
@require_permission(P.INVITES_VIEW)
@query(InviteQuery())
@returns(200, InviteSerializer(many=True))
@returns(404, None, "There is no such user.")
def list_invites(args: dict[str, Any]) -> Response:
    """Your invites that can still be used, newest first; with ``invites_view_others`` another user's."""
    invites, total = services.list_invites(current_identity(), **args)
    answer = json_response(InviteSerializer.serialize_many(invites))
    return add_page_headers(answer, total=total, page=args["page"], limit=args["limit"])


@bp.get("/<code>")
@require_permission(P.INVITES_VIEW)
@returns(200, InviteSerializer())
def get_invite(code: str) -> Response:
    """One invite, whether it can still be used or not."""
    return json_response(InviteSerializer.serialize(services.get_invite(current_identity(), code)))


@bp.post("")
@require_permission(P.INVITES_SEND)
@body(NewInviteSchema())
@returns(200, InviteSerializer())
def send_invite(data: dict[str, Any]) -> Response:
    """Make an invite. Nothing is mailed: pass the code on."""
    identity = current_identity()
    address = identity.shown_address(request.remote_addr)
    return json_response(InviteSerializer.serialize(services.send_invite(identity, **data, from_ip=address)))


@bp.delete("/<code>")
@require_permission(P.INVITES_REVOKE)
@returns(200, InviteSerializer())
def revoke_invite(code: str) -> Response:
    """End an invite that nobody has used. Its sender can send another one."""
    return json_response(InviteSerializer.serialize(services.revoke_invite(current_identity(), code)))
