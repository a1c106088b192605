"""Rules that tables must keep, as a build file states them; tested piece by piece.

They are data: nothing in them runs. Quilt's checks, which are Python, are in :mod:`python_checks`.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pulsar_client.errors import BuildError
from pulsar_client.tables import restore_units

BATCH_ROWS = 1 << 16  # rows in memory at once
CACHE_KIB = 64 << 10  # KiB that finding equal values may hold in memory; the rest goes to a temporary file
SHOWN = 80  # characters of a value in a message

# What `type` may say, and which types of Arrow it means.
TYPES: dict[str, Callable[[pa.DataType], bool]] = {
    "integer": pa.types.is_integer,
    "number": lambda kind: (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    ),
    "string": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    "bool": pa.types.is_boolean,
    "date": pa.types.is_date,
    "time": pa.types.is_time,
    "timestamp": pa.types.is_timestamp,
}


@dataclass(frozen=True, slots=True)
class ColumnRule:
    """What the values of some columns must be. Missing values keep every rule but ``not_null``."""

    type: str | None = None
    not_null: bool = False
    unique: bool = False
    min: Any = None
    max: Any = None
    values: tuple[Any, ...] | None = None
    regex: str | None = None  # for the whole text, in the syntax of RE2


@dataclass(frozen=True, slots=True)
class Check:
    """Rules under one name."""

    rows: tuple[int | None, int | None] = (None, None)  # least and greatest number
    unique: tuple[str, ...] = ()  # columns whose values together differ in all rows
    columns: Mapping[str, ColumnRule] = field(default_factory=dict)  # by name or pattern


def parse_check(name: str, given: Mapping[str, Any]) -> Check:
    """:raises BuildError: for what is no rule."""

    def fail(reason: str) -> NoReturn:
        raise BuildError(f"The check {name!r}: {reason}.")

    if unknown := sorted(given.keys() - {"rows", "unique", "columns"}):
        fail(f"{unknown[0]!r} is not known; known are rows, unique and columns")
    unique = given.get("unique", [])
    unique = [unique] if isinstance(unique, str) else unique
    if not isinstance(unique, list) or not all(isinstance(one, str) for one in unique):
        fail("unique must be a list of columns")
    columns = given.get("columns", {})
    if not isinstance(columns, dict):
        fail("columns must be a mapping of columns to rules")
    return Check(
        _parse_rows(given.get("rows"), fail),
        tuple(unique),
        {column: _parse_column(column, rule, fail) for column, rule in columns.items()},
    )


def _parse_rows(given: Any, fail: Callable[[str], NoReturn]) -> tuple[int | None, int | None]:
    bounds = {"min": given, "max": given} if type(given) is int else given or {}
    if not isinstance(bounds, dict) or bounds.keys() - {"min", "max"}:
        fail("rows must be a number, or have min and max")
    if not all(value is None or type(value) is int for value in bounds.values()):
        fail("min and max of rows must be whole numbers")
    return bounds.get("min"), bounds.get("max")


def _parse_column(column: str, given: Any, fail: Callable[[str], NoReturn]) -> ColumnRule:
    known = ColumnRule.__dataclass_fields__.keys()
    if not isinstance(given, dict):
        fail(f"the rules of column {column!r} must be a mapping")
    if unknown := sorted(given.keys() - known):
        fail(f"{unknown[0]!r} of column {column!r} is not known; known are {', '.join(known)}")
    rule = ColumnRule(**{**given, "values": _make_tuple(given.get("values"))})
    if rule.type is not None and not isinstance(rule.type, str):
        fail(f"type of column {column!r} must be a text")
    for word in ("not_null", "unique"):
        if not isinstance(getattr(rule, word), bool):
            fail(f"{word} of column {column!r} must be true or false")
    if "values" in given and (
        rule.values is None or any(isinstance(one, list | dict) for one in rule.values)
    ):
        fail(f"values of column {column!r} must be a list")
    for word in ("min", "max"):
        if isinstance(getattr(rule, word), bool | list | dict):
            fail(f"{word} of column {column!r} must be a number or a text")
    if rule.regex is not None and not isinstance(rule.regex, str):
        fail(f"regex of column {column!r} must be a text")
    return rule


def _make_tuple(given: Any) -> tuple[Any, ...] | None:
    return tuple(given) if isinstance(given, list) else None


def list_failures(check: Check, path: Path) -> list[str]:
    """What in the Parquet file at ``path`` breaks the rules, one sentence for each rule and column."""
    try:
        with pq.ParquetFile(path) as file:
            return list(dict.fromkeys(_list_failures(check, file)))
    except (pa.ArrowException, OSError) as error:
        return [f"the table cannot be read: {' '.join(str(error).split())}"]


def _list_failures(check: Check, file: pq.ParquetFile) -> Iterator[str]:
    yield from _check_rows(check, file.metadata.num_rows)
    schema = restore_units(file.schema_arrow.empty_table()).schema
    keys = [check.unique] if check.unique else []
    tests: list[_Test] = []
    for pattern, rule in check.columns.items():
        names = [pattern] if pattern in schema.names else [n for n in schema.names if fnmatchcase(n, pattern)]
        if not names:
            yield f"there is no column {pattern!r}"
        for name in names:
            yield from _prepare(name, schema.field(name).type, rule, tests)
            if rule.unique:
                keys.append((name,))
    yield from _run_tests(file, tests)
    for key in keys:
        if missing := [name for name in key if name not in schema.names]:
            yield f"there is no column {missing[0]!r}"
        elif problem := _find_equal(file, list(key)):
            yield problem


def _check_rows(check: Check, count: int) -> Iterator[str]:
    least, greatest = check.rows
    if least is not None and count < least:
        yield f"{count} rows, fewer than {least}"
    if greatest is not None and count > greatest:
        yield f"{count} rows, more than {greatest}"


def _prepare(name: str, kind: pa.DataType, rule: ColumnRule, tests: "list[_Test]") -> Iterator[str]:
    """Add the tests of a column; yields what can be said without looking at its values."""
    if rule.type is not None and not _is_type(kind, rule.type):
        yield f"column {name!r} is of the type {kind}, not {rule.type}"
    for words, find in _list_tests(rule, kind):
        if isinstance(find, str):
            yield f"column {name!r}: {find}"
        else:
            tests.append(_Test(name, words, find))


@dataclass(slots=True)
class _Test:
    column: str
    words: str  # what a bad value is
    find: "Find"  # which values are bad


def _is_type(kind: pa.DataType, wanted: str) -> bool:
    return TYPES[wanted](kind) if wanted in TYPES else str(kind) == wanted


Find = Callable[[pa.Array], pa.Array]


def _list_tests(rule: ColumnRule, kind: pa.DataType) -> Iterator[tuple[str, Find | str]]:
    """For each rule the words for a bad value and the test, or why it cannot be made."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if rule.not_null:
        yield "is missing", pc.is_null
    if rule.min is not None:
        yield f"is less than {rule.min}", _make_comparison("min", rule.min, kind, pc.less)
    if rule.max is not None:
        yield f"is more than {rule.max}", _make_comparison("max", rule.max, kind, pc.greater)
    if rule.values is not None:
        yield "is not allowed", _make_membership(rule.values, kind)
    if rule.regex is not None:
        yield f"does not match {rule.regex}", _make_regex_test(rule.regex, kind)


def _make_comparison(
    word: str, bound: Any, kind: pa.DataType, compare: Callable[..., pa.Array]
) -> Find | str:
    limit = _make_scalar(bound, kind)
    if limit is None or (TYPES["string"](kind) and not isinstance(bound, str)):
        return f"{word} {bound!r} cannot be compared with the type {kind}"

    def find(array: pa.Array) -> pa.Array:
        return compare(array, limit)

    return find


def _make_membership(values: tuple[Any, ...], kind: pa.DataType) -> Find | str:
    allowed = [_make_scalar(value, kind) for value in values if value is not None]
    if any(one is None or one.type != kind for one in allowed):
        return f"values are not all of the type {kind}"
    members = pa.array([one.as_py() for one in allowed if one is not None], kind)
    return lambda array: pc.and_(pc.is_valid(array), pc.invert(pc.is_in(array, value_set=members)))


def _make_regex_test(regex: str, kind: pa.DataType) -> Find | str:
    whole = rf"\A(?:{regex})\z"
    if not TYPES["string"](kind):
        return f"regex is for texts, not for the type {kind}"
    try:
        pc.match_substring_regex(pa.array([""]), whole)
    except pa.ArrowInvalid as error:
        return f"the regex cannot be used: {error}"
    return lambda array: pc.invert(pc.match_substring_regex(array, whole))


def _make_scalar(value: Any, kind: pa.DataType) -> pa.Scalar | None:
    """A value of a build file as one of a column; None if it cannot be one."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and not (TYPES["number"](kind)) and not TYPES["string"](kind):
        return None
    text = str(value) if TYPES["string"](kind) and not isinstance(value, bool) else value
    try:
        if isinstance(value, float) and pa.types.is_integer(kind):
            return pa.scalar(value)
        return pa.scalar(text).cast(kind)
    except (pa.ArrowException, OverflowError, ValueError):
        return None


def _run_tests(file: pq.ParquetFile, tests: list[_Test]) -> Iterator[str]:
    done = 0
    for batch in _list_batches(file, list({test.column for test in tests})) if tests else ():
        for test in list(tests):
            values = batch.column(test.column)
            bad = pc.index(test.find(values), True).as_py()
            if bad >= 0:
                shown = str(values[bad].as_py())[:SHOWN]
                yield f"column {test.column!r}, row {done + bad + 1}: {shown} {test.words}"
                tests.remove(test)  # One is enough.
        done += batch.num_rows
        if not tests:
            return


def _list_batches(file: pq.ParquetFile, columns: list[str]) -> Iterator[pa.Table]:
    for batch in file.iter_batches(BATCH_ROWS, columns=columns):
        table = restore_units(pa.Table.from_batches([batch]))
        for position, one in enumerate(table.schema):
            if pa.types.is_dictionary(one.type):
                decoded = table.column(position).cast(one.type.value_type)
                table = table.set_column(position, one.name, decoded)
        yield table


def _find_equal(file: pq.ParquetFile, columns: list[str], one_by_one: int | None = None) -> str | None:
    """The first row with the same values in ``columns`` as one before; missing values equal nothing.

    :param one_by_one: the number of the batch that is known to have it.
    """
    names = ", ".join(f"c{number}" for number in range(len(columns)))
    insert = f"INSERT OR IGNORE INTO seen VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - only marks
    # An empty name is a temporary file of SQLite's own, which disappears with the connection.
    with contextlib.closing(sqlite3.connect("", isolation_level=None)) as database:
        for pragma in (f"cache_size = -{CACHE_KIB}", "journal_mode = OFF", "synchronous = OFF"):
            database.execute(f"PRAGMA {pragma}")
        database.execute(f"CREATE TABLE seen ({names}, PRIMARY KEY ({names})) WITHOUT ROWID")
        database.execute("BEGIN")
        done = 0
        for number, batch in enumerate(_list_batches(file, columns)):
            keys = list(zip(*(map(_make_key, batch[name].to_pylist()) for name in columns), strict=True))
            rows = [(row, key) for row, key in enumerate(keys, start=done + 1) if None not in key]
            if number == one_by_one:
                row, key = next(one for one in rows if not database.execute(insert, one[1]).rowcount)
                shown = ", ".join(map(str, key))[:SHOWN]
                return f"column {', '.join(map(repr, columns))}, row {row}: {shown} is there before"
            # In order, so that neighbours share a page.
            if database.executemany(insert, sorted(key for _, key in rows)).rowcount < len(rows):
                return _find_equal(file, columns, one_by_one=number)
            done += len(keys)
    return None


def _make_key(value: Any) -> Any:
    if value is None or value != value:  # NaN
        return None
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        return str(value)
    return value if isinstance(value, int | float | str | bytes) else repr(value)
