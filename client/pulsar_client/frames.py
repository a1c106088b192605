"""Tables out of the local store: to memory, as a dataset, as CSV."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from pulsar_client.errors import StoreError
from pulsar_client.tables import restore_units

BATCH_ROWS = 1 << 16  # rows in memory while CSV is written


def read_table(paths: list[Path]) -> pa.Table:
    """The fragments of a table, one below the other; no fragments are an empty table without columns."""
    if not paths:
        return pa.table({})
    try:
        return restore_units(pa.concat_tables([_open(path).read() for path in paths]))
    except pa.ArrowInvalid as error:
        raise StoreError(f"A table in the local store cannot be read: {error}") from error


def make_dataset(paths: list[Path]) -> pads.Dataset:
    """The same without reading it."""
    return pads.dataset([str(path) for path in paths], format="parquet")


def write_csv(paths: list[Path], target: Path, delimiter: str) -> None:
    """Write the fragments as one CSV file: missing values as empty fields, texts in quotes."""
    with target.open("xb") as file:
        schema = restore_units(_open(paths[0]).schema_arrow.empty_table()).schema if paths else pa.schema([])
        if not len(schema):
            return  # No columns: an empty file, as it came.
        nested = [field.name for field in schema if pa.types.is_nested(field.type)]
        if nested:
            raise StoreError(
                f"{nested[0]!r} has lists or objects, which CSV cannot hold; export with --parquet."
            )
        with pacsv.CSVWriter(file, schema, write_options=pacsv.WriteOptions(delimiter=delimiter)) as writer:
            for path in paths:
                for batch in _open(path).iter_batches(BATCH_ROWS):
                    writer.write_table(restore_units(pa.Table.from_batches([batch])))


def _open(path: Path) -> pq.ParquetFile:
    # ParquetFile and not read_table: that takes names like `year=2013` apart.
    return pq.ParquetFile(path)
