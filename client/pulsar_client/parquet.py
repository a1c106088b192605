"""Footers of Parquet files."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pulsar_client.tables import restore_units


def read_footer(path: Path) -> tuple[int, list[dict[str, str]]] | None:
    """The number of rows, and name and type of each column; None if it is no sound Parquet file."""
    try:
        with pq.ParquetFile(path) as file:
            schema = restore_units(file.schema_arrow.empty_table()).schema
            return file.metadata.num_rows, [{"name": one.name, "type": str(one.type)} for one in schema]
    except (pa.ArrowException, OSError, ValueError):
        return None
