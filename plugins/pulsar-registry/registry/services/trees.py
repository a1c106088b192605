"""The tree of a revision, as it is kept."""

from typing import Any, Final

from core import storage
from core.errors import NotFound, Unavailable
from registry.stored import BadStoredTree, StoredTree

__all__ = ["damaged", "load_tree", "open_tree"]

DAMAGED: Final = "The stored tree of this revision is damaged."


def damaged() -> Unavailable:
    """What is answered when the kept bytes are not a tree any more."""
    return Unavailable(DAMAGED, code="damaged")


def open_tree(blob: str) -> StoredTree:
    """The stored tree; its reader, or who closes it, gives the stream back.

    :raises Unavailable: it is damaged, or gone.
    """
    try:
        return StoredTree(storage.store().open(blob))
    except (NotFound, BadStoredTree) as exc:
        raise damaged() from exc


def load_tree(blob: str) -> tuple[Any, dict[str, int]]:
    """The root, and the size of every object of the tree. At 100,000 entries some 100 MB for a moment.

    :raises Unavailable: it is damaged, or gone.
    """
    tree = open_tree(blob)
    try:
        return tree.load(), tree.sizes
    except BadStoredTree as exc:
        raise damaged() from exc
