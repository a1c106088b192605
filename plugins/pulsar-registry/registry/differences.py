"""What differs between two trees. Nodes as in :mod:`registry.manifest`; no framework, no database."""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from registry.manifest import GROUPS

__all__ = ["KINDS", "Change", "compare", "path_of"]

Node = Mapping[str, Any]
Trail = tuple["Trail", str] | None  # as in the manifest: texts of all paths could take gigabytes
Kind = Literal["added", "removed", "moved", "changed"]
KINDS: Final[tuple[Kind, ...]] = ("added", "removed", "moved", "changed")
FIELDS: Final = ("type", "hashes", "metadata", "metadata_hash")


@dataclass(slots=True)
class Change:
    """One difference.

    :param trail: where the node is; in the old tree if it was removed, else in the new one.
    :param old: the node before; None if it was added.
    :param new: the node after; None if it was removed.
    :param origin: where the node was, if it was moved.
    """

    kind: Kind
    trail: Trail
    old: Node | None
    new: Node | None
    origin: Trail = None

    @property
    def fields(self) -> list[str]:
        """Which of a node's keys differ; ``children`` are nodes of their own."""
        if self.old is None or self.new is None:
            return []
        return [key for key in FIELDS if _value(self.old, key) != _value(self.new, key)]


def compare(old: Node, new: Node) -> list[Change]:
    """The differences between two roots, by path, parts of which compare by code point.

    Files and tables are told of, and groups that are empty or whose own metadata changed; a group that came
    or went is told of by what is in it. A file that went was moved if one with the same objects came.
    """
    changes = list(_walk(old, new))
    gone: dict[tuple[str, ...], deque[Change]] = defaultdict(deque)
    for change in changes:
        if change.kind == "removed" and (key := _objects(change.old)):
            gone[key].append(change)
    moved: set[int] = set()
    for change in changes:
        if change.kind == "added" and (candidates := gone.get(_objects(change.new))):
            origin = candidates.popleft()
            moved.add(id(origin))
            change.kind, change.old, change.origin = "moved", origin.old, origin.trail
    return [change for change in changes if id(change) not in moved]


def path_of(trail: Trail) -> str:
    """``sub/path``; empty for the root."""
    names: list[str] = []
    while trail is not None:
        trail, name = trail
        names.append(name)
    return "/".join(reversed(names))


def _walk(old: Node, new: Node) -> Iterator[Change]:
    todo: list[tuple[Trail, Node | None, Node | None]] = [(None, old, new)]
    while todo:
        trail, before, after = todo.pop()
        if before is not None and after is not None and _is_group(before) != _is_group(after):
            # Neither became the other: one went, another of its name came.
            todo += [(trail, None, after), (trail, before, None)]
            continue
        if change := _compare_one(trail, before, after):
            yield change
        olds, news = _children(before), _children(after)
        names = sorted(olds.keys() | news.keys(), reverse=True)
        todo += [((trail, name), olds.get(name), news.get(name)) for name in names]


def _compare_one(trail: Trail, before: Node | None, after: Node | None) -> Change | None:
    if before is None or after is None:
        node = after if before is None else before
        if node is None or _children(node):
            return None
        return Change("added" if before is None else "removed", trail, before, after)
    change = Change("changed", trail, before, after)
    return change if change.fields else None


def _is_group(node: Node) -> bool:
    return node["type"] in GROUPS


def _children(node: Node | None) -> Mapping[str, Node]:
    return {} if node is None else node.get("children", {})


def _objects(node: Node | None) -> tuple[str, ...]:
    return () if node is None else tuple(node.get("hashes", ()))


def _value(node: Node, key: str) -> Any:
    """Absent, null and empty metadata are one."""
    return node.get(key) or None
