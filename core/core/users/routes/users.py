"""``/users``: who is who, and who wants to join."""

from typing import Any

from flask import Response

from core.blueprint import Blueprint
from core.identity import current_identity
from core.permissions import CorePermissions as P
from core.requests import body, login_required, public, query, require_permission, returns
from core.responses import add_page_headers, json_response
from core.users import services
from core.users.serializers import RegistrationSchema, UserQuery, UserSerializer

__all__ = ["bp"]

bp = Blueprint("users", __name__, url_prefix="/users")


@bp.post("")
@public
@body(RegistrationSchema())
@returns(200, {"type": "object", "properties": {"username": {"type": "string"}}})
@returns(409, None, "Somebody else took the name in the same moment.")
def register(data: dict[str, Any]) -> Response:
    """Register. Where the site asks for it, ``code`` is an invite of 24 characters."""
    return json_response({"username": services.register(**data).username})


@bp.get("")
@require_permission(P.USERS_VIEW)
@query(UserQuery())
@returns(200, UserSerializer(many=True))
def list_users(args: dict[str, Any]) -> Response:
    """Users by name; with ``search`` those who have it in their names."""
    users, total = services.list_users(current_identity(), **args)
    answer = json_response(UserSerializer.serialize_many(users))
    return add_page_headers(answer, total=total, page=args["page"], limit=args["limit"])


@bp.get("/me")
@login_required
@returns(200, UserSerializer())
def get_me() -> Response:
    """The caller."""
    identity = current_identity()
    assert identity.user_id is not None, "the route needs a login"
    return json_response(UserSerializer.serialize(services.get_user_for(identity, identity.user_id)))


@bp.get("/<int:user_id>")
@require_permission(P.USERS_VIEW)
@returns(200, UserSerializer())
def get_user(user_id: int) -> Response:
    """One user."""
    return json_response(UserSerializer.serialize(services.get_user_for(current_identity(), user_id)))
