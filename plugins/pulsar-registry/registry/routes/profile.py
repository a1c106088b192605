"""``/api/profile`` and ``/api/invite/...``: what is mine, and what is offered to me."""

from typing import Any

from core.blueprint import Blueprint
from core.identity import current_identity
from core.permissions import CorePermissions
from core.requests import require_permission, returns
from registry.permissions import RegistryPermissions as P
from registry.services import invitations, profiles
from registry.services.packages import get_package, require_owner

__all__ = ["bp"]

bp = Blueprint("profile", __name__, url_prefix="/api")


@bp.get("/profile")
@require_permission(P.READ)
@returns(200, {"type": "object"}, "``packages``: ``own`` and ``shared``; ``is_admin``; two that are null.")
def get_profile() -> dict[str, Any]:
    """One's own packages and those shared with one by name. Invitations to one's address are taken."""
    identity = current_identity()
    invitations.claim(identity)
    return {
        "packages": profiles.list_packages(identity),
        "is_admin": identity.can(CorePermissions.SITE_GOD_MODE),
        "plan": None,
        "have_credit_card": None,
    }


@bp.get("/invite/")
@require_permission(P.READ)
@returns(200, {"type": "object"}, "``invitations``, oldest first.")
def list_mine() -> dict[str, Any]:
    """The invitations to one's address, if it is verified."""
    return {"invitations": invitations.list_for(current_identity())}


@bp.get("/invite/<owner>/<name>/")
@require_permission(P.READ)
@returns(200, {"type": "object"}, "``invitations``, oldest first.")
def list_of_package(owner: str, name: str) -> dict[str, Any]:
    """The invitations to a package that nobody has taken yet; for the owner."""
    seen = get_package(current_identity(), owner, name)
    package = require_owner(seen, "Only the package owner can view invitations")
    return {"invitations": invitations.list_of(package)}
