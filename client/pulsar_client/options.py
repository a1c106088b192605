"""What the ``kwargs`` of a build file say about how a table is read.

The words are those of ``pandas.read_csv`` and ``read_excel``, which Quilt passed them to. A word that is not
kept here is refused by name: a table that was read otherwise than it was asked for is worse than none.
"""

import codecs
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pulsar_client.errors import BuildError

DELIMITERS = {"csv": ",", "tsv": "\t", "ssv": ";"}

# Names of types, as in pandas, numpy and Arrow; the values are Arrow's.
TYPES = {name: name for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")}
TYPES |= {name.replace("i", "I").replace("uI", "UI"): name for name in list(TYPES)}
TYPES |= {"int": "int64", "float": "double", "float32": "float", "float64": "double", "double": "double"}
TYPES |= {"Float32": "float", "Float64": "double", "bool": "bool", "boolean": "bool", "date": "date32"}
TYPES |= {name: "string" for name in ("str", "string", "object")}
TYPES |= {f"datetime64[{unit}]": f"timestamp[{unit}]" for unit in ("s", "ms", "us", "ns")}

# They change how pandas reads, not what it reads.
WITHOUT_EFFECT = frozenset({"engine", "low_memory", "memory_map", "cache_dates", "infer_datetime_format"})

# Not meant for text, or slow enough on hostile input to matter.
_ENCODINGS_REFUSED = frozenset({"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"})

EVERY_COLUMN = ""  # as the name in ``types``


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How a text or a sheet becomes a table. The defaults are those of a CSV file without ``kwargs``."""

    delimiter: str = ","
    quote: str = '"'  # empty: quotes mean nothing
    doubled_quotes: bool = True
    escape: str = ""
    encoding: str = "utf-8"
    skip_lines: int = 0  # of a sheet: rows
    skip_blank_lines: bool = True
    header: bool = True
    names: tuple[str, ...] = ()  # instead of those of the header
    columns: tuple[str | int, ...] = ()  # all names or all positions from 0; empty: every column
    types: tuple[tuple[str, str], ...] = ()  # column, or EVERY_COLUMN, and Arrow type
    dates: tuple[str | int, ...] = ()  # columns that must be dates
    date_format: str = ""  # as in strptime
    rows: int | None = None  # at most
    nulls: tuple[str, ...] = ()
    usual_nulls: bool = True
    true_values: tuple[str, ...] = ()
    false_values: tuple[str, ...] = ()
    decimal: str = "."
    thousands: str = ""
    sheet: str | int = 0

    def list_differences(self, usual: "TableOptions") -> dict[str, Any]:
        """What differs from ``usual``; can be written as JSON."""
        base = asdict(usual)
        return {key: value for key, value in asdict(self).items() if value != base[key]}


def get_usual(transform: str) -> TableOptions:
    """The options of a file without ``kwargs``."""
    return TableOptions(delimiter=DELIMITERS.get(transform, ","))


def parse_options(transform: str, kwargs: Mapping[str, Any], place: str) -> TableOptions:
    """The options that ``kwargs`` stand for.

    :param place: what errors name, such as the path of the node.
    :raises BuildError: for a keyword or a value that has no meaning here.
    """
    known = _KEYWORDS.get(transform, {})
    found = get_usual(transform)
    given: dict[str, Any] = {}
    for keyword, value in kwargs.items():
        if keyword in WITHOUT_EFFECT and known:
            continue
        if keyword not in known:
            words = f"known are {', '.join(sorted(known))}" if known else f"{transform} takes none"
            raise BuildError(f"{place}: kwargs: {keyword!r} is not understood; {words}.")
        if value is None and keyword not in {"header", "sheet_name"}:
            continue  # pandas' own default
        try:
            given |= known[keyword](value)
        except ValueError as error:
            raise BuildError(f"{place}: kwargs: {keyword} {error}.") from error
    try:
        return _join(found, given)
    except ValueError as error:
        raise BuildError(f"{place}: kwargs: {error}.") from error


def _join(usual: TableOptions, given: dict[str, Any]) -> TableOptions:
    # pandas takes names without header to mean that there is no header.
    line = given.pop("header_line", None if given.get("names") else 0)
    found = replace(usual, **given)
    found = replace(found, header=line is not None, skip_lines=found.skip_lines + (line or 0))
    singles = [found.delimiter, found.quote, found.escape, found.decimal, found.thousands]
    used = [character for character in singles if character]
    if len(set(used)) != len(used):
        raise ValueError("one character cannot be two of delimiter, quote, escape, decimal and thousands")
    if len(set(found.names)) != len(found.names):
        raise ValueError("names holds a name twice")
    return found


Parser = Callable[[Any], dict[str, Any]]


def _single(field: str, *, empty: bool = False) -> Parser:
    def parse(value: Any) -> dict[str, Any]:
        text = {"\\t": "\t"}.get(value, value) if isinstance(value, str) else value
        if not isinstance(text, str) or len(text) > 1 or not text.isascii() or text in {"\r", "\n", "\0"}:
            raise ValueError("must be a single character of ASCII")
        if not text and not empty:
            raise ValueError("must not be empty")
        return {field: text}

    return parse


def _flag(field: str) -> Parser:
    def parse(value: Any) -> dict[str, Any]:
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
        return {field: value}

    return parse


def _number(field: str) -> Parser:
    def parse(value: Any) -> dict[str, Any]:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
            raise ValueError("must be a number from 0 on")
        return {field: value}

    return parse


def _texts(field: str) -> Parser:
    def parse(value: Any) -> dict[str, Any]:
        listed = value if isinstance(value, list) else [value]
        return {field: tuple(_make_text(one) for one in listed)}

    return parse


def _make_text(value: Any) -> str:
    """A value of YAML as a field of a table has it: ``na_values: [-999, x]`` means texts."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("must be a text or a list of texts")
    return str(value)


def _parse_names(value: Any) -> dict[str, Any]:
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of names")
    return {"names": tuple(_make_text(one) for one in value)}


def _parse_header(value: Any) -> dict[str, Any]:
    if value == "infer":
        return {}
    if value is None:
        return {"header_line": None}
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise ValueError("must be the number of a line, from 0 on, or null")
    return {"header_line": value}


def _parse_columns(value: Any) -> dict[str, Any]:
    if isinstance(value, list) and value and len(set(map(type, value))) == 1:
        if isinstance(value[0], str):
            return {"columns": tuple(value)}
        if type(value[0]) is int and all(one >= 0 for one in value):
            return {"columns": tuple(sorted(set(value)))}
    raise ValueError("must be a list of names, or of positions from 0 on")


def _parse_types(value: Any) -> dict[str, Any]:
    types = value if isinstance(value, dict) else {EVERY_COLUMN: value}
    for name, kind in types.items():
        if not isinstance(kind, str) or kind not in TYPES:
            where = f" of {name!r}" if name else ""
            raise ValueError(f"{kind!r}{where} is not understood; known are {', '.join(sorted(TYPES))}")
    return {"types": tuple(sorted((name, TYPES[kind]) for name, kind in types.items()))}


def _parse_dates(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {}  # Dates are found without it.
    if isinstance(value, list) and all(type(one) in (str, int) for one in value):
        return {"dates": tuple(value)}
    raise ValueError("must be a list of columns")


def _parse_quoting(value: Any) -> dict[str, Any]:
    # csv.QUOTE_MINIMAL, and QUOTE_NONE.
    if value == 0 and not isinstance(value, bool):
        return {}
    if value == 3:
        return {"quote": ""}
    raise ValueError("must be 0 (quotes where needed) or 3 (quotes mean nothing)")


def _parse_encoding(value: Any) -> dict[str, Any]:
    try:
        found = codecs.lookup(value)
        name = found.name.removesuffix("-sig")
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{value!r} is not known") from error
    if name.replace("-", "_") in _ENCODINGS_REFUSED or not getattr(found, "_is_text_encoding", True):
        raise ValueError(f"{value!r} is not an encoding of text files")
    return {"encoding": name}


def _parse_filter(value: Any) -> dict[str, Any]:
    if value is False:
        return {"nulls": (), "usual_nulls": False}
    return _flag("usual_nulls")(value)


def _parse_sheet(value: Any) -> dict[str, Any]:
    if isinstance(value, str) or (type(value) is int and value >= 0):
        return {"sheet": value}
    raise ValueError("must be the name of one sheet, or its position from 0 on")


def _only(*allowed: Any) -> Parser:
    def parse(value: Any) -> dict[str, Any]:
        if not any(value is one or (value == one and type(value) is type(one)) for one in allowed):
            raise ValueError(f"can only be {' or '.join(map(repr, allowed))}")
        return {}

    return parse


_COMMON: dict[str, Parser] = {
    "header": _parse_header,
    "names": _parse_names,
    "usecols": _parse_columns,
    "dtype": _parse_types,
    "skiprows": _number("skip_lines"),
    "nrows": _number("rows"),
    "na_values": _texts("nulls"),
    "keep_default_na": _flag("usual_nulls"),
    "na_filter": _parse_filter,
    "index_col": _only(False),
}
_TEXT: dict[str, Parser] = _COMMON | {
    "sep": _single("delimiter"),
    "delimiter": _single("delimiter"),
    "quotechar": _single("quote"),
    "quoting": _parse_quoting,
    "doublequote": _flag("doubled_quotes"),
    "escapechar": _single("escape"),
    "encoding": _parse_encoding,
    "skip_blank_lines": _flag("skip_blank_lines"),
    "parse_dates": _parse_dates,
    "date_format": lambda value: {"date_format": _make_text(value)},
    "decimal": _single("decimal"),
    "thousands": _single("thousands", empty=True),
    "true_values": _texts("true_values"),
    "false_values": _texts("false_values"),
    "on_bad_lines": _only("error"),
    "error_bad_lines": _only(True),
}
_KEYWORDS: dict[str, dict[str, Parser]] = {
    **dict.fromkeys(DELIMITERS, _TEXT),
    "xlsx": _COMMON | {"sheet_name": _parse_sheet, "sheetname": _parse_sheet},
}
