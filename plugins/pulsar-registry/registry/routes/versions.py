"""``/api/version/...``: names that never move; there is no DELETE."""

from typing import Any

from core.blueprint import Blueprint
from core.identity import current_identity
from core.requests import body, public, require_permission, returns
from registry.permissions import RegistryPermissions as P
from registry.routes.callers import reader
from registry.serializers import RevisionReference
from registry.services import versions

__all__ = ["bp"]

bp = Blueprint("versions", __name__, url_prefix="/api/version")


@bp.get("/<owner>/<name>/")
@public
@returns(200, {"type": "object"}, "``versions``, in the order of PEP 440.")
def list_versions(owner: str, name: str) -> dict[str, Any]:
    """The versions of a package, spelt as they were given."""
    found = versions.list_versions(reader(), owner, name)
    return {"versions": [{"version": version, "hash": digest} for version, digest in found]}


@bp.get("/<owner>/<name>/<version>")
@public
@returns(200, {"type": "object"}, "``hash``, and who made the version when.")
def get_version(owner: str, name: str, version: str) -> dict[str, Any]:
    """The revision that a version names; any spelling of an equal version will do."""
    return versions.get_version(reader(), owner, name, version)


@bp.put("/<owner>/<name>/<version>")
@require_permission(P.PUSH)
@body(RevisionReference())
@returns(200, {"type": "object"}, "Empty.")
def add_version(owner: str, name: str, version: str, data: dict[str, Any]) -> dict[str, Any]:
    """Give a revision a version, for good. One that is equal by PEP 440 must not be there."""
    versions.add_version(current_identity(), owner, name, version, data["hash"])
    return {}
