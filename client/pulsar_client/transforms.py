"""Which converter makes a table of a file."""

from collections.abc import Callable
from pathlib import Path

from pulsar_client import tables
from pulsar_client.blobs import Blob
from pulsar_client.options import get_usual
from pulsar_client.plan import Item


def convert(item: Item, target: Path, advance: Callable[[int], None]) -> Blob:
    """Write the table in the file of ``item`` as Parquet to the new file ``target``.

    :param advance: told about bytes of the file that were read, at most its size in total.
    :raises TableError: naming file, line and column where that is known.
    """
    options = item.options or get_usual(item.transform)
    return tables.convert(Path(item.file.path), options, target, advance)
