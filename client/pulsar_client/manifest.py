"""The contents tree of a revision: nodes, rules, top digest. Pure: no files, no network, no libraries.

The wire form (registry protocol, section 3) is nested JSON objects with a ``type``; here a tree is made of
:class:`Group` and :class:`Leaf`. :func:`parse` checks every rule on the way in, :func:`dump` writes the same
JSON back. Nothing recurses, so a deep tree is slow at worst and never a stack overflow.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pulsar_client.errors import ManifestError

MAX_NAME = 255  # characters in one component of an entry's path
MAX_DEPTH = 300  # levels; JSON readers on both sides give up on nesting beyond some 1000 brackets

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f/]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_GROUP_KEYS = {"type", "children", "metadata_hash"}
_LEAF_KEYS = {"type", "hashes", "metadata", "metadata_hash"}


@dataclass(slots=True)
class Leaf:
    """One entry: a raw file (one digest) or a table (Parquet fragments, to be read together in order)."""

    digests: tuple[str, ...]
    metadata: dict[str, Any] | None = None  # system keys q_ext, q_path, q_target; not part of the top digest
    metadata_digest: str | None = None  # blob with the user's metadata
    legacy_table: bool = False  # the old node type TABLE, which has another top digest than FILE

    @property
    def is_table(self) -> bool:
        """Whether the entry loads as a data frame rather than as a file."""
        return self.legacy_table or (self.metadata or {}).get("q_target") == "pandas"


@dataclass(slots=True)
class Group:
    """A folder; the root of a tree is a group too."""

    children: dict[str, "Group | Leaf"] = field(default_factory=dict)
    metadata_digest: str | None = None


Node = Group | Leaf
Path = tuple[str, ...]


def is_digest(text: object) -> bool:
    """Whether ``text`` is a SHA-256 in lower-case hex, 64 characters."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def check_name(name: str) -> None:
    """Refuse what cannot be one component of an entry's path.

    :raises ManifestError: empty, ``.``, ``..``, over 255 characters, a slash or a control character in it,
        or bytes of a file name that are not UTF-8 (Python shows those as lone surrogates).
    """
    if name in {"", ".", ".."} or _CONTROL.search(name) or _SURROGATE.search(name):
        raise ManifestError(f"{name!r} cannot be the name of an entry.")
    if len(name) > MAX_NAME:
        raise ManifestError(f"The name {name[:40]!r}... is longer than {MAX_NAME} characters.")


def parse(tree: object) -> Group:
    """The tree of a decoded JSON document, with every rule of the wire form checked.

    :raises ManifestError: naming the place, for anything the protocol does not allow.
    """
    root_wire = _expect_object(tree, ())
    if root_wire.get("type") != "ROOT":
        raise ManifestError("The top of a contents tree must be of type ROOT.")
    root = Group()
    todo: list[tuple[Mapping[str, Any], Group, Path]] = [(root_wire, root, ())]
    while todo:
        wire, group, path = todo.pop()
        if len(path) > MAX_DEPTH:
            raise ManifestError(f"The contents tree is deeper than {MAX_DEPTH} levels.")
        _expect_keys(wire, _GROUP_KEYS, path)
        group.metadata_digest = _parse_metadata_digest(wire, path)
        for name, child in _expect_object(wire.get("children"), path).items():
            check_name(name)
            child = _expect_object(child, (*path, name))
            if child.get("type") == "GROUP":
                group.children[name] = sub = Group()
                todo.append((child, sub, (*path, name)))
            else:
                group.children[name] = _parse_leaf(child, (*path, name))
    return root


def dump(root: Group) -> dict[str, Any]:
    """The tree as JSON objects; ``parse(dump(root)) == root``."""
    top: dict[str, Any] = {"type": "ROOT", "children": {}}
    todo: list[tuple[Group, dict[str, Any]]] = [(root, top)]
    while todo:
        group, wire = todo.pop()
        if group.metadata_digest is not None:
            wire["metadata_hash"] = group.metadata_digest
        children = wire["children"]
        for name, node in group.children.items():
            if isinstance(node, Group):
                children[name] = {"type": "GROUP", "children": {}}
                todo.append((node, children[name]))
            else:
                children[name] = _dump_leaf(node)
    return top


def get_top_digest(root: Group) -> str:
    """The digest that names a revision: registry protocol, section 3.1.

    Covers names, structure, the digests of blobs and of user metadata; not the system metadata.
    """
    parts: list[bytes] = []
    # A stack instead of recursion. Strings are finished pieces, nodes are still to be opened; what a
    # node consists of is pushed in reverse, so that it is popped in order.
    stack: list[tuple[str, Node] | str] = [("ROOT", root)]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            parts.append(_text(item))
            continue
        kind, node = item
        parts.append(_text(kind))
        if node.metadata_digest is not None:
            stack.append(node.metadata_digest)
        if isinstance(node, Leaf):
            parts.append(_number(len(node.digests)))
            parts.extend(_text(digest) for digest in node.digests)
            continue
        parts.append(_number(len(node.children)))
        for name in sorted(node.children, reverse=True):
            child = node.children[name]
            stack.append((_get_type(child), child))
            stack.append(name)
    return hashlib.sha256(b"".join(parts)).hexdigest()


def list_blobs(node: Node, *, metadata_only: bool = False) -> set[str]:
    """The digests of all blobs that ``node`` and what is below it need."""
    needed: set[str] = set()
    stack = [node]
    while stack:
        node = stack.pop()
        if node.metadata_digest is not None:
            needed.add(node.metadata_digest)
        if isinstance(node, Group):
            stack.extend(node.children.values())
        elif not metadata_only:
            needed.update(node.digests)
    return needed


def list_wire_blobs(tree: Mapping[str, Any]) -> list[str]:
    """:func:`list_blobs` of a decoded JSON document that was checked when it was stored; in its order.

    :raises KeyError, TypeError, AttributeError: if it is not what it was.
    """
    needed: dict[str, None] = {}
    stack = [tree]
    while stack:
        wire = stack.pop()
        if (digest := wire.get("metadata_hash")) is not None:
            needed[digest] = None
        if wire["type"] in ("ROOT", "GROUP"):
            stack += wire["children"].values()
        else:
            needed.update(dict.fromkeys(wire["hashes"]))
    return list(needed)


def walk(node: Node, path: Path = ()) -> Iterator[tuple[Path, Node]]:
    """``node`` and everything below it with its path, parents before children, names in order."""
    stack: list[tuple[Path, Node]] = [(path, node)]
    while stack:
        path, node = stack.pop()
        yield path, node
        if isinstance(node, Group):
            stack.extend(
                (((*path, name), node.children[name])) for name in sorted(node.children, reverse=True)
            )


def find_node(root: Group, path: Path) -> Node | None:
    """The node at ``path``, or None."""
    node: Node | None = root
    for name in path:
        node = node.children.get(name) if isinstance(node, Group) else None
    return node


def add_node(root: Group, path: Path, node: Node) -> None:
    """Put ``node`` at ``path``, making groups on the way.

    :raises ManifestError: if a name is not allowed, taken, or an entry is in the way.
    """
    group = add_group(root, path[:-1])
    check_name(path[-1])
    if path[-1] in group.children:
        raise ManifestError(f"There are two entries named {'/'.join(path)!r}.")
    group.children[path[-1]] = node


def add_group(root: Group, path: Path) -> Group:
    """The group at ``path``, made if it is not there.

    :raises ManifestError: if a name is not allowed or an entry is in the way.
    """
    if len(path) > MAX_DEPTH:
        raise ManifestError(f"The contents tree is deeper than {MAX_DEPTH} levels.")
    group = root
    for depth, name in enumerate(path, start=1):
        child = group.children.get(name)
        if child is None:
            check_name(name)
            child = group.children[name] = Group()
        if not isinstance(child, Group):
            raise ManifestError(f"{'/'.join(path[:depth])!r} would be both an entry and a group.")
        group = child
    return group


def _get_type(node: Node) -> str:
    if isinstance(node, Group):
        return "GROUP"
    return "TABLE" if node.legacy_table else "FILE"


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _text(text: str) -> bytes:
    # The count is of characters, the bytes are UTF-8: so it is defined.
    return len(text).to_bytes(4, "big") + text.encode()


def _place(path: Path) -> str:
    return "/".join(path) or "the top"


def _expect_object(value: object, path: Path) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ManifestError(f"Expected an object at {_place(path)!r} of the contents tree.")
    return value


def _expect_keys(wire: Mapping[str, Any], allowed: set[str], path: Path) -> None:
    unknown = sorted(wire.keys() - allowed)
    if unknown:
        raise ManifestError(f"Unknown key {unknown[0]!r} at {_place(path)!r} of the contents tree.")


def _parse_metadata_digest(wire: Mapping[str, Any], path: Path) -> str | None:
    digest = wire.get("metadata_hash")
    if digest is not None and not is_digest(digest):
        raise ManifestError(f"The metadata of {_place(path)!r} is not named by a SHA-256.")
    return digest


def _parse_leaf(wire: Mapping[str, Any], path: Path) -> Leaf:
    kind = wire.get("type")
    if kind not in ("FILE", "TABLE"):  # A list cannot be looked up in a set, and anyone may send one.
        raise ManifestError(f"Unknown type {kind!r} at {_place(path)!r} of the contents tree.")
    _expect_keys(wire, _LEAF_KEYS | ({"format"} if kind == "TABLE" else set()), path)
    if kind == "TABLE" and wire.get("format") != "PARQUET":
        raise ManifestError(f"The table {_place(path)!r} is not in the format PARQUET.")
    digests, metadata = wire.get("hashes"), wire.get("metadata")
    if not isinstance(digests, list) or not all(is_digest(digest) for digest in digests):
        raise ManifestError(f"The blobs of {_place(path)!r} are not named by a list of SHA-256.")
    if metadata is not None:
        metadata = dict(_expect_object(metadata, path))
    leaf = Leaf(tuple(digests), metadata, _parse_metadata_digest(wire, path), kind == "TABLE")
    if not leaf.is_table and (metadata or {}).get("q_target") == "file" and len(digests) != 1:
        raise ManifestError(f"The file {_place(path)!r} must have exactly one blob.")
    return leaf


def _dump_leaf(leaf: Leaf) -> dict[str, Any]:
    wire: dict[str, Any] = {"type": _get_type(leaf), "hashes": list(leaf.digests)}
    if leaf.legacy_table:
        wire["format"] = "PARQUET"
    if leaf.metadata is not None:
        wire["metadata"] = leaf.metadata
    if leaf.metadata_digest is not None:
        wire["metadata_hash"] = leaf.metadata_digest
    return wire
