"""``/api/roles/...``: who may do what with a package, beyond what the published client knows of it."""

from typing import Any

from core.blueprint import Blueprint
from core.identity import current_identity
from core.requests import body, require_permission, returns
from registry.permissions import RegistryPermissions as P
from registry.serializers import RoleSchema
from registry.services import roles
from registry.services.packages import get_package, require_owner

__all__ = ["bp"]

bp = Blueprint("roles", __name__, url_prefix="/api/roles")
REFUSAL = "Only the package owner can see and change roles"


@bp.get("/<owner>/<name>/")
@require_permission(P.READ)
@returns(200, {"type": "object"}, "``roles``: audience, name and role of each grant, the oldest first.")
def list_roles(owner: str, name: str) -> dict[str, Any]:
    """Every grant of a package; for its owner and those with the role ``manage``."""
    package = require_owner(get_package(current_identity(), owner, name), REFUSAL)
    return {"roles": roles.list_roles(package)}


@bp.put("/<owner>/<name>/")
@require_permission(P.PUSH)
@body(RoleSchema())
@returns(200, {"type": "object"}, "``roles``, as they are now.")
def set_role(owner: str, name: str, data: dict[str, Any]) -> dict[str, Any]:
    """Give a user, a class or everybody a role, another one than before, or (null) none any more.

    ``read`` may install, ``write`` also push and tag, ``manage`` all that the owner may.
    """
    identity = current_identity()
    package = require_owner(get_package(identity, owner, name, lock=True), REFUSAL)
    roles.set_role(package, data["audience"], data["name"], data["role"], identity)
    return {"roles": roles.list_roles(package)}
