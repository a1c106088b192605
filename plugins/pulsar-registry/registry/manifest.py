"""The tree of a package: what is a valid one, its top hash, the objects it needs.

A node is a dict as it stands in JSON. ``ROOT`` and ``GROUP`` have ``children`` (name: node), ``FILE`` and
``TABLE`` have ``hashes``; ``metadata`` is system data and not hashed, ``metadata_hash`` names an object
with the user's. Everything here walks without recursion, so depth is a limit that can be named and not a
crash. No framework, no database.
"""

import hashlib
import math
import operator
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

__all__ = [
    "GROUPS",
    "BadTree",
    "NoSuchNode",
    "Tree",
    "check_tree",
    "find_node",
    "find_objects",
    "find_parquet",
    "find_readme",
    "is_digest",
    "is_parquet",
    "is_shallow",
    "is_table",
    "top_hash",
]

Node = Mapping[str, Any]
# Where a node is: the trail of its parent and its name. A path as text for each node that waits would
# cost gigabytes in a tree made to do so.
Trail = tuple["Trail", str] | None

# The children of the root that introduce the package, the best first. Quilt's clients know the first alone,
# since their names have no dots.
READMES: Final = ("README", "README.md", "README.txt")
MAX_NAME: Final = 255  # characters of a node's name
MAX_METADATA_DEPTH: Final = 64  # lists and objects inside each other
DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
# What no file system and no terminal should meet: control characters, the separator, half a character.
FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f/\ud800-\udfff]")
NAMELESS: Final = frozenset({"", ".", ".."})
PLAIN: Final = frozenset({str, int, bool, type(None)})  # what can always be written as JSON

GROUPS: Final = frozenset({"ROOT", "GROUP"})
KEYS: Final = {
    "ROOT": frozenset({"type", "children", "metadata_hash"}),
    "GROUP": frozenset({"type", "children", "metadata_hash"}),
    "FILE": frozenset({"type", "hashes", "metadata", "metadata_hash"}),
    "TABLE": frozenset({"type", "hashes", "metadata", "metadata_hash", "format"}),
}

_int = Struct(">I").pack
_FLUSH: Final = 4096  # pieces that are joined before they are hashed: one call for many short texts


class BadTree(ValueError):
    """The tree breaks a rule; the message says which, and where."""


class NoSuchNode(LookupError):
    """There is no node at the path; the argument is the component that is not there."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The objects that a tree needs, each once and in the order of the tree.

    :param data: named by ``hashes``.
    :param metadata: named by ``metadata_hash``; an object may be in both.
    """

    data: tuple[str, ...]
    metadata: tuple[str, ...]

    @property
    def objects(self) -> list[str]:
        """Both, each object once."""
        return list(dict.fromkeys(self.data + self.metadata))


def check_tree(root: Any, *, max_depth: int = 100) -> None:
    """Check every rule for a tree, except that its top may be any node.

    :param max_depth: of groups inside groups; files at the top of the tree are at depth 1.
    :raises BadTree: naming the first rule that is broken.
    """
    todo: list[tuple[Any, Trail, int]] = [(root, None, 0)]
    while todo:
        node, trail, depth = todo.pop()
        kind = _check_keys(node, trail)
        if kind == "ROOT" and depth:
            raise _bad("a ROOT can only be at the top", trail)
        if kind in GROUPS:
            if depth >= max_depth:
                raise BadTree(f"the tree is deeper than {max_depth} levels")
            todo += [(child, (trail, name), depth + 1) for name, child in _children(node, trail)]
        else:
            _check_leaf(node, trail)


def _check_keys(node: Any, trail: Trail) -> str:
    if not isinstance(node, dict):
        raise _bad("a node must be an object", trail)
    kind = node.get("type")
    if not isinstance(kind, str) or kind not in KEYS:
        raise _bad("type must be ROOT, GROUP, FILE or TABLE", trail)
    if not KEYS[kind].issuperset(node):
        extra = sorted(node.keys() - KEYS[kind])[0]
        raise _bad(f"a {kind} has no key {_shown(extra)}", trail)
    given = node.get("metadata_hash")
    if given is not None and not is_digest(given):
        raise _bad("metadata_hash is not a SHA-256 in lower-case hex", trail)
    return kind


def _children(node: Node, trail: Trail) -> Iterable[tuple[str, Any]]:
    children = node.get("children")
    if not isinstance(children, dict):
        raise _bad("children must be an object", trail)
    if not _are_names(children):
        wrong = next(name for name in children if not _are_names((name,)))
        raise _bad(f"{_shown(wrong)} cannot be the name of a node", trail)
    return children.items()


def _are_names(names: Collection[str]) -> bool:
    longest = max(map(len, names), default=0)
    return longest <= MAX_NAME and NAMELESS.isdisjoint(names) and not FORBIDDEN.search("".join(names))


def _check_leaf(node: Node, trail: Trail) -> None:
    hashes = node.get("hashes")
    if not isinstance(hashes, list) or not _are_digests(hashes):
        raise _bad("hashes must be a list of SHA-256 in lower-case hex", trail)
    if node["type"] == "TABLE" and node.get("format") != "PARQUET":
        raise _bad("the format of a TABLE must be PARQUET", trail)
    metadata = node.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise _bad("metadata must be an object", trail)
    if metadata:
        _check_metadata(metadata, trail)


def _check_metadata(metadata: dict[str, Any], trail: Trail) -> None:
    """Free, as long as it can be written as JSON again."""
    if PLAIN.issuperset(map(type, metadata.values())):
        return
    for level in _levels(metadata):
        if any(isinstance(value, float) and not math.isfinite(value) for value in level):
            raise _bad("metadata holds a number that is too large", trail)
    if not is_shallow(metadata):
        raise _bad(f"metadata is deeper than {MAX_METADATA_DEPTH} levels", trail)


def is_shallow(metadata: Any) -> bool:
    """Whether lists and objects are at most :data:`MAX_METADATA_DEPTH` inside each other."""
    return sum(1 for _ in _levels(metadata)) <= MAX_METADATA_DEPTH


def _levels(metadata: Any) -> Iterable[list[Any]]:
    """The values of each depth, down to one level more than there may be."""
    level: list[Any] = [metadata]
    for _ in range(MAX_METADATA_DEPTH + 1):
        if not level:
            return
        yield level
        level = [inner for value in level for inner in _inside(value)]


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def is_digest(value: Any) -> bool:
    """Whether ``value`` is a SHA-256 as it is written here: 64 lower-case hex digits."""
    return isinstance(value, str) and DIGEST.fullmatch(value) is not None


def _are_digests(values: list[Any]) -> bool:
    try:
        return all(map(DIGEST.fullmatch, values))
    except TypeError:  # not a text
        return False


def _bad(reason: str, trail: Trail) -> BadTree:
    names: list[str] = []
    while trail is not None:
        trail, name = trail
        names.append(name)
    return BadTree(f"{reason} (at {_shown('/'.join(reversed(names)))})" if names else reason)


def _shown(text: str) -> str:
    """``text`` as a message can carry it: printable and not long."""
    return repr(text if len(text) <= 100 else text[:100] + "...")


def top_hash(root: Node) -> str:
    """The SHA-256 that names the tree; ``root`` must have passed :func:`check_tree`.

    For each node its type, then the hashes, or the children by name in the order of code points, then the
    metadata hash if there is one. Numbers are four bytes, texts are preceded by their number of *characters*.
    Inline metadata, format and sizes are not covered.
    """
    digest = hashlib.sha256()
    pieces: list[bytes] = []
    todo: list[tuple[str, Node | None]] = [("", root)]  # a text, unless it is empty, and then a node
    while todo:
        text, node = todo.pop()
        if text:
            pieces.append(_text(text))
        if node is None:
            continue
        kind, tail = node["type"], node.get("metadata_hash")
        pieces.append(_TYPES[kind])
        if kind in GROUPS:
            children = node["children"]
            pieces.append(_int(len(children)))
            if tail is not None:
                todo.append((tail, None))
            todo += sorted(children.items(), key=_by_name, reverse=True)
        else:
            hashes = node["hashes"]
            pieces.append(_int(len(hashes)))
            pieces += map(_text, hashes)
            if tail is not None:
                pieces.append(_text(tail))
        if len(pieces) > _FLUSH:
            digest.update(b"".join(pieces))
            pieces.clear()
    digest.update(b"".join(pieces))
    return digest.hexdigest()


_by_name: Final = operator.itemgetter(0)  # nodes cannot be compared


def _text(text: str) -> bytes:
    return _int(len(text)) + text.encode()


_TYPES: Final = {kind: _text(kind) for kind in KEYS}


def find_objects(root: Node) -> Tree:
    """The objects that the nodes below ``root``, and ``root`` itself, need."""
    data: dict[str, None] = {}
    metadata: dict[str, None] = {}
    todo = [root]
    while todo:
        node = todo.pop()
        if given := node.get("metadata_hash"):
            metadata[given] = None
        if node["type"] in GROUPS:
            todo += reversed(node["children"].values())
        else:
            data |= dict.fromkeys(node["hashes"])
    return Tree(tuple(data), tuple(metadata))


def find_node(root: Node, path: str) -> Node:
    """The node at ``path``, names separated by slashes; the root itself for an empty one.

    :raises NoSuchNode: with the component that is not there.
    """
    node = root
    for name in path.split("/") if path else ():
        children = node.get("children", {})
        if name not in children:
            raise NoSuchNode(name)
        node = children[name]
    return node


def is_table(leaf: Node) -> bool:
    """Whether a leaf is a data frame, whose objects are Parquet, rather than a file."""
    metadata = leaf.get("metadata") or {}
    return leaf["type"] == "TABLE" or metadata.get("q_target") == "pandas"


def is_parquet(name: str, leaf: Node) -> bool:
    """Whether the objects of a leaf should be Parquet, by what it is and how it is called."""
    metadata = leaf.get("metadata") or {}
    path = metadata.get("q_path")
    return (
        is_table(leaf)
        or metadata.get("q_ext") == "parquet"
        or name.lower().endswith(".parquet")
        or (isinstance(path, str) and path.lower().endswith(".parquet"))
    )


def find_parquet(root: Node) -> list[str]:
    """The objects of all leaves that should be Parquet, each once and in the order of the tree."""
    found: dict[str, None] = {}
    todo = [root]
    while todo:
        for name, node in todo.pop()["children"].items():
            if node["type"] in GROUPS:
                todo.append(node)
            elif is_parquet(name, node):
                found |= dict.fromkeys(node["hashes"])
    return list(found)


def find_readme(root: Node) -> str | None:
    """The object that holds the text of the readme, if the tree has one."""
    for name in READMES:
        node = root["children"].get(name)
        if node is not None and node["type"] == "FILE" and len(node["hashes"]) == 1 and not is_table(node):
            digest: str = node["hashes"][0]
            return digest
    return None
