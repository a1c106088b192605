"""``/api/package/<owner>/`` and ``/api/package/<owner>/<name>/``: packages as a whole."""

from typing import Any

from core.blueprint import Blueprint
from core.identity import current_identity
from core.requests import public, query, require_permission, returns
from registry.permissions import RegistryPermissions as P
from registry.routes.callers import reader
from registry.serializers import RecentQuery
from registry.services import packages, revisions

__all__ = ["bp"]

bp = Blueprint("packages", __name__)


@bp.get("/api/package/<owner>/")
@public
@returns(200, {"type": "object"}, "``packages``, by name.")
def list_packages(owner: str) -> dict[str, Any]:
    """The packages of an owner that the caller may read; of an unknown owner, none."""
    return {
        "packages": [
            {"name": name, "is_public": bool(is_public), "is_team": bool(is_team)}
            for name, is_public, is_team in packages.list_packages(reader(), owner)
        ]
    }


@bp.get("/api/package/<owner>/<name>/")
@public
@returns(200, {"type": "object"}, "``hashes``, oldest first.")
def list_hashes(owner: str, name: str) -> dict[str, Any]:
    """The top hash of every revision."""
    return {"hashes": list(revisions.list_hashes(reader(), owner, name))}


@bp.get("/api/recent_packages/")
@public
@query(RecentQuery())
@returns(200, {"type": "object"}, "``packages``, newest first.")
def list_recent(args: dict[str, Any]) -> dict[str, Any]:
    """What was pushed to last, of the packages shared with the public (or, without one, with the team)."""
    return {
        "packages": [
            {"owner": owner, "name": name, "updated_at": updated_at.isoformat()}
            for owner, name, updated_at in packages.list_recent(reader(), **args)
        ]
    }


@bp.delete("/api/package/<owner>/<name>/")
@require_permission(P.PUSH)
@returns(200, {"type": "object"}, "Empty.")
def delete_package(owner: str, name: str) -> dict[str, Any]:
    """Delete the package: revisions, log, tags, versions, access. Other packages keep shared objects."""
    packages.delete_package(current_identity(), owner, name)
    return {}
