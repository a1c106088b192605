"""Describe Parquet files that nobody vouches for. A script, run in a process of its own.

Parquet is read by native code, and who pushes may push anything: a file that crashes it, fills the memory or
never ends must not take a worker with it. So this process has no key, no connection and no file but two
pipes, a limit of memory, and a parent that ends it (:mod:`registry.describing`). It needs pyarrow alone.

Each line below is JSON; what a file says may be asked for in any order, and as often as the parent allows:

    parent {"size": 4096}                        a file of so many bytes
    child  {"read": [start, count]}
    parent {"bytes": count}, then the bytes      or {"refused": "why"}
    child  {"found": {...}}                      or {"wrong": "why"}
"""

import base64
import datetime
import decimal
import io
import itertools
import json
import math
import os
import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

MEMORY = 2**30  # B of addresses; pyarrow itself takes a third of them
CHUNKS = 100_000  # columns times row groups whose statistics are looked at
COLUMNS = 1000  # that are described
HEAD_COLUMNS = 50
HEAD_ROWS = 20
NAME = 255  # characters of a column's name
TEXT = 100  # characters of a value, and of a type
EXACT = 2**53  # integers beyond are not the same in every reader of JSON; they are given as text


class Remote(io.RawIOBase):
    """The file, whose bytes the parent has."""

    def __init__(self, size: int, ask: Callable[[int, int], bytes]) -> None:
        self._size, self._ask, self._at = size, ask, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, count: int | None = -1) -> bytes:
        left = max(0, self._size - self._at)
        count = left if count is None or count < 0 else min(count, left)
        found = self._ask(self._at, count) if count else b""
        self._at += len(found)
        return found


def describe(size: int, ask: Callable[[int, int], bytes]) -> dict[str, Any]:
    """What the footer says of the columns, and the first rows."""
    file = pa.PythonFile(Remote(size, ask), mode="r")
    # Nothing is read ahead: of the first row group only the first pages are wanted.
    parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=2**16)
    metadata, schema = parquet.metadata, parquet.schema_arrow
    if metadata.num_rows < 0:
        raise ValueError("the number of rows is negative")
    return {
        "rows": metadata.num_rows,
        "row_groups": metadata.num_row_groups,
        "n_columns": len(schema),
        "columns": list(list_columns(metadata, schema)),
        "head": read_head(parquet, schema),
    }


def list_columns(metadata: Any, schema: Any) -> Iterator[dict[str, Any]]:
    """Name and type of the first columns; of those that are not nested also nulls, least and greatest."""
    groups = metadata.num_row_groups
    most = min(COLUMNS, max(1, CHUNKS // max(1, groups)))
    leaves: dict[str, int] = {}
    for index in range(min(metadata.num_columns, 4 * most)):
        leaves.setdefault(metadata.schema.column(index).path, index)
    for field in itertools.islice(schema, most):
        found = {"name": field.name[:NAME], "type": str(field.type)[:TEXT]}
        leaf = leaves.get(field.name)
        if leaf is None or pa.types.is_nested(field.type):
            yield found | {"nulls": None, "min": None, "max": None}
        else:
            yield found | merge([metadata.row_group(n).column(leaf) for n in range(groups)])


def merge(chunks: list[Any]) -> dict[str, Any]:
    """The statistics of a whole column; None for what some row group does not say."""
    nulls: int | None = 0
    least: Any = None
    greatest: Any = None
    known = True
    for chunk in chunks:
        statistics = chunk.statistics
        if statistics is None:
            return {"nulls": None, "min": None, "max": None}
        count = statistics.null_count if statistics.has_null_count else None
        nulls = None if nulls is None or count is None else nulls + count
        if known and statistics.has_min_max:
            try:
                low, high = statistics.min, statistics.max
                least = low if least is None else min(least, low)
                greatest = high if greatest is None else max(greatest, high)
            except Exception:  # of a type that pyarrow cannot say, or cannot compare
                known = False
        elif statistics.num_values:
            known = False
    if not known or isinstance(least, bytes):
        least = greatest = None
    return {"nulls": nulls, "min": plain(least), "max": plain(greatest)}


def read_head(parquet: Any, schema: Any) -> dict[str, Any] | None:
    """The first rows of the first columns; None if they cannot be read."""
    names = schema.names[:HEAD_COLUMNS]
    wanted = None if len(schema) <= HEAD_COLUMNS else names
    rows: list[list[Any]] = []
    try:
        batches = parquet.iter_batches(batch_size=HEAD_ROWS, columns=wanted, use_threads=False)
        for batch in itertools.islice(batches, HEAD_ROWS):
            columns = [list_values(column) for column in batch.slice(0, HEAD_ROWS - len(rows)).columns]
            rows += map(list, zip(*columns, strict=True))
            if len(rows) >= HEAD_ROWS:
                break
    except Exception:
        return None
    return {"columns": [name[:NAME] for name in names], "rows": rows}


def list_values(column: Any) -> list[Any]:
    """The values as JSON can say them."""
    if not pa.types.is_temporal(column.type):
        return [plain(value) for value in column.to_pylist()]
    # Times of nanoseconds have no equal in Python, so Arrow writes them; ISO 8601 has a T for its blank.
    return [value and plain(value.replace(" ", "T", 1)) for value in column.cast(pa.string()).to_pylist()]


def plain(value: Any) -> Any:
    """``value`` as JSON can say it, and short."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < EXACT else str(value)[:TEXT]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return shortened(base64.b64encode(value[:TEXT]).decode())
    if isinstance(value, decimal.Decimal | str):
        return shortened(str(value))
    return shortened(json.dumps(value, default=str, ensure_ascii=False))


def shortened(text: str) -> str:
    """At most ``TEXT`` characters, the last of which says that there were more."""
    return text if len(text) <= TEXT else text[: TEXT - 1] + "…"


def serve(incoming: BinaryIO, outgoing: BinaryIO) -> None:
    """Describe one file after the other until the parent goes."""

    def tell(what: dict[str, Any]) -> None:
        outgoing.write(json.dumps(what, allow_nan=False).encode() + b"\n")
        outgoing.flush()

    def ask(start: int, count: int) -> bytes:
        tell({"read": [start, count]})
        answer = json.loads(incoming.readline())
        if "refused" in answer:
            raise OSError(answer["refused"])
        found = incoming.read(answer["bytes"])
        if len(found) < answer["bytes"]:
            raise SystemExit(1)
        return found

    while line := incoming.readline():
        try:
            tell({"found": describe(json.loads(line)["size"], ask)})
        except Exception as exc:
            tell({"wrong": (str(exc).strip() or type(exc).__name__).splitlines()[0][:TEXT]})


def main() -> None:
    """Serve the parent at the pipes that it opened as standard input and output."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever native code may want to print is not an answer
    serve(sys.stdin.buffer, outgoing)


if __name__ == "__main__":
    main()
