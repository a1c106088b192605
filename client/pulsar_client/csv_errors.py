"""What is wrong with a CSV file, and where: for people who have to find the line in an editor.

pyarrow stops at the first problem but rarely knows the line. Only then, once something is wrong, the file is
read again, slowly, up to the problem.
"""

import codecs
import contextlib
import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pulsar_client.errors import TableError
from pulsar_client.options import TableOptions

CHUNK_BYTES = 1 << 20
RAW_HINT = "or keep the file as it is with --raw"

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_RAGGED = re.compile(r"Expected (\d+) columns, got (\d+)")


def is_blank(path: Path) -> bool:
    """Whether there is nothing in the file but a byte order mark and ends of lines."""
    with path.open("rb") as file:
        head = file.read(CHUNK_BYTES)
    return len(head) < CHUNK_BYTES and not head.removeprefix(codecs.BOM_UTF8).strip(b"\r\n")


def check_header(path: Path, names: list[str], line: int | None = 1) -> None:
    """Two columns of one name cannot both be found again."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise TableError(
            str(path), f"{Counter(names)[twice[0]]} columns have this name; rename them, {RAW_HINT}",
            line=line, column=twice[0],
        )  # fmt: skip


def explain(error: Exception, path: Path, options: TableOptions) -> TableError:
    """What pyarrow's refusal means for the person with the file."""
    with path.open("rb") as file:
        if file.read(2) in _UTF16:
            return TableError(str(path), f"this is UTF-16 text; save it as UTF-8, {RAW_HINT}")
    text = str(error)
    if isinstance(error, UnicodeDecodeError) or "UTF8" in text or "UTF-8" in text:
        return find_broken_text(path)
    if ragged := _RAGGED.search(text):
        expected, got = int(ragged[1]), int(ragged[2])
        line, last = _find_ragged_line(path, options, expected)
        reason = f"{got} fields where the header has {expected}"
        if last and got < expected:
            reason += "; the file seems to be cut off"
        return TableError(str(path), f"{reason}; correct the line, {RAW_HINT}", line=line)
    if "straddles" in text:
        reason = "a record is longer than 64 MiB; is a closing quote missing?"
        return TableError(str(path), reason, line=_find_long_record(path, options))
    return TableError(str(path), " ".join(text.split()))


def find_broken_text(path: Path) -> TableError:
    """The first byte that is not UTF-8, as an error with its line."""
    line = 1
    with path.open("rb") as file:
        rest = b""
        while True:
            chunk = file.read(CHUNK_BYTES)
            data = rest + chunk
            try:
                _, used = codecs.utf_8_decode(data, "strict", not chunk)
            except UnicodeDecodeError as error:
                line += data.count(b"\n", 0, error.start)
                reason = (
                    f"the byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8, {RAW_HINT}"
                )
                return TableError(str(path), reason, line=line)
            if not chunk:
                return TableError(str(path), f"a text is not UTF-8; save the file as UTF-8, {RAW_HINT}")
            line += data.count(b"\n", 0, used)
            rest = data[used:]


def check_last_field(path: Path, options: TableOptions, value: object) -> None:
    """Refuse a file that ends inside a quoted field; pyarrow silently takes the rest as the last field.

    :param value: the last field of the last row, as it was read.
    """
    if options.quote and _ends_in_quotes(path, options, value):
        line = 0
        for line, _, _ in _list_records(path, options):  # noqa: B007 - the last one is wanted.
            pass
        reason = f"a quoted field never ends; the file seems to be cut off. Correct it, {RAW_HINT}"
        raise TableError(str(path), reason, line=line)


def _ends_in_quotes(path: Path, options: TableOptions, value: object) -> bool:
    quote, delimiter = options.quote.encode(), options.delimiter.encode()
    if isinstance(value, str):
        # An open quote is `"text` up to the end of the file, right after a delimiter. A closed one has a
        # quote at the end as well, so what stands before the text is a quote of the text itself.
        tail = quote + value.replace(options.quote, options.quote * 2).encode()
        data = _read_tail(path, len(tail) + 1)
        return data.endswith(tail) and (len(data) == len(tail) or data[:1] in {delimiter, b"\n", b"\r"})
    # A number, a date or nothing: short, and without quotes or ends of lines inside.
    field = re.split(rb"[\r\n]|" + re.escape(delimiter), _read_tail(path, 4096).rstrip(b"\r\n"))[-1]
    return field.startswith(quote) and (len(field) == 1 or not field.endswith(quote))


def _read_tail(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(file.seek(0, 2) - count, 0))
        return file.read()


def find_value(path: Path, options: TableOptions, column: int, value: str) -> int | None:
    """The line of the first record, after the header, that has ``value`` in the column of this position."""
    records = _list_records(path, options)
    if options.header:
        next(records, None)
    return next((line for line, _, fields in records if fields[column : column + 1] == [value]), None)


def _list_records(path: Path, options: TableOptions) -> Iterator[tuple[int, int, list[str]]]:
    """First line, last line and fields of each record; line ends inside quotes do not end one."""
    csv.field_size_limit(1 << 31)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        skipped = sum(1 for _ in itertools.islice(file, options.skip_lines))
        reader = csv.reader(
            file,
            delimiter=options.delimiter,
            quotechar=options.quote or None,
            quoting=csv.QUOTE_MINIMAL if options.quote else csv.QUOTE_NONE,
            doublequote=options.doubled_quotes,
            escapechar=options.escape or None,
        )
        first = skipped + 1
        # A field that even this reader refuses ends the search; then the error goes without a line.
        with contextlib.suppress(csv.Error):
            for record in reader:
                if record:  # Blank lines are no records.
                    yield first, skipped + reader.line_num, record
                first = skipped + reader.line_num + 1


def _find_ragged_line(path: Path, options: TableOptions, expected: int) -> tuple[int | None, bool]:
    """Where the first record with another number of fields begins, and whether it is the last one."""
    records = _list_records(path, options)
    for line, _, fields in records:
        if len(fields) != expected:
            return line, next(records, None) is None
    return None, False


def _find_long_record(path: Path, options: TableOptions) -> int | None:
    longest, where = 0, None
    for first, last, _ in _list_records(path, options):
        if last - first >= longest:
            longest, where = last - first, first
    return where
