"""Nodes of a revision by their path: ``P@REV`` and ``sub/path``."""

from dataclasses import dataclass
from typing import Any

from core.errors import NotFound
from core.identity import Identity
from registry.manifest import NoSuchNode, find_node
from registry.models import Revision
from registry.services.packages import Seen, get_package
from registry.services.references import LATEST, get_by_reference
from registry.services.trees import load_tree

__all__ = ["Entry", "get_entry", "no_such_entry", "open_revision", "split_handle"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A node, and where it is.

    :param name: its last component; the package's for the root.
    :param sizes: of all objects of the revision.
    """

    seen: Seen
    revision: Revision
    path: str
    name: str
    node: Any
    sizes: dict[str, int]


def split_handle(handle: str) -> tuple[str, str]:
    """Name and reference of ``name@reference``; without one, that is the tag ``latest``."""
    name, at, reference = handle.partition("@")
    return name, reference if at else LATEST


def open_revision(identity: Identity, owner: str, handle: str) -> tuple[Seen, Revision]:
    """The package and the revision that ``owner`` and ``name@reference`` mean.

    :raises NotFound: there is none that ``identity`` may read.
    """
    name, reference = split_handle(handle)
    seen = get_package(identity, owner, name)
    return seen, get_by_reference(seen.package.id, reference)


def no_such_entry(owner: str, handle: str, error: NoSuchNode) -> NotFound:
    """What is answered when a path leads nowhere."""
    return NotFound(f"There is no {str(error.args[0])[:100]!r} in {owner}/{handle}")


def get_entry(identity: Identity, owner: str, handle: str, path: str) -> Entry:
    """The node at ``path``; the root for an empty one.

    :raises NotFound: there is none that ``identity`` may read.
    """
    seen, revision = open_revision(identity, owner, handle)
    root, sizes = load_tree(revision.tree)
    path = path.strip("/")
    try:
        node = find_node(root, path)
    except NoSuchNode as exc:
        raise no_such_entry(owner, handle, exc) from None
    return Entry(seen, revision, path, path.rpartition("/")[2] or seen.package.name, node, sizes)
