"""Arrow files, streams and Feather become Parquet, batch by batch."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from pulsar_client import csv_errors, tables
from pulsar_client.blobs import Blob
from pulsar_client.errors import TableError

SLICE_BYTES = 8 << 20  # B of a batch that are passed on at once; a batch may be as large as its file


def convert(source: Path, target: Path, advance: Callable[[int], None]) -> Blob:
    """Write ``source`` as Parquet to the new file ``target``.

    :raises TableError: if it is no Arrow file, is damaged, or has a type that Parquet does not know.
    """
    with source.open("rb") as file:
        head = file.read(6)
    if head.startswith(b"FEA1"):
        raise TableError(str(source), "this is Feather of version 1; write it again as version 2")
    try:
        with pa.memory_map(str(source)) as file:
            reader = pa.ipc.open_file(file) if head == b"ARROW1" else pa.ipc.open_stream(file)
            csv_errors.check_header(source, reader.schema.names, None)
            blob = tables.write(target, reader.schema, _list_slices(reader))
            advance(file.size())
    except (pa.ArrowException, OSError, ValueError, NotImplementedError) as error:
        target.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:
            raise
        raise TableError(
            str(source), f"this Arrow file cannot be read: {' '.join(str(error).split())}"
        ) from error
    return blob


def _list_slices(reader: Any) -> Iterator[pa.RecordBatch]:
    """Batches in pieces, once they are known to be whole: a damaged one could point anywhere."""
    is_file = isinstance(reader, pa.ipc.RecordBatchFileReader)
    for batch in map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader:
        batch.validate(full=True)
        rows = max(batch.num_rows * SLICE_BYTES // max(batch.nbytes, 1), 1)
        for start in range(0, max(batch.num_rows, 1), rows):
            yield batch.slice(start, rows)
