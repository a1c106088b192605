"""Statements about blobs that SQLite, PostgreSQL and MariaDB spell differently, or that come in batches."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, func
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import Session

from core.db import Base
from core.storage.models import Blob

__all__ = ["BATCH", "batches", "usable", "write_rows"]

# Digests in one statement: fewer than the 999 variables that the oldest SQLite takes.
BATCH = 500

T = TypeVar("T")


def batches(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """``items`` in lists of at most ``size``."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def usable() -> ColumnElement[bool]:
    """The SQL of :attr:`Blob.usable`.

    Both columns in one expression, which no index fits: asked for a few hundred digests, SQLite otherwise
    takes the index of ``condemned_at``, where nearly every blob is NULL, and reads all of them.
    """
    return func.coalesce(Blob.condemned_at, Blob.damaged_at).is_(None)


def write_rows(
    session: Session, model: type[Base], rows: Sequence[dict[str, Any]], update: Sequence[str] = ()
) -> None:
    """Insert ``rows``; where the primary key is taken, overwrite the columns ``update``, if any.

    With ``update`` every row ends up locked until the end of the transaction, whether it is new or
    not. Rows should come in the order of their keys: two callers then never wait for each other in a ring.
    """
    if not rows:
        return
    table = model.__table__
    key = [column.name for column in table.primary_key]
    dialect = session.get_bind().dialect.name
    if dialect in ("mysql", "mariadb"):
        insert = mysql.insert(model)
        # Setting the key to itself means "leave it"; INSERT IGNORE would swallow real errors too.
        statement: Any = insert.on_duplicate_key_update(
            {name: insert.inserted[name] for name in update} or {key[0]: insert.inserted[key[0]]}
        )
    else:
        other: Any = postgresql.insert(model) if dialect == "postgresql" else sqlite.insert(model)
        statement = (
            other.on_conflict_do_update(
                index_elements=key, set_={name: other.excluded[name] for name in update}
            )
            if update
            else other.on_conflict_do_nothing(index_elements=key)
        )
    session.connection().execute(statement, list(rows))
