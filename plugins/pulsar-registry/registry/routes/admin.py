"""``/api/audit/...`` and ``/api/admin/...``: what happened on the site, for its administrators."""

from typing import Any

from core.blueprint import Blueprint
from core.identity import current_identity
from core.permissions import CorePermissions
from core.requests import login_required, query, returns
from registry.routes.callers import require_admin
from registry.serializers import AuditQuery
from registry.services import audit, packages

__all__ = ["bp"]

bp = Blueprint("admin", __name__, url_prefix="/api")

EVENTS = {"type": "object"}


@bp.get("/audit/<owner>/<name>/")
@login_required
@query(AuditQuery())
@returns(200, EVENTS, "``events``, newest first.")
def list_of_package(owner: str, name: str, args: dict[str, Any]) -> dict[str, Any]:
    """What happened to a package. Needs `site_view_audit`."""
    require_admin(CorePermissions.SITE_VIEW_AUDIT)
    return {"events": audit.list_of_package(owner, name, **args)}


@bp.get("/audit/<user>/")
@login_required
@query(AuditQuery())
@returns(200, EVENTS, "``events``, newest first.")
def list_of_user(user: str, args: dict[str, Any]) -> dict[str, Any]:
    """What a user did. Needs `site_view_audit`."""
    require_admin(CorePermissions.SITE_VIEW_AUDIT)
    return {"events": audit.list_of_user(user, **args)}


@bp.get("/admin/package_summary")
@login_required
@returns(200, {"type": "object"}, "``packages``: by handle, how often what happened and when last.")
def summarize() -> dict[str, Any]:
    """How much each package is used. Needs `site_view_audit`."""
    require_admin(CorePermissions.SITE_VIEW_AUDIT)
    return {"packages": audit.summarize()}


@bp.get("/admin/package_list/<user>/")
@login_required
@returns(200, {"type": "object"}, "``packages``, by name.")
def list_packages(user: str) -> dict[str, Any]:
    """All packages of a user, private ones too. Needs `site_god_mode`."""
    require_admin(CorePermissions.SITE_GOD_MODE)
    found = packages.list_packages(current_identity(), user)
    return {
        "packages": [
            {"name": name, "is_public": bool(is_public), "is_team": bool(is_team)}
            for name, is_public, is_team in found
        ]
    }
