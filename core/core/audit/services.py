"""Read the audit log."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypedDict, Unpack

from sqlalchemy import ColumnElement, func, select

from core.db import db
from core.models import Event

__all__ = ["count_events", "list_events"]


class Wanted(TypedDict, total=False):
    """Which events are meant. A ``name`` with ``*`` at its end stands for all that begin so."""

    name: str
    actor: str  # a user name
    target: str
    request_id: str
    since: datetime  # included, like until
    until: datetime


def list_events(
    *, limit: int = 50, after: int | None = None, page: int = 1, **wanted: Unpack[Wanted]
) -> Sequence[Event]:
    """Events, newest first.

    :param after: id of the last one that was seen; only older ones follow it.
    """
    query = select(Event).where(*_conditions(**wanted)).order_by(Event.id.desc()).limit(limit)
    query = query.offset((page - 1) * limit) if after is None else query.where(Event.id < after)
    return db.session.scalars(query).all()


def count_events(**wanted: Unpack[Wanted]) -> int:
    """How many events there are; looks at each of them."""
    return db.session.scalar(select(func.count(Event.id)).where(*_conditions(**wanted))) or 0


def _conditions(**wanted: Unpack[Wanted]) -> list[ColumnElement[bool]]:
    name = wanted.get("name", "")
    found = _begins_with(name[:-1]) if name.endswith("*") else [Event.name == name] * bool(name)
    if "actor" in wanted:
        found.append(Event.actor == wanted["actor"])
    if "target" in wanted:
        found.append(Event.target == wanted["target"])
    if "request_id" in wanted:
        found.append(Event.request_id == wanted["request_id"])
    if "since" in wanted:
        found.append(Event.happened_at >= wanted["since"])
    if "until" in wanted:
        found.append(Event.happened_at <= wanted["until"])
    return found


def _begins_with(start: str) -> list[ColumnElement[bool]]:
    """As a range, which every database finds in its index; names are compared by code point."""
    if not start:
        return []
    return [Event.name >= start, Event.name < start[:-1] + chr(ord(start[-1]) + 1)]
