"""Two revisions of a package compared."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from core.identity import Identity
from core.storage.rows import batches
from registry.differences import KINDS, Change, compare, path_of
from registry.manifest import is_parquet
from registry.models import Revision
from registry.services.packages import get_package
from registry.services.references import get_by_reference
from registry.services.statistics import ask_for, find_statistics
from registry.services.trees import load_tree

__all__ = ["get_diff"]

TABLES: Final = 500  # of one page whose columns are compared
AT_ONCE: Final = 20  # tables whose statistics are held in memory
COLUMNS: Final = 50  # of one table that are named
HASHES: Final = 10  # of one node that are named
KEYS: Final = 50  # of inline metadata whose values are shown
VALUE: Final = 200  # characters of such a value


def get_diff(
    identity: Identity, owner: str, name: str, old: str, new: str, *, page: int, limit: int
) -> tuple[dict[str, Any], int]:
    """One page of the differences between two revisions, and how many there are.

    :param old: a reference, like ``new``: see :func:`registry.services.references.get_by_reference`.
    :raises NotFound: there is no such package or revision that ``identity`` may read.
    """
    package = get_package(identity, owner, name).package
    before, after = (get_by_reference(package.id, reference) for reference in (old, new))
    (old_root, old_sizes), (new_root, new_sizes) = (load_tree(one.tree) for one in (before, after))
    changes = compare(old_root, new_root)
    counts = Counter(change.kind for change in changes)
    shown = changes[(page - 1) * limit : page * limit]
    sizes = old_sizes | new_sizes
    described = [_describe(change, sizes) for change in shown]
    _compare_tables(shown, described, (before, after))
    found = {
        "from": before.digest,
        "to": after.digest,
        "summary": {kind: counts[kind] for kind in KINDS},
        "bytes": {
            "from": sum(old_sizes.values()),
            "to": sum(new_sizes.values()),
            "new": sum(size for digest, size in new_sizes.items() if digest not in old_sizes),
        },
        "changes": described,
    }
    return found, len(changes)


def _describe(change: Change, sizes: Mapping[str, int]) -> dict[str, Any]:
    found: dict[str, Any] = {"path": path_of(change.trail), "change": change.kind}
    if change.kind == "moved":
        found["from"] = path_of(change.origin)
    for key, node in (("old", change.old), ("new", change.new)):
        if node is not None:
            found[key] = _describe_node(node, sizes)
    if fields := change.fields:
        found["fields"] = fields
    if "metadata" in fields and change.old is not None and change.new is not None:
        found["metadata"] = _compare_metadata(change.old.get("metadata"), change.new.get("metadata"))
    return found


def _describe_node(node: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
    found = {"type": node["type"]}
    if "hashes" in node:
        hashes = node["hashes"]
        found |= {
            "size": sum(sizes[digest] for digest in hashes),
            "n_fragments": len(hashes),
            "hashes": hashes[:HASHES],
        }
    if node.get("metadata_hash"):
        found["metadata_hash"] = node["metadata_hash"]
    return found


def _compare_metadata(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> dict[str, Any]:
    """``{key: [before, after]}`` of keys that differ."""
    old, new = old or {}, new or {}
    keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return {key[:VALUE]: [_shorten(old.get(key)), _shorten(new.get(key))] for key in keys[:KEYS]}


def _shorten(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value)
    return value if len(text) <= VALUE else text[: VALUE - 1] + "…"


def _compare_tables(
    changes: Sequence[Change], found: Sequence[dict[str, Any]], revisions: Iterable[Revision]
) -> None:
    """Add ``table`` to those of ``found`` whose change is one of a table's data."""
    tables = [
        (change.old, change.new, description)
        for change, description in zip(changes, found, strict=True)
        if "hashes" in change.fields and _is_table(change)
    ]
    waiting = False
    for batch in batches(tables[:TABLES], AT_ONCE):
        known = find_statistics(
            digest for *nodes, _ in batch for node in nodes if node for digest in _few(node["hashes"])
        )
        for old, new, description in batch:
            assert old is not None
            assert new is not None
            waiting |= not known.keys() >= {*_few(old["hashes"]), *_few(new["hashes"])}
            parts = [_whole(node["hashes"], known) for node in (old, new)]
            description["table"] = _compare_columns(*parts)
    if waiting:
        for revision in revisions:
            ask_for(revision.id)


def _is_table(change: Change) -> bool:
    nodes = (change.old, change.new)
    return change.trail is not None and all(
        node is not None and "hashes" in node and is_parquet(change.trail[1], node) for node in nodes
    )


def _few(hashes: Sequence[str]) -> Sequence[str]:
    """All fragments of a usual table; of one made of very many nothing is said."""
    return hashes if len(hashes) <= 100 else ()


def _whole(hashes: Sequence[str], known: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Rows and columns of a table of some fragments; None if not all are known, and sound."""
    parts = [known.get(digest, {}) for digest in hashes]
    if not parts or any("rows" not in part for part in parts):
        return None
    # What a fragment says of least and greatest values holds for itself alone.
    keys = ("type", "nulls", "min", "max") if len(parts) == 1 else ("type",)
    columns = {column["name"]: {key: column[key] for key in keys} for column in parts[0]["columns"]}
    return {"rows": sum(part["rows"] for part in parts), "columns": columns}


def _compare_columns(old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, Any] | None:
    if old is None or new is None:
        return None
    before, after = old["columns"], new["columns"]
    both = ((name, dict(_differing(before[name], after[name]))) for name in after if name in before)
    changed = [{"name": name} | differing for name, differing in both if differing]
    return {
        "rows": [old["rows"], new["rows"]],
        "added": _only(after, before),
        "removed": _only(before, after),
        "changed": changed[:COLUMNS],
    }


def _only(these: Mapping[str, Any], others: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = [{"name": name, "type": these[name]["type"]} for name in these if name not in others]
    return found[:COLUMNS]


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    for key in old.keys() & new.keys():
        if old[key] != new[key]:
            yield key, [old[key], new[key]]
