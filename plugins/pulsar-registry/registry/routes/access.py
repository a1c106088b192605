"""``/api/access/...``: who may read a package."""

from typing import Any

from core.blueprint import Blueprint
from core.identity import current_identity
from core.requests import require_permission, returns
from registry.permissions import RegistryPermissions as P
from registry.services import access, invitations
from registry.services.packages import get_package, require_owner

__all__ = ["bp"]

bp = Blueprint("access", __name__, url_prefix="/api/access")


@bp.get("/<owner>/<name>/")
@require_permission(P.READ)
@returns(200, {"type": "object"}, "``users``: names, ``public`` and ``team`` among them.")
def list_access(owner: str, name: str) -> dict[str, Any]:
    """Who may read the package; for all who may themselves."""
    return {"users": access.list_users(get_package(current_identity(), owner, name).package)}


@bp.get("/<owner>/<name>/<user>")
@require_permission(P.READ)
@returns(200, {"type": "object"}, "Empty.")
def get_access(owner: str, name: str, user: str) -> dict[str, Any]:
    """Whether somebody has a row; for the owner."""
    seen = get_package(current_identity(), owner, name)
    package = require_owner(seen, "Only the package owner can view access")
    (invitations.find_invitation if "@" in user else access.get_access)(package, user)
    return {}


@bp.put("/<owner>/<name>/<user>")
@require_permission(P.PUSH)
@returns(200, {"type": "object"}, "Empty.")
def grant(owner: str, name: str, user: str) -> dict[str, Any]:
    """Let a user read the package, or ``public``; ``team`` (everyone with an account) may push, too.

    An e-mail address is invited; an account whose verified address it is takes the invitation by
    ``GET /api/profile``.
    """
    seen = get_package(current_identity(), owner, name, lock=True)
    package = require_owner(seen, "Only the package owner can grant access")
    (invitations.invite if "@" in user else access.grant)(package, user, current_identity())
    return {}


@bp.delete("/<owner>/<name>/<user>")
@require_permission(P.PUSH)
@returns(200, {"type": "object"}, "Empty.")
def revoke(owner: str, name: str, user: str) -> dict[str, Any]:
    """Take access, or an invitation, back; it ends at once, but links handed out live until they expire."""
    seen = get_package(current_identity(), owner, name, lock=True)
    package = require_owner(seen, "Only the package owner can revoke access")
    (invitations.withdraw if "@" in user else access.revoke)(package, user)
    return {}
