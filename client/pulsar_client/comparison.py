"""Two revisions of a package on the site, compared by the site."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pulsar_client.errors import ProtocolError
from pulsar_client.files import format_bytes
from pulsar_client.handles import Handle, quote_part

if TYPE_CHECKING:
    from pulsar_client.http import Http

PAGE = 1000  # changes in one answer
PAGES = 1000  # that are asked for
SIGNS = {"added": "+", "removed": "-", "moved": ">", "changed": "~"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs from one revision to another.

    ``changes`` are as the site describes them: ``path``, ``change`` (added, removed, moved, changed), ``old``
    and ``new``, ``from`` of what was moved, ``fields``, ``metadata`` and ``table`` of what was changed.
    """

    old: str  # top digest
    new: str
    summary: dict[str, int]
    bytes: dict[str, int]
    changes: list[dict[str, Any]]


def compare(http: "Http", package: Handle, old: str, new: str) -> Comparison:
    """All differences; a question for each thousand of them."""
    path = f"/api/diff/{package.package}/{quote_part(old, 'revision')}/{quote_part(new, 'revision')}"
    changes: list[dict[str, Any]] = []
    for page in range(1, PAGES + 1):
        answer = _check(http.get_json("GET", path, query={"page": str(page), "limit": str(PAGE)}))
        changes += answer["changes"]
        if len(answer["changes"]) < PAGE:
            return Comparison(answer["from"], answer["to"], answer["summary"], answer["bytes"], changes)
    raise ProtocolError("The site's comparison of two revisions does not end.")


def _check(answer: Any) -> dict[str, Any]:
    try:
        good = (
            isinstance(answer["from"], str)
            and isinstance(answer["to"], str)
            and all(
                isinstance(number, int) for number in (*answer["summary"].values(), *answer["bytes"].values())
            )
            and isinstance(answer["changes"], list)
            and all(_is_change(one) for one in answer["changes"])
        )
    except (TypeError, KeyError, AttributeError):
        good = False
    if not good:
        raise ProtocolError("The site's comparison of two revisions cannot be read.")
    checked: dict[str, Any] = answer
    return checked


def _is_change(one: Any) -> bool:
    fields = one.get("fields", [])
    return (
        isinstance(one["path"], str)
        and one["change"] in SIGNS
        and isinstance(fields, list)
        and all(isinstance(field, str) for field in fields)
    )


def describe(change: dict[str, Any]) -> str:
    """One change in one line, for people."""
    path = change["path"] or "(the package itself)"
    line = f"{SIGNS[change['change']]} {path}"
    if change["change"] == "moved":
        line += f"  from {change.get('from')}"
    elif change["change"] != "changed":
        line += _sizes([change.get("new") or change.get("old")])
    notes = [name for name in change.get("fields", []) if name not in ("hashes", "metadata_hash")]
    if "hashes" in change.get("fields", []):
        line += _sizes([change.get("old"), change.get("new")])
    if "metadata_hash" in change.get("fields", []):
        notes.append("user metadata")
    notes += _describe_table(change.get("table"))
    return line + (f"  {', '.join(notes)}" if notes else "")


def _sizes(nodes: list[Any]) -> str:
    sizes = [node["size"] for node in nodes if isinstance(node, dict) and isinstance(node.get("size"), int)]
    return f"  {' -> '.join(map(format_bytes, sizes))}" if sizes else ""


def _describe_table(table: Any) -> list[str]:
    """Rows and columns of a table that changed, as far as the answer is as it should be."""
    if not isinstance(table, dict):
        return []
    notes = []
    rows = table.get("rows")
    if isinstance(rows, list) and len(rows) == 2:
        notes.append(f"{rows[0]} rows" if rows[0] == rows[1] else f"{rows[0]} -> {rows[1]} rows")
    for sign, key in (("+", "added"), ("-", "removed")):
        notes += [f"{sign}{column.get('name')} ({column.get('type')})" for column in _columns(table, key)]
    for column in _columns(table, "changed"):
        if isinstance(kinds := column.get("type"), list):
            notes.append(f"{column.get('name')} ({' -> '.join(map(str, kinds))})")
    return notes


def _columns(table: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = table.get(key)
    return [column for column in found if isinstance(column, dict)] if isinstance(found, list) else []
