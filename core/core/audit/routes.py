"""``/audit``: the audit log, to be read and nothing else."""

from typing import Any
from urllib.parse import urlencode

from flask import Response, request

from core.audit import services
from core.audit.serializers import AuditQuery, EventSchema
from core.blueprint import Blueprint
from core.permissions import CorePermissions as P
from core.requests import query, require_permission, returns
from core.responses import add_page_headers, json_response, own_address

__all__ = ["bp"]

bp = Blueprint("audit", __name__, url_prefix="/audit")


@bp.get("")
@require_permission(P.SITE_VIEW_AUDIT)
@query(AuditQuery())
@returns(200, EventSchema(many=True))
def list_events(args: dict[str, Any]) -> Response:
    """What happened, newest first. By pages; or, without a count, what comes ``after`` an event."""
    page, limit = args["page"], args["limit"]
    events = services.list_events(**args)
    answer = json_response(EventSchema(many=True).dump(events))
    if "after" not in args:
        wanted = {key: value for key, value in args.items() if key not in ("page", "limit")}
        return add_page_headers(answer, total=services.count_events(**wanted), page=page, limit=limit)
    if len(events) == limit:
        further = request.args.to_dict() | {"limit": str(limit), "after": str(events[-1].id)}
        answer.headers["Link"] = f'<{own_address()}?{urlencode(further)}>; rel="next"'
    return answer
