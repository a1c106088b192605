"""What `load` gives: a package in the local store as lazy nodes. Nothing is read until it is asked for."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsar_client.errors import NotInstalled, StoreError
from pulsar_client.lazy import LazyModule
from pulsar_client.manifest import Group, Leaf, find_node
from pulsar_client.store import Store

MAX_METADATA = 10 << 20  # B of JSON that are read at once

if TYPE_CHECKING:
    from pulsar_client import frames, notebook
else:
    frames = LazyModule("pulsar_client.frames")
    notebook = LazyModule("pulsar_client.notebook")


class GroupNode:
    """A package, or a folder in it: ``node["a/b.csv"]``, ``for name in node``, ``len(node)``.

    Entries whose names allow it are attributes too: ``flights.csv`` is also ``node.flights`` and
    ``node.flights_csv``, as long as only one entry could be meant. Names are the truth, attributes are sugar.
    """

    def __init__(self, store: Store, name: str, group: Group) -> None:
        self._store, self._name, self._group = store, name, group

    def __getitem__(self, path: str) -> "GroupNode | LeafNode":
        """:raises KeyError: if there is no such entry."""
        node = find_node(self._group, tuple(path.split("/")))
        if node is None:
            raise KeyError(path)
        return make_node(self._store, f"{self._name}/{path}", node)

    def __iter__(self) -> Iterator[str]:
        """The names of the entries, in order."""
        return iter(sorted(self._group.children))

    def __len__(self) -> int:
        return len(self._group.children)

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and find_node(self._group, tuple(path.split("/"))) is not None

    def items(self) -> "Iterator[tuple[str, GroupNode | LeafNode]]":
        """Names and nodes, in order."""
        return ((name, self[name]) for name in self)

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata that its authors gave it; empty if they gave none."""
        return _read_metadata(self._store, self._name, self._group.metadata_digest)

    def list_tables(self) -> "list[LeafNode]":
        """The tables directly in it, in the order of their names."""
        leaves = [node for _, node in self.items() if isinstance(node, LeafNode)]
        return [leaf for leaf in leaves if leaf.is_table]

    def table(self) -> Any:
        """All tables directly in it, one below the other, as a ``pyarrow.Table``.

        Columns that a table lacks are missing in its rows.

        :raises StoreError: if there is no table, or a column is of types that do not go together.
        """
        return frames.read_all([leaf.paths() for leaf in self._get_tables()])

    def pandas(self) -> Any:
        """:meth:`table` as a ``pandas.DataFrame``. :raises ConfigurationError: if pandas is not there."""
        return frames.make_pandas(self.table())

    def polars(self) -> Any:
        """:meth:`table` as a ``polars.DataFrame``. :raises ConfigurationError: if polars is not there."""
        return frames.make_polars(self.table())

    def dataset(self) -> Any:
        """The same tables as one ``pyarrow.dataset.Dataset``, with the columns of the first."""
        return frames.make_dataset([path for leaf in self._get_tables() for path in leaf.paths()])

    def _get_tables(self) -> "list[LeafNode]":
        tables = self.list_tables()
        if not tables:
            raise StoreError(f"There is no table directly in {self._name}.")
        return tables

    def _repr_html_(self) -> str:
        names = list(self)
        shown = [(name, _describe_kind(self._group.children[name])) for name in names[: notebook.MAX_ENTRIES]]
        return notebook.show_group(self._name, shown, len(names))

    def __getattr__(self, attribute: str) -> "GroupNode | LeafNode":
        names = self._list_meant(attribute)
        if len(names) == 1:
            return self[names[0]]
        reason = f"could be {' or '.join(map(repr, names))}" if names else "is not there"
        raise AttributeError(f"{attribute!r} {reason} in {self._name}; write node[name].")

    def _list_meant(self, attribute: str) -> list[str]:
        if attribute.startswith("_"):  # Python's own questions; entries like that have [].
            return []
        if attribute in self._group.children:
            return [attribute]
        return [name for name in self if attribute in make_identifiers(name)]

    def __dir__(self) -> list[str]:
        sugar = {identifier for name in self for identifier in make_identifiers(name)}
        return sorted({*super().__dir__(), *(name for name in sugar if len(self._list_meant(name)) == 1)})

    def __repr__(self) -> str:
        return f"<GroupNode {self._name}: {', '.join(self) or 'empty'}>"


class LeafNode:
    """One entry. ``table()`` for tables, ``path()`` for files."""

    def __init__(self, store: Store, name: str, leaf: Leaf) -> None:
        self._store, self._name, self._leaf = store, name, leaf

    @property
    def digests(self) -> tuple[str, ...]:
        """The SHA-256 of its blobs; a file has exactly one."""
        return self._leaf.digests

    @property
    def system_metadata(self) -> dict[str, Any]:
        """What it was built from and how: ``q_path``, ``q_ext``, ``q_target``."""
        return dict(self._leaf.metadata or {})

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata that its authors gave it; empty if they gave none."""
        return _read_metadata(self._store, self._name, self._leaf.metadata_digest)

    @property
    def is_table(self) -> bool:
        """Whether :meth:`table` works."""
        return self._leaf.is_table

    def path(self) -> Path:
        """The read-only file in the local store with the bytes of this entry (of a table: Parquet).

        :raises StoreError: if it has several blobs; then :meth:`paths`.
        """
        paths = self.paths()
        if len(paths) != 1:
            raise StoreError(f"{self._name} has {len(paths)} blobs, not one; use paths().")
        return paths[0]

    def paths(self) -> list[Path]:
        """The files of all its blobs, in order.

        :raises NotInstalled: if one is not here, say because only a part of the package was installed.
        """
        if self._store.list_missing(self._leaf.digests):
            raise NotInstalled(f"The blobs of {self._name} are not in the local store: install it.")
        return [self._store.get_blob_path(digest) for digest in self._leaf.digests]

    def table(self) -> Any:
        """The table as a ``pyarrow.Table``, with the types that pyarrow read from the source."""
        return frames.read_table(self._get_table_paths())

    def pandas(self) -> Any:
        """The table as a ``pandas.DataFrame``. :raises ConfigurationError: if pandas is not there."""
        return frames.make_pandas(self.table())

    def polars(self) -> Any:
        """The table as a ``polars.DataFrame``. :raises ConfigurationError: if polars is not there."""
        return frames.make_polars(self.table())

    def dataset(self) -> Any:
        """The table as a ``pyarrow.dataset.Dataset``: read in pieces, by columns, by DuckDB ..."""
        return frames.make_dataset(self._get_table_paths())

    def _get_table_paths(self) -> list[Path]:
        if not self.is_table:
            raise StoreError(f"{self._name} is a file, not a table; use path().")
        return self.paths()

    def __repr__(self) -> str:
        return f"<LeafNode {self._name}: {_describe_kind(self._leaf)}>"

    def _repr_html_(self) -> str:
        sizes = [self._store.find_blob_size(digest) for digest in self._leaf.digests]
        if not self.is_table:
            return notebook.show_file(self._name, sizes[0] if sizes else None)
        if None in sizes:
            return notebook.show_missing(self._name)
        columns, rows, count = frames.describe(self.paths(), notebook.MAX_ROWS, notebook.MAX_COLUMNS)
        return notebook.show_table(self._name, columns, rows, count)


def _describe_kind(node: Group | Leaf) -> str:
    if isinstance(node, Group):
        return "group"
    return "table" if node.is_table else "file"


def _read_metadata(store: Store, name: str, digest: str | None) -> dict[str, Any]:
    if digest is None:
        return {}
    size = store.find_blob_size(digest)
    if size is None:
        raise NotInstalled(f"The metadata of {name} is not in the local store: install it.")
    if size > MAX_METADATA:
        raise StoreError(f"The metadata of {name} is larger than {MAX_METADATA >> 20} MiB.")
    try:
        found = json.loads(store.read_blob(digest, size))
    except (ValueError, RecursionError) as error:
        raise StoreError(f"The metadata of {name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise StoreError(f"The metadata of {name} is not a JSON object.")
    return found


def make_node(store: Store, name: str, node: Group | Leaf) -> GroupNode | LeafNode:
    """The lazy node for a node of a tree."""
    return GroupNode(store, name, node) if isinstance(node, Group) else LeafNode(store, name, node)


def make_identifiers(name: str) -> set[str]:
    """The attributes an entry's name may be written as: whole, and without its extension."""
    return {re.sub(r"\W", "_", text) for text in (name, name.rpartition(".")[0]) if text}
