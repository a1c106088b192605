"""What is said of the nodes of a revision, so that one can choose before anything is downloaded."""

import json
from collections.abc import Iterator
from typing import Any, Final

from core import storage
from core.errors import NotFound
from core.identity import Identity
from registry.manifest import GROUPS, is_shallow
from registry.services.packages import get_package
from registry.services.references import get_by_reference
from registry.services.trees import damaged, load_tree

__all__ = ["list_metadata"]

# B of a user's metadata that are sent along. What is larger is data by itself, and can be fetched as such.
LARGEST: Final = 16 << 10


def list_metadata(
    identity: Identity, owner: str, name: str, reference: str, *, page: int, limit: int
) -> tuple[dict[str, Any], int]:
    """One page of the nodes of a revision, in the order of their paths, and how many there are.

    :raises NotFound: there is no such package or revision that ``identity`` may read.
    """
    package = get_package(identity, owner, name).package
    revision = get_by_reference(package.id, reference)
    root, sizes = load_tree(revision.tree)
    nodes = list(_walk(root))
    shown = nodes[(page - 1) * limit : page * limit]
    wanted = {node["metadata_hash"] for _, node in shown if node.get("metadata_hash")}
    objects = _read_objects(sorted(digest for digest in wanted if sizes[digest] <= LARGEST))
    entries = [_describe(path, node, sizes, objects) for path, node in shown]
    return {"hash": revision.digest, "nodes": entries}, len(nodes)


def _walk(root: Any) -> Iterator[tuple[str, Any]]:
    waiting = [("", root)]
    while waiting:
        path, node = waiting.pop()
        yield path, node
        prefix = f"{path}/" if path else ""
        children = node.get("children", {})
        waiting += ((prefix + name, children[name]) for name in sorted(children, reverse=True))


def _describe(path: str, node: Any, sizes: dict[str, int], objects: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"path": path, "type": node["type"]}
    if node["type"] not in GROUPS:
        found["size"] = sum(sizes[digest] for digest in node["hashes"])
        found["metadata"] = node.get("metadata") or {}
    if digest := node.get("metadata_hash"):
        found["metadata_hash"] = digest
        found["user_metadata"] = objects.get(digest)
    return found


def _read_objects(digests: list[str]) -> dict[str, Any]:
    """What the metadata objects say; None for what is no JSON object that could be passed on."""
    try:
        pieces = storage.store().read_many(digests)
        return {digest: _parse(data) for digest, data in zip(digests, pieces, strict=True)}
    except NotFound as exc:
        raise damaged() from exc


def _parse(data: bytes) -> Any:
    try:
        found = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and is_shallow(found) else None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
