"""`inspect`: what is in a revision, entry by entry, as far as it can be told without reading the data."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pulsar_client.errors import NotFound, NotInstalled, PulsarError
from pulsar_client.handles import Handle
from pulsar_client.lazy import LazyModule
from pulsar_client.manifest import Group, Leaf, Node, find_node, list_blobs, walk
from pulsar_client.progress import Progress
from pulsar_client.store import Store

if TYPE_CHECKING:
    from pulsar_client import install as installing
    from pulsar_client import parquet
    from pulsar_client.registry import Registry
else:
    installing = LazyModule("pulsar_client.install")
    parquet = LazyModule("pulsar_client.parquet")

MAX_METADATA_BYTES = 1 << 20  # of one entry; what is longer is not shown
GROUP, FILE, TABLE = "group", "file", "table"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a table is like."""

    rows: int
    columns: list[dict[str, str]]  # name and type


@dataclass(frozen=True, slots=True)
class Entry:
    """A node of a tree."""

    path: str  # below the package; empty for all of it
    kind: str  # group, file or table
    size: int | None  # bytes of its blobs, or of all below it; None: not known
    blobs: int
    here: bool  # all blobs are in the local store
    shape: Shape | None  # of a table, as far as it is known
    system: dict[str, Any]  # system metadata: what it was built from and how
    metadata: Any  # the user's, any JSON; None if there is none


@dataclass(frozen=True, slots=True)
class Inspection:
    """What `inspect` found."""

    package: str
    digest: str  # of the revision
    local: bool  # it is one of the local store
    entries: list[Entry]  # parents before children, names in order


def inspect_local(store: Store, package: Handle, digest: str) -> Inspection:
    """A revision of the local store, or the part of it at ``package.path``.

    :raises NotInstalled: if there is no such revision or entry here.
    """
    node = find_node(store.get_tree(package, digest), package.path)
    if node is None:
        raise NotInstalled(f"{package.package} has no entry {'/'.join(package.path)!r}.")
    sizes = {blob: size for blob in list_blobs(node) if (size := store.find_blob_size(blob)) is not None}
    return Inspection(package.package, digest, True, _list_entries(store, package, node, sizes))


def inspect_remote(
    store: Store, registry: "Registry", package: Handle, digest: str, progress: Progress
) -> Inspection:
    """A revision of the site. Metadata of users is fetched into the local store, data is not.

    Rows and columns of tables that are not here are asked for only if ``package.path`` is one: it is a
    question for each.

    :raises NotFound: if there is no such revision or entry.
    """
    remote = registry.get_package(package, digest)
    installing.check_tree(remote, digest)
    node = find_node(remote.root, package.path)
    if node is None:
        raise NotFound(f"{package.package} has no entry {'/'.join(package.path)!r}.", status=404)
    small = {
        blob: size
        for blob in list_blobs(node, metadata_only=True)
        if (size := remote.sizes.get(blob)) is not None and size <= MAX_METADATA_BYTES and blob in remote.urls
    }
    missing = {blob: size for blob, size in small.items() if store.find_blob_size(blob) is None}
    if missing:
        installing.fetch(store, registry, remote, missing, progress.advance)
    entries = _list_entries(store, package, node, remote.sizes)
    if isinstance(node, Leaf) and node.is_table and entries[0].shape is None:
        entries = [_add_shape(entries[0], _ask_shape(registry, package, digest))]
    return Inspection(package.package, digest, False, entries)


def _list_entries(store: Store, package: Handle, node: Node, sizes: dict[str, int]) -> list[Entry]:
    return [_make_entry(store, path, one, sizes) for path, one in walk(node, package.path)]


def _make_entry(store: Store, path: tuple[str, ...], node: Node, sizes: dict[str, int]) -> Entry:
    blobs = list_blobs(node) if isinstance(node, Group) else set(node.digests)
    here = not store.list_missing(blobs)
    known = blobs <= sizes.keys()
    shape, system = None, {}
    if isinstance(node, Leaf):
        system = dict(node.metadata or {})
        if node.is_table and here:
            shape = read_shape([store.get_blob_path(digest) for digest in node.digests])
    return Entry(
        path="/".join(path),
        kind=GROUP if isinstance(node, Group) else TABLE if node.is_table else FILE,
        size=sum(sizes[blob] for blob in blobs) if known else None,
        blobs=len(blobs),
        here=here,
        shape=shape,
        system=system,
        metadata=read_metadata(store, node.metadata_digest),
    )


def _add_shape(entry: Entry, shape: Shape | None) -> Entry:
    return Entry(**{name: getattr(entry, name) for name in Entry.__slots__} | {"shape": shape})


def read_shape(paths: Iterable[Path]) -> Shape | None:
    """Rows and columns of a table out of the footers of its fragments; None if one is no sound Parquet."""
    found = [parquet.read_footer(path) for path in paths]
    if not found or None in found:
        return None
    footers = [footer for footer in found if footer is not None]
    return Shape(sum(rows for rows, _ in footers), footers[0][1])


def read_metadata(store: Store, digest: str | None) -> Any:
    """The user's metadata; None if there is none, or it is not here, or no JSON of a bearable size."""
    if digest is None or (size := store.find_blob_size(digest)) is None or size > MAX_METADATA_BYTES:
        return None
    try:
        return json.loads(store.read_blob(digest, size))
    except (ValueError, RecursionError, PulsarError):
        return None


def _ask_shape(registry: "Registry", package: Handle, digest: str) -> Shape | None:
    """What the site knows of a table; None if that is nothing."""
    if "statistics" not in registry.get_capabilities().features:
        return None
    parts = (package.owner, f"{package.name}@{digest}", *package.path)
    path = "/api/statistics/" + "/".join(quote(part, safe="@") for part in parts)
    answer = registry.http.get_json("GET", path)
    try:
        columns = [
            {"name": str(column["name"]), "type": str(column["type"])}
            for column in answer["fragments"][0]["columns"]
        ]
        return Shape(answer["rows"], columns) if type(answer["rows"]) is int else None
    except (KeyError, TypeError, IndexError, AttributeError):
        return None
