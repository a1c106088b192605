"""Tables out of the local store: to memory, as a dataset, as CSV."""

import importlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from pulsar_client.errors import ConfigurationError, StoreError
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


def read_all(groups: list[list[Path]]) -> pa.Table:
    """Several tables, one below the other. Columns that a table lacks are missing in its rows; of different
    numbers the wider type counts.

    :raises StoreError: if a column is of types that do not go together.
    """
    tables = [read_table(paths) for paths in groups]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise StoreError(f"The tables do not go together: {' '.join(str(error).split())}") from error


def describe(
    paths: list[Path], rows: int, columns: int
) -> tuple[list[tuple[str, str]], list[list[Any]], int]:
    """Names and types of all columns, the first values of the first columns, and the number of rows."""
    files = [_open(path) for path in paths]
    if not files:
        return [], [], 0
    try:
        schema = restore_units(files[0].schema_arrow.empty_table()).schema
        first: list[list[Any]] = []
        for batch in files[0].iter_batches(rows, columns=schema.names[:columns]):
            first = [list(row.values()) for row in batch.to_pylist()[:rows]]
            break
    except pa.ArrowException as error:
        raise StoreError(f"A table in the local store cannot be read: {error}") from error
    kinds = [(field.name, str(field.type)) for field in schema]
    return kinds, first, sum(file.metadata.num_rows for file in files)


def make_polars(table: pa.Table) -> Any:
    """:raises ConfigurationError: if polars is not installed."""
    return _import("polars").from_arrow(table)


def make_pandas(table: pa.Table) -> Any:
    """:raises ConfigurationError: if pandas is not installed."""
    _import("pandas")
    return table.to_pandas()


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{name} is not installed; install it, or use table() or dataset(), which need nothing more."
        ) from error


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
