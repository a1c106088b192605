"""Rows of Python values become typed columns, some thousand rows at a time.

For formats that no Arrow reader knows. The types are found in the first rows; when a later value does not
fit, the rest is looked through for its types only, and everything is converted once more. So memory holds a
few thousand rows, whatever comes.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pulsar_client import tables
from pulsar_client.blobs import Blob
from pulsar_client.errors import TableError

BATCH_VALUES = 1 << 18  # values that are typed together; the number of rows follows from the columns

Rows = Iterator[Sequence[Any]]
Open = Callable[[], Rows]

# Which kinds of values a type takes, in the order of trying.
_TYPES: tuple[tuple[pa.DataType, set[type]], ...] = (
    (pa.null(), set()),
    (pa.bool_(), {bool}),
    (pa.int64(), {int}),
    (pa.float64(), {int, float}),
    (pa.date32(), {dt.date}),
    (pa.timestamp("us"), {dt.date, dt.datetime}),
    (pa.time64("us"), {dt.time}),
    (pa.duration("us"), {dt.timedelta}),
)


class _Widened(Exception):
    """A column has values that its type does not take."""


def convert_rows(
    source: Path, names: list[str], asked: dict[str, pa.DataType], open_rows: Open, target: Path
) -> Blob:
    """Write rows as Parquet to the new file ``target``.

    :param names: of the columns; each row has as many values.
    :param asked: types that columns must have.
    :param open_rows: gives the same rows each time it is called.
    :raises TableError: naming column and row, if a value is not of the type that was asked for.
    """
    found: list[set[type]] = [set() for _ in names]
    batch_rows = max(BATCH_VALUES // max(len(names), 1), 1)
    first = next(_list_batches(open_rows(), batch_rows), [])
    _collect(found, first)
    for _ in range(2):
        schema = pa.schema(
            [(name, asked.get(name) or choose(kinds)) for name, kinds in zip(names, found, strict=True)]
        )
        rows = _list_batches(open_rows(), batch_rows)
        try:
            return tables.write(target, schema, _convert(source, schema, asked, rows, found))
        except _Widened:
            target.unlink()
            for batch in rows:  # The types before are known; those from here on are still to be found.
                _collect(found, batch)
    raise TableError(str(source), "the file changed while it was read")


def choose(kinds: set[type]) -> pa.DataType:
    """The type for values of these kinds; different things in one column are texts."""
    return next((kind for kind, takes in _TYPES if kinds <= takes), pa.string())


def _list_batches(rows: Rows, size: int) -> Iterator[list[Sequence[Any]]]:
    batch: list[Sequence[Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _collect(found: list[set[type]], batch: list[Sequence[Any]]) -> bool:
    """Add the kinds of values of each column; returns whether there was a new one."""
    before = sum(map(len, found))
    for kinds, column in zip(found, zip(*batch, strict=True), strict=False):
        kinds |= set(map(type, column)) - {type(None)}
        if int in kinds and float not in kinds and not _fit_int64(column):
            kinds.add(float)
    return sum(map(len, found)) > before


def _fit_int64(column: Sequence[Any]) -> bool:
    return all(-(1 << 63) <= value < 1 << 63 for value in column if type(value) is int)


def _convert(
    source: Path,
    schema: pa.Schema,
    asked: dict[str, pa.DataType],
    batches: Iterator[list[Sequence[Any]]],
    found: list[set[type]],
) -> Iterator[pa.RecordBatch]:
    done = 0
    for batch in batches:
        if _collect(found, batch) and any(
            field.name not in asked and choose(kinds) != field.type
            for field, kinds in zip(schema, found, strict=True)
        ):
            raise _Widened
        columns = [
            _make_array(source, field, values, done)
            for field, values in zip(schema, zip(*batch, strict=True), strict=True)
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
        done += len(batch)


def _make_array(source: Path, field: pa.Field, values: Sequence[Any], done: int) -> pa.Array:
    try:
        return _type_values(values, field.type)
    except _REFUSALS as error:
        for number, value in enumerate(values, start=done + 1):
            try:
                _type_values([value], field.type)
            except _REFUSALS:
                reason = f"{str(value)[:100]!r}, in row {number} of the data, is not of the type {field.type}"
                raise TableError(str(source), reason, column=field.name) from error
        raise TableError(str(source), str(error), column=field.name) from error


_REFUSALS = (pa.ArrowException, ValueError, TypeError, OverflowError)


def _type_values(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        values = [make_text(value) for value in values]
    elif pa.types.is_floating(kind):
        values = [float(value) if type(value) is int else value for value in values]
    elif pa.types.is_integer(kind):
        values = [_make_whole(value) if type(value) is float else value for value in values]
    return pa.array(values, kind)


def _make_whole(value: float) -> int:
    if not value.is_integer():
        raise ValueError("not a whole number")
    return int(value)


def make_text(value: Any) -> str | None:
    """A value of a column in which texts stand as well."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime):
        return value.isoformat(" ")
    return str(value)
