"""``/api/tag/...``: names that move."""

from typing import Any

from core.blueprint import Blueprint
from core.identity import current_identity
from core.requests import body, public, query, require_permission, returns
from registry.permissions import RegistryPermissions as P
from registry.routes.callers import reader
from registry.serializers import RevisionReference, TagQuery
from registry.services import tags

__all__ = ["bp"]

bp = Blueprint("tags", __name__, url_prefix="/api/tag")


@bp.get("/<owner>/<name>/")
@public
@returns(200, {"type": "object"}, "``tags``, by name.")
def list_tags(owner: str, name: str) -> dict[str, Any]:
    """The tags of a package."""
    found = tags.list_tags(reader(), owner, name)
    return {"tags": [{"tag": tag, "hash": digest} for tag, digest in found]}


@bp.get("/<owner>/<name>/<tag>")
@public
@query(TagQuery())
@returns(200, {"type": "object"}, "``hash``, and who made and moved the tag when; ``complete`` if asked for.")
def get_tag(owner: str, name: str, tag: str, args: dict[str, Any]) -> dict[str, Any]:
    """The revision that a tag names.

    With ``complete=true`` also whether all of its objects are here and sound, as far as verification has
    looked. Who has them can push the revision again, which repairs it.
    """
    return tags.get_tag(reader(), owner, name, tag, **args)


@bp.put("/<owner>/<name>/<tag>")
@require_permission(P.PUSH)
@body(RevisionReference())
@returns(200, {"type": "object"}, "Empty.")
def set_tag(owner: str, name: str, tag: str, data: dict[str, Any]) -> dict[str, Any]:
    """Make a tag, or move it."""
    tags.set_tag(current_identity(), owner, name, tag, data["hash"])
    return {}


@bp.delete("/<owner>/<name>/<tag>")
@require_permission(P.PUSH)
@returns(200, {"type": "object"}, "Empty.")
def delete_tag(owner: str, name: str, tag: str) -> dict[str, Any]:
    """Remove a tag; the revision stays."""
    tags.delete_tag(current_identity(), owner, name, tag)
    return {}
