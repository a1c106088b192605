"""What a notebook shows of a node. Every text in it may come from a stranger and is escaped."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from pulsar_client.files import format_bytes

MAX_ENTRIES = 100  # of a group
MAX_ROWS = 10
MAX_COLUMNS = 20
MAX_TEXT = 100  # characters of one cell


def show_group(name: str, entries: Iterable[tuple[str, str]], count: int) -> str:
    """:param entries: names and what they are, as many as shall be shown."""
    rows = [[entry, kind] for entry, kind in entries]
    more = f"<p>... and {count - len(rows)} more</p>" if count > len(rows) else ""
    return f"<p><b>{escape(name)}</b>: {count} entries</p>{_make_table(['name', ''], rows)}{more}"


def show_table(
    name: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]], count: int
) -> str:
    """:param columns: names and types, of those that are shown at least.
    :param rows: the first rows, as many as shall be shown.
    :param count: of all rows.
    """
    shown = columns[:MAX_COLUMNS]
    heads = [f"{_cut(column)} ({_cut(kind)})" for column, kind in shown]
    more = f"<p>... and {len(columns) - len(shown)} more columns</p>" if len(columns) > len(shown) else ""
    head = f"<p><b>{escape(name)}</b>: table, {count} rows, {len(columns)} columns</p>"
    return head + _make_table(heads, rows) + more


def show_file(name: str, size: int | None) -> str:
    """:param size: in bytes; None if it is not here."""
    return f"<p><b>{escape(name)}</b>: file, {'not installed' if size is None else format_bytes(size)}</p>"


def show_missing(name: str) -> str:
    return f"<p><b>{escape(name)}</b>: table, not installed</p>"


def _make_table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_cut(value))}</td>" for value in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _cut(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."
