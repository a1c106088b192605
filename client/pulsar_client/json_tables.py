"""JSON becomes a table: one object for each row, one to a line (JSONL) or in a list."""

import codecs
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pajson

from pulsar_client import csv_errors, tables
from pulsar_client.blobs import Blob
from pulsar_client.errors import TableError

CHUNK_BYTES = 1 << 20
MAX_RECORD = 16 << 20  # characters of one record
_STRADDLES = "straddling object straddles two block boundaries"
_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def convert(source: Path, transform: str, target: Path, advance: Callable[[int], None]) -> Blob:
    """Write the objects in ``source`` as Parquet to the new file ``target``.

    Types are pyarrow's. They are found in the first block; when a later one does not fit, those of all blocks
    are joined in a pass of their own and the conversion starts again.

    :param transform: ``jsonl``: one object to a line; ``json``: a list of objects, or one after the other.
    :raises TableError: naming the line, for what is no such JSON, or a column of different things.
    """
    block_bytes = tables.BLOCK_BYTES
    schema = None
    while True:
        try:
            return _stream(_Input(source, transform, advance), block_bytes, schema, target)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            target.unlink(missing_ok=True)
            if _STRADDLES in str(error) and block_bytes < tables.MAX_BLOCK_BYTES:
                block_bytes = min(block_bytes * 8, tables.MAX_BLOCK_BYTES)
            elif schema is None:
                schema = _infer_all(source, transform, block_bytes)
            else:
                raise _explain(source, transform, error) from error
            advance = _ignore  # The bar has moved once; it does not go back.
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def _ignore(count: int) -> None:
    pass


def _stream(file: "_Input", block_bytes: int, schema: pa.Schema | None, target: Path) -> Blob:
    with file:
        if file.is_blank():
            return tables.write(target, pa.schema([]), iter(()))
        parse = pajson.ParseOptions(
            newlines_in_values=False,
            explicit_schema=schema,
            unexpected_field_behavior="infer" if schema is None else "error",
        )
        with pajson.open_json(file, pajson.ReadOptions(block_size=block_bytes), parse) as reader:
            return tables.write(target, reader.schema, iter(reader))


def _infer_all(source: Path, transform: str, block_bytes: int) -> pa.Schema:
    """The types that take what is in all blocks."""
    schema = pa.schema([])
    with _Input(source, transform, _ignore) as file:
        rest = b""
        while True:
            chunk = file.read(block_bytes)
            block, newline, rest = (rest + chunk).rpartition(b"\n") if chunk else (rest, b"", b"")
            if len(rest) > tables.MAX_BLOCK_BYTES:
                raise TableError(str(source), "a record is longer than 64 MiB")
            if block.strip():
                schema = _join(source, transform, schema, _infer(source, transform, block + newline))
            if not chunk:
                return schema


def _infer(source: Path, transform: str, block: bytes) -> pa.Schema:
    try:
        found: pa.Schema = pajson.read_json(
            io.BytesIO(block), pajson.ReadOptions(block_size=len(block) + 1, use_threads=False)
        ).schema
    except pa.ArrowInvalid as error:
        raise _explain(source, transform, error) from error
    return found


def _join(source: Path, transform: str, one: pa.Schema, other: pa.Schema) -> pa.Schema:
    try:
        joined = _join_types(pa.struct(list(one)), pa.struct(list(other)))
    except pa.ArrowTypeError as error:
        raise _explain(source, transform, error) from error
    return pa.schema(list(joined))


def _join_types(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that takes the values of both. :raises pa.ArrowTypeError: if there is none."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        fields = {field.name: field.type for field in one}
        for field in other:
            fields[field.name] = _join_types(fields.get(field.name, pa.null()), field.type)
        return pa.struct(list(fields.items()))
    if pa.types.is_list(one) and pa.types.is_list(other):
        return pa.list_(_join_types(one.value_type, other.value_type))
    for kinds in ({pa.int64(), pa.float64()}, {pa.timestamp("s"), pa.timestamp("ns"), pa.string()}):
        if {one, other} <= kinds:
            return pa.float64() if pa.float64() in kinds else pa.string()
    raise pa.ArrowTypeError(f"{one} and {other}")


def _explain(source: Path, transform: str, error: Exception) -> TableError:
    """Find the line. pyarrow counts the rows of a block, and not always these."""
    seen: dict[str, tuple[str, int]] = {}
    for line, text in _list_records(source, transform):
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as problem:
            return TableError(str(source), f"this is not JSON: {problem}", line=line)
        if not isinstance(record, dict):
            return TableError(str(source), f"an object was expected, not {_name(record)}", line=line)
        for path, kind in _list_kinds(record):
            first, where = seen.setdefault(path, (kind, line))
            if first != kind:
                reason = f"{kind} where line {where} has {first}; a column needs values of one kind"
                return TableError(str(source), reason, line=line, column=path)
    return TableError(str(source), " ".join(str(error).split()))


def _list_kinds(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    todo: list[tuple[str, Any]] = list(record.items())
    while todo:
        path, value = todo.pop(0)
        if value is None:
            continue
        yield path, _name(value)
        if isinstance(value, dict):
            todo += [(f"{path}.{name}", inner) for name, inner in value.items()]
        elif isinstance(value, list):
            todo += [(f"{path}[]", inner) for inner in value]


def _name(value: Any) -> str:
    names = {bool: "a truth value", int: "a number", float: "a number", str: "a text", list: "a list"}
    return "nothing" if value is None else names.get(type(value), "an object")


class _Input(io.RawIOBase):
    """The records of a file, one to a line, in UTF-8."""

    def __init__(self, source: Path, transform: str, advance: Callable[[int], None]) -> None:
        super().__init__()
        self._lines = _list_lines(source, transform, advance)
        self._rest = bytearray()

    def readable(self) -> bool:
        return True

    def is_blank(self) -> bool:
        """Whether there is no record at all."""
        self._fill(1)
        return not self._rest

    def _fill(self, size: int) -> None:
        while len(self._rest) < size and (line := next(self._lines, None)) is not None:
            self._rest += line

    def read(self, size: int = -1) -> bytes:
        """Always the full ``size`` until the end, so that blocks are cut at the same places everywhere."""
        self._fill(size)
        data = bytes(self._rest[:size])
        del self._rest[:size]
        return data


def _list_lines(source: Path, transform: str, advance: Callable[[int], None]) -> Iterator[bytes]:
    if transform == "json":
        for _, text in _list_values(source, advance):
            yield text.replace("\n", " ").replace("\r", " ").encode() + b"\n"
        return
    blank = True
    for chunk in _list_chunks(source, advance):
        blank = blank and not chunk.strip()
        if not blank:
            yield chunk.encode()


def _list_records(source: Path, transform: str) -> Iterator[tuple[int, str]]:
    """The line that each record begins in, counted from 1, and its text."""
    if transform == "json":
        for reader, text in _list_values(source, _ignore):
            yield reader.get_line(), text
        return
    with source.open(encoding="utf-8-sig", errors="replace", newline="\n") as file:
        for line, text in enumerate(file, start=1):
            if text.strip():
                yield line, text


def _list_chunks(source: Path, advance: Callable[[int], None]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    with source.open("rb") as file:
        while True:
            chunk = file.read(CHUNK_BYTES)
            try:
                text = decoder.decode(chunk, not chunk)
            except UnicodeDecodeError as error:
                raise csv_errors.find_broken_text(source) from error
            advance(len(chunk))
            yield text
            if not chunk:
                return


def _list_values(source: Path, advance: Callable[[int], None]) -> "Iterator[tuple[_Values, str]]":
    """The values of a list, or values one after the other; the reader knows where each began."""
    reader = _Values(source, _list_chunks(source, advance))
    in_list = reader.peek() == "["
    if in_list:
        reader.skip()
    while (character := reader.peek()) and character != "]":
        yield reader, reader.take()
        if in_list and reader.peek() == ",":
            reader.skip()
            if reader.peek() == "]":
                raise reader.fail("a value was expected after the comma")
        elif in_list and reader.peek() not in {"", "]"}:
            raise reader.fail("a comma or the end of the list was expected")
    if in_list and not character:
        raise reader.fail("the list never ends; the file seems to be cut off")
    if character:
        reader.skip()
        if not in_list or reader.peek():
            raise reader.fail("there is something after the end of the list")


class _Values:
    """Takes one JSON value after the other from pieces of text."""

    def __init__(self, source: Path, chunks: Iterator[str]) -> None:
        self._source, self._chunks = source, chunks
        self._text, self._at = "", 0
        self._start = 0  # of the value that was taken last
        self._lines = 0  # that ended before the text

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            character = self._text[self._at : self._at + 1]
            if character and character not in " \t\r\n":
                return character
            self._at = _BLANK.match(self._text, self._at).end()  # type: ignore[union-attr]  # It always matches.
            if self._at == len(self._text) and not self._more():
                return ""

    def skip(self) -> None:
        self._at += 1

    def take(self) -> str:
        """The text of the value that begins here."""
        while True:
            try:
                _, end = _DECODER.raw_decode(self._text, self._at)
                # A number may go on in the next piece; nothing else can.
                if end < len(self._text) or not self._more():
                    self._start, self._at = self._at, end
                    return self._text[self._start : end]
            except RecursionError as error:
                raise self.fail("this is nested too deeply") from error
            except ValueError as error:
                if len(self._text) - self._at > MAX_RECORD:
                    raise self.fail(f"no value ends within {MAX_RECORD >> 20} million characters") from error
                # Twice as much each time: one long value is not looked at a thousand times.
                pieces = 1 + (len(self._text) - self._at) // CHUNK_BYTES
                if not any([self._more() for _ in range(pieces)]):
                    raise self.fail(f"this is not JSON: {error}") from error

    def get_line(self) -> int:
        """Where the value that was taken last began. Counted when it is asked for, which is when it fails."""
        return 1 + self._lines + self._text.count("\n", 0, self._start)

    def fail(self, reason: str) -> TableError:
        line = 1 + self._lines + self._text.count("\n", 0, self._at)
        return TableError(str(self._source), reason, line=line)

    def _more(self) -> bool:
        chunk = next(self._chunks, "")
        self._lines += self._text.count("\n", 0, self._at)
        self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)
