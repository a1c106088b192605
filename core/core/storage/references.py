"""Who refers to a blob: the ledger is the database's own foreign keys.

A table that needs a blob to stay has a column with a foreign key to ``core_blobs.digest`` and no
``ON DELETE`` clause. That is all: there is no counter to keep, none to get wrong, and the database itself
refuses to delete what is still named. The foreign keys are read from the database, not from the models that
happen to be imported, so the tables of a plugin that is switched off keep their blobs too.

A foreign key with ``ON DELETE CASCADE`` describes a blob (who has sent it, what its other digests are) and
goes with it; it is not a reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnClause, ColumnElement, column, exists, func, inspect, or_, select, table, true
from sqlalchemy.engine.interfaces import ReflectedForeignKeyConstraint
from sqlalchemy.orm import Session

from core.storage.models import Blob

__all__ = ["Reference", "Referrer", "is_referred_to", "list_references", "list_referrers"]


@dataclass(frozen=True, slots=True)
class Referrer:
    """A column that holds digests of blobs it needs."""

    table: str
    column: str


@dataclass(frozen=True, slots=True)
class Reference:
    """How many rows of one column name one blob."""

    referrer: Referrer
    rows: int


def list_referrers(session: Session) -> list[Referrer]:
    """Every referring column of the database, by name. Reads the schema: once per job, not per request."""
    found = inspect(session.connection()).get_multi_foreign_keys()
    return sorted(
        (
            Referrer(name, key["constrained_columns"][key["referred_columns"].index("digest")])
            for (_, name), keys in found.items()
            for key in keys
            if _keeps(key)
        ),
        key=lambda referrer: (referrer.table, referrer.column),
    )


def _keeps(key: ReflectedForeignKeyConstraint) -> bool:
    return (
        key["referred_table"] == Blob.__tablename__
        and "digest" in key["referred_columns"]
        and (key.get("options") or {}).get("ondelete", "").upper() != "CASCADE"
    )


def is_referred_to(referrers: Sequence[Referrer]) -> ColumnElement[bool]:
    """SQL: some row of ``referrers`` names the blob of the row at hand."""
    clauses = []
    for referrer in referrers:
        named: ColumnClause[str] = column(referrer.column)
        rows = table(referrer.table, named)
        clauses.append(exists(select(1).select_from(rows).where(named == Blob.digest).correlate(Blob)))
    return or_(*clauses) if clauses else ~true()


def list_references(session: Session, digest: str) -> list[Reference]:
    """Which columns name the blob, and in how many rows. Empty: nobody needs it."""
    found = []
    for referrer in list_referrers(session):
        named: ColumnClause[str] = column(referrer.column)
        count = select(func.count()).select_from(table(referrer.table, named)).where(named == digest)
        if rows := session.scalar(count):
            found.append(Reference(referrer, rows))
    return found
