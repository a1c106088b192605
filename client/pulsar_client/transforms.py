"""Which converter makes a table of a file."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pulsar_client import tables
from pulsar_client.blobs import Blob
from pulsar_client.lazy import LazyModule
from pulsar_client.options import get_usual
from pulsar_client.plan import Item

if TYPE_CHECKING:
    from pulsar_client import arrow_files, json_tables, workbooks
else:
    # CSV needs none of what these import.
    arrow_files = LazyModule("pulsar_client.arrow_files")
    json_tables = LazyModule("pulsar_client.json_tables")
    workbooks = LazyModule("pulsar_client.workbooks")


def convert(item: Item, target: Path, advance: Callable[[int], None]) -> Blob:
    """Write the table in the file of ``item`` as Parquet to the new file ``target``.

    :param advance: told about bytes of the file that were read, at most its size in total.
    :raises TableError: naming file, line and column where that is known.
    """
    source = Path(item.file.path)
    options = item.options or get_usual(item.transform)
    if item.transform == "xlsx":
        return workbooks.convert(source, options, target, advance)
    if item.transform in ("json", "jsonl"):
        return json_tables.convert(source, item.transform, target, advance)
    if item.transform in ("feather", "arrow"):
        return arrow_files.convert(source, target, advance)
    return tables.convert(source, options, target, advance)
