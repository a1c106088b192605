"""``/api/statistics/...``: what is known of a table."""

from typing import Any

from core.blueprint import Blueprint
from core.requests import public, returns
from registry.routes.callers import reader
from registry.services import statistics

__all__ = ["bp"]

bp = Blueprint("statistics", __name__)


@bp.get("/api/statistics/<owner>/<handle>/<path:path>")
@public
@returns(200, {"type": "object"}, "``state``, ``rows``, ``fragments`` with columns and first rows.")
def get_statistics(owner: str, handle: str, path: str) -> dict[str, Any]:
    """Schema, rows, nulls, least and greatest values and first rows of a table; the beginning of a text.

    ``handle`` is the name of the package, or ``name@revision`` with a tag, a version, a top hash or the
    beginning of one. Of a table that nobody has looked at ``state`` is ``waiting``: ask again in a moment.
    """
    return statistics.get_statistics(reader(), owner, handle, path)
