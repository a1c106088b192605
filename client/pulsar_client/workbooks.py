"""Sheets of Excel workbooks (.xlsx), read row by row."""

import contextlib
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import openpyxl
import pyarrow as pa
from openpyxl.packaging.manifest import Manifest
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.xml.constants import ARC_CONTENT_TYPES, WORKSHEET_TYPE
from openpyxl.xml.functions import fromstring

from pulsar_client.blobs import Blob
from pulsar_client.errors import TableError
from pulsar_client.options import EVERY_COLUMN, TableOptions
from pulsar_client.rows import convert_rows

# What openpyxl holds in memory: shared texts take up to eight times their size in the file (175 B for each).
MAX_PART_BYTES = 32 << 20  # B of one part that is not a sheet, unpacked
MAX_PARTS_BYTES = 48 << 20  # B of all of them
MAX_PARTS = 10_000  # files in a workbook
MAX_RUN_BYTES = 1 << 20  # B without an XML tag: Excel's longest text has 32,767 characters
MAX_ROWS = 1 << 20  # as Excel
MAX_COLUMNS = 1 << 14
CHUNK_BYTES = 1 << 20

SHEETS = "xl/worksheets/"
ERRORS = frozenset({"#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"})
NULLS = frozenset({"", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "#NA", "#N/A N/A", "-NaN", "-nan"})

Values = Sequence[Any]


def convert(source: Path, options: TableOptions, target: Path, advance: Callable[[int], None]) -> Blob:
    """Write one sheet as Parquet to the new file ``target``.

    :raises TableError: if the file is no workbook, is too large for the memory a build may take, or a value
        has no column.
    """
    try:
        with warnings.catch_warnings():
            # About what openpyxl leaves out: extensions, validations, styles.
            warnings.simplefilter("ignore")
            _check_parts(source)
            advance(source.stat().st_size)
            # As an open file, since openpyxl has opinions on how names end.
            with (
                source.open("rb") as file,
                contextlib.closing(
                    openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
                ) as book,
            ):
                sheet = _Sheet(source, options, book)
                names, types = sheet.read_head()
                return convert_rows(source, names, types, lambda: sheet.list_rows(len(names)), target)
    except TableError:
        target.unlink(missing_ok=True)
        raise
    except (zipfile.BadZipFile, zlib.error, InvalidFileException, EOFError, RuntimeError) as error:
        target.unlink(missing_ok=True)
        raise TableError(str(source), f"this is not a (whole) Excel workbook: {error}") from error
    except (ValueError, LookupError, TypeError, AttributeError, SyntaxError, OverflowError, OSError) as error:
        # openpyxl has no exception of its own for XML that is not what it expects.
        if isinstance(error, OSError) and error.errno:
            raise
        target.unlink(missing_ok=True)
        raise TableError(str(source), f"this workbook cannot be read: {error}") from error


def _check_parts(source: Path) -> None:
    """Refuse what would fill the memory: openpyxl reads all but the sheets at once, and sheets tag by tag."""
    with zipfile.ZipFile(source) as archive:
        parts = {part.filename: part.file_size for part in archive.infolist()}
        if len(parts) > MAX_PARTS:
            raise TableError(str(source), f"it holds more than {MAX_PARTS} files")
        _check_sizes(source, [size for name, size in parts.items() if not name.startswith(SHEETS)])
        for name in parts:
            if name.endswith((".xml", ".rels")):
                with archive.open(name) as file:
                    _check_tags(source, file)
        manifest = Manifest.from_tree(fromstring(archive.read(ARC_CONTENT_TYPES)))
    kinds = [(override.PartName.lstrip("/"), override.ContentType) for override in manifest.Override]
    # A file that is said to be something else as well may be read at once after all.
    sheets = {name for name, kind in kinds if kind == WORKSHEET_TYPE and name.startswith(SHEETS)}
    sheets -= {name for name, kind in kinds if kind != WORKSHEET_TYPE}
    _check_sizes(source, [size for name, size in parts.items() if name not in sheets])


def _check_sizes(source: Path, sizes: list[int]) -> None:
    if max(sizes, default=0) > MAX_PART_BYTES or sum(sizes) > MAX_PARTS_BYTES:
        reason = "its texts and styles do not fit into the memory that a build may take; save it as CSV"
        raise TableError(str(source), reason)


def _check_tags(source: Path, file: IO[bytes]) -> None:
    run, last = 0, b""
    while chunk := file.read(CHUNK_BYTES):
        if b"<!" in last[-1:] + chunk and b"<!DOCTYPE" in last[-8:] + chunk:
            raise TableError(str(source), "it defines a document type, which no workbook needs; refused")
        position = chunk.rfind(b"<")
        run = run + len(chunk) if position < 0 else len(chunk) - position
        if run > MAX_RUN_BYTES:
            raise TableError(str(source), "a cell of it has more than a million characters")
        last = chunk


class _Sheet:
    def __init__(self, source: Path, options: TableOptions, book: Any) -> None:
        self._source, self._options = source, options
        self._positions: list[int] | None = None  # of the wanted columns; None: all
        self._nulls = frozenset(options.nulls) | (NULLS if options.usual_nulls else frozenset())
        self._sheet = self._choose(book)
        self._sheet.reset_dimensions()  # Anyone may have written them.

    def _list_raw(self) -> Iterator[tuple[int, Values]]:
        """Numbers of rows as Excel shows them, and values; rows without a value are left out."""
        for number, row in enumerate(self._sheet.iter_rows(values_only=True), start=1):
            if number > MAX_ROWS or len(row) > MAX_COLUMNS:
                raise TableError(str(self._source), "the sheet is larger than Excel allows")
            if number > self._options.skip_lines and any(value is not None for value in row):
                yield number, row

    def _choose(self, book: Any) -> Any:
        sheets, wanted = book.worksheets, self._options.sheet
        for position, sheet in enumerate(sheets):
            if wanted in (position, sheet.title):
                return sheet
        names = ", ".join(repr(sheet.title) for sheet in sheets[:20])
        raise TableError(str(self._source), f"there is no sheet {wanted!r}; there are {names or 'none'}")

    def read_head(self) -> tuple[list[str], dict[str, pa.DataType]]:
        """The names of the wanted columns, and the types that some must have."""
        options = self._options
        names = list(options.names)
        if options.header:
            number, first = next(self._list_raw(), (1, ()))
            names = names or self._name(number, first)
        elif not names:
            width = max((_get_width(row) for _, row in self._list_raw()), default=0)
            names = [str(position) for position in range(width)]
        if options.columns:
            self._positions = [
                position for position, name in enumerate(names) if {name, position} & set(options.columns)
            ]
            self._expect([one for one in options.columns if one not in {*names, *range(len(names))}])
            names = [names[position] for position in self._positions]
        self._expect([name for name, _ in options.types if name not in {*names, EVERY_COLUMN}])
        types: dict[str, pa.DataType] = {}
        for name, kind in options.types:
            types |= dict.fromkeys(names if name == EVERY_COLUMN else [name], pa.type_for_alias(kind))
        return names, types

    def _expect(self, missing: Sequence[str | int]) -> None:
        if missing:
            reason = f"there is no column {missing[0]!r}, which the build file asks for"
            raise TableError(str(self._source), reason)

    def _name(self, number: int, row: Values) -> list[str]:
        names = ["" if value is None else str(value) for value in row[: _get_width(row)]]
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            what = (
                f"{Counter(names)[twice[0]]} columns have this name" if twice[0] else "columns have no name"
            )
            reason = f"{what}; correct the header, or give `names`"
            raise TableError(str(self._source), reason, line=number, column=twice[0])
        return names

    def list_rows(self, width: int) -> Iterator[Values]:
        """The values below the header, as many as there are names."""
        rows = self._list_raw()
        if self._options.header:
            next(rows, None)
        for count, (number, row) in enumerate(rows):
            if count == self._options.rows:
                return
            if self._positions is None:
                if len(row) > width and _get_width(row) > width:
                    reason = f"a value stands in column {_get_width(row)}, which has no header"
                    raise TableError(str(self._source), reason, line=number)
                values = [*row[:width], *[None] * (width - len(row))]
            else:
                values = [row[at] if at < len(row) else None for at in self._positions]
            yield [self._clean(value) for value in values]

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return None if value in ERRORS or value in self._nulls else value
        return None if self._options.nulls and str(value) in self._options.nulls else value


def _get_width(row: Values) -> int:
    """How many columns there are up to the last value."""
    return next((at for at in range(len(row), 0, -1) if row[at - 1] is not None), 0)
