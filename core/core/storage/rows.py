"""Statements about blobs that SQLite, PostgreSQL and MariaDB spell differently, or that come in batches."""

import json
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, TypeVar, TypeVarTuple

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Dialect,
    Row,
    Select,
    SQLColumnExpression,
    String,
    any_,
    func,
    literal,
    select,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import Session

from core.db import Base
from core.storage.backends import Place
from core.storage.models import Blob, Pack

__all__ = [
    "BATCH",
    "among",
    "batches",
    "find_among",
    "is_kept",
    "make_place",
    "place_columns",
    "usable",
    "write_rows",
]

# Digests in one statement: fewer than the 999 variables that the oldest SQLite takes.
BATCH = 500

# Where a list can be one value.
_PARTS: Final = {"sqlite": 10_000, "postgresql": 10_000}

T = TypeVar("T")
R = TypeVarTuple("R")


def batches(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """``items`` in lists of at most ``size``."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def find_among(
    session: Session, query: Select[*R], column: SQLColumnExpression[str], values: Iterable[str]
) -> Iterator[Row[*R]]:
    """The rows of ``query`` in which ``column`` is one of ``values``, which may be many thousands."""
    connection = session.connection()
    for condition in among(connection, column, values):
        yield from connection.execute(query.where(condition)).all()


def among(
    connection: Connection, column: SQLColumnExpression[str], values: Iterable[str]
) -> Iterator[ColumnElement[bool]]:
    """SQL: ``column`` is one of ``values``; of many thousands for one part after the other.

    In order, so that neighbouring pages of an index are read one after the other.
    """
    dialect = connection.dialect.name
    for part in batches(sorted(set(values)), _PARTS.get(dialect, BATCH)):
        yield _is_among(dialect, column, part)


def _is_among(dialect: str, column: SQLColumnExpression[str], values: list[str]) -> ColumnElement[bool]:
    # A list as one value: a variable for each costs SQLAlchemy more than the whole search does the database.
    if dialect == "sqlite":
        return column.in_(select(func.json_each(json.dumps(values)).table_valued("value").c.value))
    if dialect == "postgresql":
        return column == any_(literal(values, ARRAY(String)))
    return column.in_(values)


def usable() -> ColumnElement[bool]:
    """The SQL of :attr:`Blob.usable`.

    Both columns in one expression, which no index fits: asked for a few hundred digests, SQLite otherwise
    takes the index of ``condemned_at``, where nearly every blob is NULL, and reads all of them.
    """
    return func.coalesce(Blob.condemned_at, Blob.damaged_at).is_(None)


def is_kept() -> ColumnElement[bool]:
    """SQL: the sweep has not condemned it. An expression for the same reason."""
    return func.coalesce(Blob.condemned_at, None).is_(None)


def place_columns() -> tuple[Any, ...]:
    """What :func:`make_place` needs of a query that has ``Blob`` and, by an outer join, its ``Pack``."""
    return Blob.digest, Blob.size, Blob.pack_start, Pack.name


def make_place(digest: str, size: int, start: int | None, pack: str | None) -> Place:
    """Where the bytes of a blob are, by the columns of :func:`place_columns`."""
    return Place(digest, 0, size) if pack is None or start is None else Place(pack, start, size)


def write_rows(
    session: Session,
    model: type[Base],
    rows: Sequence[Mapping[str, Any]],
    update: Sequence[str] = (),
    same: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Insert ``rows``; where the primary key is taken, overwrite the columns ``update``, if any.

    With ``update`` every row ends up locked until the end of the transaction, whether it is new or
    not. Rows should come in the order of their keys: two callers then never wait for each other in a ring.

    :param rows: values by column, the same columns in each.
    :param same: columns that have one value in all rows.
    """
    if not rows:
        return
    connection = session.connection()
    columns = [*rows[0], *same]
    compiled = _insertion(connection.dialect.name, model, update).compile(
        dialect=connection.dialect, column_keys=columns
    )
    # The text goes to the driver with values that are converted here, which costs a fifth of
    # Connection.execute() for ten thousand rows: that one looks at each value of each row anew.
    values = [_converted(model, name, [row[name] for row in rows], connection.dialect) for name in rows[0]]
    shared = [
        _converted(model, name, [value], connection.dialect) * len(rows) for name, value in same.items()
    ]
    lines = zip(*values, *shared, strict=True)
    order = operator.itemgetter(*map(columns.index, compiled.positiontup or columns))
    for part in batches(lines, 1000):  # ten thousand new tuples at once would set off the garbage collector
        if compiled.positional:
            connection.exec_driver_sql(str(compiled), [order(line) for line in part])
        else:
            connection.exec_driver_sql(
                str(compiled), [dict(zip(columns, line, strict=True)) for line in part]
            )


def _insertion(dialect: str, model: type[Base], update: Sequence[str]) -> Any:
    key = [column.name for column in model.__table__.primary_key]
    if dialect in ("mysql", "mariadb"):
        insert = mysql.insert(model)
        # Setting the key to itself means "leave it"; INSERT IGNORE would swallow real errors too.
        return insert.on_duplicate_key_update(
            {name: insert.inserted[name] for name in update} or {key[0]: insert.inserted[key[0]]}
        )
    other: Any = postgresql.insert(model) if dialect == "postgresql" else sqlite.insert(model)
    if not update:
        return other.on_conflict_do_nothing(index_elements=key)
    return other.on_conflict_do_update(
        index_elements=key, set_={name: other.excluded[name] for name in update}
    )


def _converted(model: type[Base], name: str, values: list[Any], dialect: Dialect) -> list[Any]:
    """``values`` of one column as the driver takes them."""
    convert = model.__table__.c[name].type.dialect_impl(dialect).bind_processor(dialect)
    return values if convert is None else [convert(value) for value in values]
