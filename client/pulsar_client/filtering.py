"""Entries chosen by what their makers say of them: the metadata of users."""

import json
from collections.abc import Mapping
from typing import Any

from pulsar_client.inspection import read_metadata
from pulsar_client.manifest import Group, Leaf, Path, walk
from pulsar_client.store import Store


def choose_blobs(store: Store, root: Group, part: Path, where: Mapping[str, str]) -> set[str]:
    """The data of the entries at or below ``part`` to which all of ``where`` applies.

    What is said of a group holds for everything in it that does not say otherwise.

    :param where: values by key; ``"site.name"`` is ``name`` in ``site``. Numbers and the like as in JSON.
    """
    chosen: set[str] = set()
    known: dict[Path, dict[str, Any]] = {}
    for path, node in walk(root):
        said = read_metadata(store, node.metadata_digest)
        known[path] = known.get(path[:-1], {}) | (said if isinstance(said, dict) else {})
        if isinstance(node, Leaf) and path[: len(part)] == part and _applies(known.pop(path), where):
            chosen.update(node.digests)
    return chosen


def _applies(metadata: Mapping[str, Any], where: Mapping[str, str]) -> bool:
    return all(_matches(_look_up(metadata, key), text) for key, text in where.items())


def _look_up(value: Any, key: str) -> Any:
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def _matches(value: Any, text: str) -> bool:
    return value is not None and text in (value, json.dumps(value))
