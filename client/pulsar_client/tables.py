"""CSV becomes Parquet, block by block, whatever the size of the file.

How a CSV is read is fixed here and written down in ``docs/client.md``: two people who build the same file
with the same pyarrow get the same digest, and a table that went through a package equals what pyarrow reads
from the file with these options. Memory stays below 500 MB: a block of text, a row group, and the writer's
pages.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from pulsar_client import csv_errors
from pulsar_client.blobs import Blob
from pulsar_client.csv_input import count_columns, make_utf8, open_input
from pulsar_client.errors import TableError
from pulsar_client.inference import widen
from pulsar_client.ingest import HashingFile
from pulsar_client.options import EVERY_COLUMN, TableOptions

BLOCK_BYTES = 2 << 20  # B of text that are parsed at once
BLOCK_BYTES_PER_COLUMN = 800  # B; with 10,000 columns small blocks cost twice the time and more memory
MAX_BLOCK_BYTES = 64 << 20  # B; longer records are refused
ROW_GROUP_BYTES = 32 << 20  # B in Arrow's memory; about a third of that in the file
COLUMN_OVERHEAD = 256  # B that a column of a block costs besides its values; counts with 10,000 columns
CSV = TableOptions()

UNIT_KEY = b"pulsar:unit"  # in a field's metadata: the unit that Parquet cannot hold

_CONVERSION_ERROR = re.compile(r"In CSV column #(\d+): (?:Row #\d+: )?CSV conversion error")
_INVALID_VALUE = re.compile(r"invalid value '(.*)'", re.DOTALL)
_STRADDLES = "straddling object straddles two block boundaries"


def make_parse_options(options: TableOptions = CSV) -> pacsv.ParseOptions:
    """How text is cut into rows and fields. Quotes as in RFC 4180; blank lines are skipped."""
    return pacsv.ParseOptions(
        delimiter=options.delimiter,
        quote_char=options.quote or False,
        double_quote=options.doubled_quotes,
        escape_char=options.escape or False,
        newlines_in_values=True,
        ignore_empty_lines=options.skip_blank_lines,
    )


def make_convert_options(
    options: TableOptions = CSV,
    types: dict[str, pa.DataType] | None = None,
    columns: Sequence[str] = (),
) -> pacsv.ConvertOptions:
    """How fields become values.

    Unlike pyarrow's defaults, an empty or ``NA`` field of a text column is missing, not a text; and a quoted
    field is never missing, so that the empty text can be told from no text.
    """
    found = pacsv.ConvertOptions(
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        column_types=types or {},
        include_columns=list(columns),
        decimal_point=options.decimal,
    )
    if options.nulls or not options.usual_nulls:
        found.null_values = [*(found.null_values if options.usual_nulls else ()), *options.nulls]
    if options.true_values:
        found.true_values = [*found.true_values, *options.true_values]
    if options.false_values:
        found.false_values = [*found.false_values, *options.false_values]
    if options.date_format:
        found.timestamp_parsers = [options.date_format, pacsv.ISO8601]
    return found


def convert(
    source: Path, options: TableOptions, target: Path, advance: Callable[[int], None] = lambda count: None
) -> Blob:
    """Write ``source`` as Parquet to the new file ``target``; the digest is computed on the way.

    Types are inferred from the first block and the file is converted with them. Only when a later value does
    not fit, the types of all blocks are inferred in a pass of their own and the conversion starts again.

    :param advance: told about bytes of ``source`` that were read, at most its size in total.
    :raises TableError: naming file, line and column where that is known.
    """
    with make_utf8(source, options, target.parent) as text:
        try:
            return _convert_text(text, options, target, advance)
        except TableError as error:
            target.unlink(missing_ok=True)
            raise TableError(str(source), error.reason, line=error.line, column=error.column) from error
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def _convert_text(source: Path, options: TableOptions, target: Path, advance: Callable[[int], None]) -> Blob:
    columns = count_columns(source, options)
    block_bytes = min(max(BLOCK_BYTES, columns * BLOCK_BYTES_PER_COLUMN), MAX_BLOCK_BYTES)
    while True:
        try:
            return _convert_with(_make_reading(source, options, block_bytes), target, advance)
        except pa.ArrowInvalid as error:
            target.unlink(missing_ok=True)
            if _STRADDLES not in str(error) or block_bytes >= MAX_BLOCK_BYTES:
                raise csv_errors.explain(error, source, options) from error
            # A record longer than a block. The size depends on the file only, so the digest does too.
            block_bytes = min(block_bytes * 8, MAX_BLOCK_BYTES)
        except UnicodeDecodeError as error:
            raise csv_errors.explain(error, source, options) from error


@dataclass(frozen=True, slots=True)
class _Reading:
    """One file with all that decides how it is read."""

    source: Path
    options: TableOptions
    block_bytes: int
    names: list[str]  # of all columns; empty: as the header has them
    columns: list[str]  # those that are wanted, in the order of the file; empty: every one
    types: dict[str, pa.DataType]  # that were asked for

    @contextlib.contextmanager
    def open(
        self, types: dict[str, pa.DataType], advance: Callable[[int], None]
    ) -> Iterator[pacsv.CSVStreamingReader]:
        read = pacsv.ReadOptions(block_size=self.block_bytes, skip_rows=self.options.skip_lines)
        if self.names:
            read.column_names = self.names
            read.skip_rows_after_names = 1 if self.options.header else 0
        convert = make_convert_options(self.options, types, self.columns)
        with (
            open_input(self.source, advance) as stream,
            pacsv.open_csv(stream, read, make_parse_options(self.options), convert) as reader,
        ):
            yield reader

    def list_columns(self) -> list[str]:
        """The names of the columns that are read."""
        with self.open({}, _ignore) as reader:
            names: list[str] = reader.schema.names
        return names


def _make_reading(source: Path, options: TableOptions, block_bytes: int) -> _Reading:
    reading = _Reading(source, options, block_bytes, list(options.names), [], {})
    asked = options.columns or options.types or options.dates
    if csv_errors.is_blank(source) or (options.header and not asked):
        return reading
    if not options.header and not options.names:
        reading = replace(reading, names=["f0"])
        with (
            open_input(source, _ignore) as stream,
            pacsv.open_csv(
                stream,
                pacsv.ReadOptions(
                    block_size=block_bytes, skip_rows=options.skip_lines, autogenerate_column_names=True
                ),
                make_parse_options(options),
            ) as reader,
        ):
            # As pandas calls them.
            reading = replace(reading, names=[str(number) for number in range(len(reader.schema))])
    names = reading.names or reading.list_columns()
    columns = _choose(source, names, options.columns)
    types = {
        column: pa.type_for_alias(kind)
        for name, kind in options.types
        for column in (columns or names if name == EVERY_COLUMN else _choose(source, names, [name]))
    }
    types |= {name: pa.timestamp("us") for name in _choose(source, names, options.dates) if name not in types}
    return replace(reading, columns=columns, types=types)


def _choose(source: Path, names: list[str], wanted: Sequence[str | int]) -> list[str]:
    """The names of the wanted columns, in the order of the file."""
    for one in wanted:
        if one not in names and not (isinstance(one, int) and one < len(names)):
            raise TableError(str(source), f"there is no column {one!r}, which the build file asks for")
    return [name for position, name in enumerate(names) if name in wanted or position in wanted]


def _convert_with(reading: _Reading, target: Path, advance: Callable[[int], None]) -> Blob:
    types = reading.types
    found: dict[str, set[pa.DataType]] = {}
    refused: dict[str, set[pa.DataType]] = {}
    if reading.options.rows is not None or reading.options.thousands:
        found = _infer_all(reading)
        types = {name: widen(kinds) for name, kinds in found.items()} | reading.types
    while True:
        try:
            return _stream(reading, target, types, advance)
        except pa.ArrowInvalid as error:
            match = _CONVERSION_ERROR.search(str(error))
            if match is None:
                raise
            target.unlink(missing_ok=True)
            advance = _ignore  # The bar has moved once; it does not go back.
            if reading.types and (refusal := _find_refusal(reading, int(match[1]), str(error))):
                raise refusal from error
        if not found:
            found = _infer_all(reading)
        else:
            name = _get_name(reading, list(found), int(match[1]))
            if types[name] == pa.string():
                raise csv_errors.find_broken_text(reading.source)
            refused.setdefault(name, set()).add(types[name])
        types = {name: widen(kinds, refused.get(name, ())) for name, kinds in found.items()} | reading.types


def _get_name(reading: _Reading, columns: list[str], position: int) -> str:
    """:param position: in the file, as pyarrow's errors count."""
    if reading.columns:
        names = reading.names or replace(reading, columns=[]).list_columns()
        return names[position]
    return columns[position]


def _find_refusal(reading: _Reading, position: int, text: str) -> TableError | None:
    """Why a column does not have the type that was asked for; None if none was asked for it."""
    name = _get_name(reading, reading.list_columns(), position)
    if name not in reading.types:
        return None
    line = None
    if value := _INVALID_VALUE.search(text):
        line = csv_errors.find_value(reading.source, reading.options, position, value[1])
        text = f"{value[1][:100]!r} is not of the type"
    reason = f"{text} {reading.types[name]} that the build file asks for"
    return TableError(str(reading.source), reason, line=line, column=name)


def _ignore(count: int) -> None:
    pass


def _stream(
    reading: _Reading, target: Path, types: dict[str, pa.DataType], advance: Callable[[int], None]
) -> Blob:
    source, options = reading.source, reading.options
    if csv_errors.is_blank(source):
        return write(target, pa.schema([]), iter(()))
    if options.rows is not None or options.thousands:
        schema = pa.schema(list(types.items()))
        with _open_texts(reading, advance) as texts:
            return write(target, schema, (_retype(batch, types, options) for batch in texts))
    with reading.open(types, advance) as reader:
        csv_errors.check_header(source, reader.schema.names, options.skip_lines + 1)
        if any(pa.types.is_binary(kind) for kind in reader.schema.types):
            raise csv_errors.find_broken_text(source)
        return write(target, reader.schema, _check_end(reading, reader))


def _check_end(reading: _Reading, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    last = None
    for batch in batches:
        if batch.num_rows:
            last = batch
        yield batch
    if last is not None and not reading.columns:
        csv_errors.check_last_field(
            reading.source, reading.options, last.column(last.num_columns - 1)[-1].as_py()
        )


@contextlib.contextmanager
def _open_texts(reading: _Reading, advance: Callable[[int], None]) -> Iterator[Iterator[pa.RecordBatch]]:
    """The columns as texts, as many rows as are wanted, and numbers without separators of thousands."""
    names = reading.list_columns()
    csv_errors.check_header(reading.source, names, reading.options.skip_lines + 1)
    with reading.open(dict.fromkeys(names, pa.string()), advance) as reader:
        all_rows = reading.options.rows is None
        yield _cut(_check_end(reading, reader) if all_rows else reader, reading.options)


def _cut(batches: Iterable[pa.RecordBatch], options: TableOptions) -> Iterator[pa.RecordBatch]:
    left = options.rows
    for batch in batches:
        if left is not None:
            batch = batch.slice(0, left)
            left -= batch.num_rows
        if options.thousands:
            columns = [_join_thousands(column, options) for column in batch.columns]
            batch = pa.RecordBatch.from_arrays(columns, schema=batch.schema)
        yield batch
        if left == 0:
            return


def _join_thousands(column: pa.Array, options: TableOptions) -> pa.Array:
    separator, decimal = re.escape(options.thousands), re.escape(options.decimal)
    number = rf"^\s*[+-]?\d{{1,3}}({separator}\d{{2,3}})*{separator}\d{{3}}({decimal}\d*)?\s*$"
    joined = pc.replace_substring(column, options.thousands, "")
    return pc.if_else(pc.match_substring_regex(column, number), joined, column)


def _retype(batch: pa.RecordBatch, types: dict[str, pa.DataType], options: TableOptions) -> pa.RecordBatch:
    """A block of texts is written as CSV again and read: then the rules are pyarrow's own, for all columns at
    once, and in C++. Without types they are inferred.
    """
    sink = pa.BufferOutputStream()
    pacsv.write_csv(batch, sink)
    plain = replace(options, nulls=("",), usual_nulls=False)  # Other spellings are missing already.
    table = pacsv.read_csv(
        pa.BufferReader(sink.getvalue()),
        pacsv.ReadOptions(block_size=1 << 30),
        make_parse_options(),
        make_convert_options(plain, types),
    )
    columns = [column.combine_chunks() for column in table.columns]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)


def _infer_all(reading: _Reading) -> dict[str, set[pa.DataType]]:
    """For each column the types that its blocks would get on their own."""
    if csv_errors.is_blank(reading.source):
        return {}
    found: dict[str, set[pa.DataType]] = {name: set() for name in reading.list_columns()}
    with _open_texts(reading, _ignore) as texts:
        for batch in texts:
            block = _retype(batch, {}, reading.options)
            for name, kind in zip(found, block.schema.types, strict=True):
                found[name].add(kind)
    return found


def write(target: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Blob:
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
        ],
        schema.metadata,
    )


def restore_units(table: pa.Table) -> pa.Table:
    """The table with whole seconds where the source had whole seconds."""
    fields = []
    for field in table.schema:
        kind = field.type
        if (field.metadata or {}).get(UNIT_KEY) == b"s":  # Anyone may have written it, at anything.
            if pa.types.is_timestamp(kind):
                kind = pa.timestamp("s", kind.tz)
            elif pa.types.is_time(kind):
                kind = pa.time32("s")
        fields.append(pa.field(field.name, kind, field.nullable) if kind != field.type else field)
    schema = pa.schema(fields, table.schema.metadata)
    return table if schema == table.schema else table.cast(schema)


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
