"""How much happens to a package, week by week, as the audit log has it."""

from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import and_, case, func, select

from core.db import db, now
from core.errors import BadRequest
from core.identity import Identity
from core.models import Event
from registry.services.packages import get_package

__all__ = ["get_series"]

WEEK: Final = timedelta(weeks=1)
WEEKS: Final = 52
EVENTS: Final[Mapping[str, str]] = {
    "push": "registry.package.pushed",
    "install": "registry.package.installed",
    "preview": "registry.package.previewed",
    "delete": "registry.package.deleted",
}


def get_series(identity: Identity, owner: str, name: str, event: str) -> dict[str, Any]:
    """How often ``event`` happened in each of the last 52 weeks, which end now; one statement.

    :raises NotFound: there is no such package that ``identity`` may read.
    :raises BadRequest: there is no such event.
    """
    get_package(identity, owner, name)
    if event not in EVENTS:
        raise BadRequest(f"There is no event {event[:20]!r}; there are {', '.join(EVENTS)}.")
    end = now()
    borders = [end - WEEK * number for number in range(WEEKS, -1, -1)]
    counts = [
        func.count(case((and_(Event.happened_at > before, Event.happened_at <= after), 1)))
        for before, after in pairwise(borders)
    ]
    numbers = db.session.execute(
        select(*counts).where(
            Event.target == f"package:{owner}/{name}",
            Event.name == EVENTS[event],
            Event.happened_at > borders[0],
        )
    ).one()
    return {
        "startDate": borders[0].timestamp(),
        "endDate": end.timestamp(),
        "frequency": "week",
        "timeSeries": list(numbers),
        "total": sum(numbers),
    }
