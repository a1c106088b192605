"""``/api/log/<owner>/<name>/``: every push of a package."""

from typing import Any

from core.blueprint import Blueprint
from core.requests import public, returns
from registry.routes.callers import reader
from registry.services import revisions

__all__ = ["bp"]

bp = Blueprint("log", __name__)


@bp.get("/api/log/<owner>/<name>/")
@public
@returns(200, {"type": "object"}, "``logs``, oldest first.")
def get_log(owner: str, name: str) -> dict[str, Any]:
    """Every push, oldest first: hash, time, who pushed, and the tags and versions the revision has now."""
    return {"logs": revisions.list_log(reader(), owner, name)}
