"""``/api/package_timeseries/...``: how much happens to a package."""

from typing import Any

from core.blueprint import Blueprint
from core.requests import public, returns
from registry.routes.callers import reader
from registry.services import activity

__all__ = ["bp"]

bp = Blueprint("activity", __name__)


@bp.get("/api/package_timeseries/<owner>/<name>/<event>")
@public
@returns(200, {"type": "object"}, "``timeSeries``: 52 numbers, the oldest week first; and their ``total``.")
def get_series(owner: str, name: str, event: str) -> dict[str, Any]:
    """How often the package was pushed to, installed, previewed or deleted in each of the last 52 weeks.

    ``event`` is ``push``, ``install``, ``preview`` or ``delete``. What the audit log no longer has is not
    counted.
    """
    return activity.get_series(reader(), owner, name, event)
