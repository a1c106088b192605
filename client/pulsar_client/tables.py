"""CSV becomes Parquet, block by block, whatever the size of the file.

How a CSV is read is fixed here and written down in ``docs/client.md``: two people who build the same file
with the same pyarrow get the same digest, and a table that went through a package equals what pyarrow reads
from the file with these options. Memory stays below 500 MB: a block of text, a row group, and the writer's
pages.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from pulsar_client import csv_errors
from pulsar_client.blobs import Blob
from pulsar_client.csv_input import count_columns, open_input
from pulsar_client.errors import TableError
from pulsar_client.inference import widen
from pulsar_client.ingest import HashingFile

BLOCK_BYTES = 2 << 20  # B of text that are parsed at once
BLOCK_BYTES_PER_COLUMN = 800  # B; with 10,000 columns small blocks cost twice the time and more memory
MAX_BLOCK_BYTES = 64 << 20  # B; longer records are refused
ROW_GROUP_BYTES = 32 << 20  # B in Arrow's memory; about a third of that in the file
COLUMN_OVERHEAD = 256  # B that a column of a block costs besides its values; counts with 10,000 columns
DELIMITERS = {"csv": ",", "tsv": "\t"}

UNIT_KEY = b"pulsar:unit"  # in a field's metadata: the unit that Parquet cannot hold

_CONVERSION_ERROR = re.compile(r"In CSV column #(\d+): (?:Row #\d+: )?CSV conversion error")
_STRADDLES = "straddling object straddles two block boundaries"


def make_parse_options(transform: str) -> pacsv.ParseOptions:
    """How text is cut into rows and fields. Quotes as in RFC 4180; blank lines are skipped."""
    return pacsv.ParseOptions(delimiter=DELIMITERS[transform], newlines_in_values=True)


def make_convert_options(types: dict[str, pa.DataType] | None = None) -> pacsv.ConvertOptions:
    """How fields become values.

    Unlike pyarrow's defaults, an empty or ``NA`` field of a text column is missing, not a text; and a quoted
    field is never missing, so that the empty text can be told from no text.
    """
    return pacsv.ConvertOptions(
        strings_can_be_null=True, quoted_strings_can_be_null=False, column_types=types or {}
    )


def convert(
    source: Path, transform: str, target: Path, advance: Callable[[int], None] = lambda count: None
) -> Blob:
    """Write ``source`` as Parquet to the new file ``target``; the digest is computed on the way.

    Types are inferred from the first block and the file is converted with them. Only when a later value does
    not fit, the types of all blocks are inferred in a pass of their own and the conversion starts again.

    :param transform: ``csv`` or ``tsv``.
    :param advance: told about bytes of ``source`` that were read, at most its size in total.
    :raises TableError: naming file, line and column where that is known.
    """
    columns = count_columns(source, DELIMITERS[transform])
    block_bytes = min(max(BLOCK_BYTES, columns * BLOCK_BYTES_PER_COLUMN), MAX_BLOCK_BYTES)
    while True:
        try:
            return _convert_with(source, transform, target, block_bytes, advance)
        except pa.ArrowInvalid as error:
            target.unlink(missing_ok=True)
            if _STRADDLES not in str(error) or block_bytes >= MAX_BLOCK_BYTES:
                raise csv_errors.explain(error, source, DELIMITERS[transform]) from error
            # A record longer than a block. The size depends on the file only, so the digest does too.
            block_bytes = min(block_bytes * 8, MAX_BLOCK_BYTES)
        except UnicodeDecodeError as error:
            target.unlink(missing_ok=True)
            raise csv_errors.explain(error, source, DELIMITERS[transform]) from error
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def _convert_with(
    source: Path, transform: str, target: Path, block_bytes: int, advance: Callable[[int], None]
) -> Blob:
    types: dict[str, pa.DataType] = {}
    found: dict[str, set[pa.DataType]] = {}
    refused: dict[str, set[pa.DataType]] = {}
    while True:
        try:
            return _stream(source, transform, target, block_bytes, types, advance)
        except pa.ArrowInvalid as error:
            match = _CONVERSION_ERROR.search(str(error))
            if match is None:
                raise
            target.unlink(missing_ok=True)
            advance = _ignore  # The bar has moved once; it does not go back.
        if not found:
            found = _infer_all(source, transform, block_bytes)
        else:
            name = list(found)[int(match[1])]
            if types[name] == pa.string():
                raise csv_errors.find_broken_text(source)
            refused.setdefault(name, set()).add(types[name])
        types = {name: widen(kinds, refused.get(name, ())) for name, kinds in found.items()}


def _ignore(count: int) -> None:
    pass


@contextlib.contextmanager
def _open(
    source: Path,
    transform: str,
    block_bytes: int,
    types: dict[str, pa.DataType],
    advance: Callable[[int], None],
) -> Iterator[pacsv.CSVStreamingReader]:
    with (
        open_input(source, advance) as stream,
        pacsv.open_csv(
            stream,
            pacsv.ReadOptions(block_size=block_bytes),
            make_parse_options(transform),
            make_convert_options(types),
        ) as reader,
    ):
        yield reader


def _stream(
    source: Path,
    transform: str,
    target: Path,
    block_bytes: int,
    types: dict[str, pa.DataType],
    advance: Callable[[int], None],
) -> Blob:
    if csv_errors.is_blank(source):
        return _write(target, pa.schema([]), iter(()))
    with _open(source, transform, block_bytes, types, advance) as reader:
        csv_errors.check_header(source, reader.schema.names)
        if any(pa.types.is_binary(kind) for kind in reader.schema.types):
            raise csv_errors.find_broken_text(source)
        return _write(target, reader.schema, _check_end(source, transform, reader))


def _check_end(source: Path, transform: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    last = None
    for batch in batches:
        if batch.num_rows:
            last = batch
        yield batch
    if last is not None:
        csv_errors.check_last_field(
            source, DELIMITERS[transform], last.column(last.num_columns - 1)[-1].as_py()
        )


def _write(target: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Blob:
    """All settings that decide about the bytes are spelled out, not left to the library's next default."""
    marked = _mark_units(schema)
    file = HashingFile(target)
    with contextlib.closing(file):
        with pq.ParquetWriter(
            file,
            marked,
            version="2.6",
            data_page_version="1.0",
            compression="zstd",
            compression_level=1,
            use_dictionary=True,
            dictionary_pagesize_limit=1 << 20,
            write_statistics=True,
            data_page_size=1 << 20,
            write_batch_size=1024,
            store_schema=True,
        ) as writer:
            for group in _group_rows(marked, batches):
                writer.write_table(group, row_group_size=max(group.num_rows, 1))
        return file.get_blob()


def _group_rows(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    group: list[pa.RecordBatch] = []
    weight = 0
    for batch in batches:
        group.append(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
        weight += batch.nbytes + batch.num_columns * COLUMN_OVERHEAD
        if weight >= ROW_GROUP_BYTES:
            yield pa.Table.from_batches(group)
            group, weight = [], 0
    if group:
        yield pa.Table.from_batches(group)


def _mark_units(schema: pa.Schema) -> pa.Schema:
    # Parquet knows no seconds and turns them into milliseconds. The mark lets read_table turn them back, so
    # that a table out of a package has the very types that pyarrow reads from the file.
    return pa.schema(
        [
            field.with_metadata({UNIT_KEY: b"s"}) if getattr(field.type, "unit", None) == "s" else field
            for field in schema
        ]
    )


def restore_units(table: pa.Table) -> pa.Table:
    """The table with whole seconds where the source had whole seconds."""
    fields = []
    for field in table.schema:
        if (field.metadata or {}).get(UNIT_KEY) == b"s":
            kind = pa.timestamp("s", field.type.tz) if pa.types.is_timestamp(field.type) else pa.time32("s")
            field = pa.field(field.name, kind, field.nullable)
        fields.append(field)
    schema = pa.schema(fields, table.schema.metadata)
    return table if schema == table.schema else table.cast(schema)


def _infer_all(source: Path, transform: str, block_bytes: int) -> dict[str, set[pa.DataType]]:
    """For each column the types that its blocks would get on their own."""
    with _open(source, transform, block_bytes, {}, _ignore) as reader:
        names = reader.schema.names
    found: dict[str, set[pa.DataType]] = {name: set() for name in names}
    with _open(source, transform, block_bytes, dict.fromkeys(names, pa.string()), _ignore) as reader:
        for batch in reader:
            # A block of texts is written as CSV again and read with inference: then the rules are pyarrow's
            # own, for all columns at once, and in C++.
            sink = pa.BufferOutputStream()
            pacsv.write_csv(batch, sink)
            block = pacsv.read_csv(
                pa.BufferReader(sink.getvalue()),
                pacsv.ReadOptions(block_size=1 << 30),
                make_parse_options("csv"),
                make_convert_options(),
            )
            for name, kind in zip(names, block.schema.types, strict=True):
                found[name].add(kind)
    return found


def check_parquet(path: Path) -> None:
    """Look at the marks at both ends of a Parquet file; the file is taken as it is.

    :raises TableError: if it is something else.
    """
    with path.open("rb") as file:
        head = file.read(4)
        size = file.seek(0, 2)
        file.seek(max(size - 4, 0))
        tail = file.read(4)
    if size < 12 or head != b"PAR1" or tail != b"PAR1":
        raise TableError(str(path), "this is not a (whole) Parquet file; keep it as a plain file with --raw")
