"""One file or table of a revision, by its path."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from core.errors import BadRequest, Conflict, NotFound
from core.identity import Identity
from registry.manifest import GROUPS, NoSuchNode, find_node, is_parquet
from registry.services.entries import no_such_entry, open_revision
from registry.services.trees import load_tree

__all__ = ["PARQUET", "Download", "file_name", "find_download"]

PARQUET: Final = "application/vnd.apache.parquet"
CACHED: Final = 1024  # files whose place is remembered: who reads in ranges asks for one again and again
NAME: Final = 255  # characters


@dataclass(frozen=True, slots=True)
class Download:
    """An object, and what a browser should make of it."""

    digest: str
    name: str
    media_type: str  # empty: not known


class _SeveralFragments(Exception):
    """Nobody said which one; the argument is their number."""


def find_download(
    identity: Identity, owner: str, handle: str, path: str, fragment: int | None = None
) -> Download:
    """The object of the file at ``path`` of ``name@reference``.

    :param fragment: which one of a table of several, from 0.
    :raises NotFound: there is none that ``identity`` may read, or it is a group.
    :raises Conflict: ``several_fragments``, and none was chosen.
    """
    _, revision = open_revision(identity, owner, handle)
    try:
        # By the digest of the tree, which says all: what was found once holds for ever.
        return _find(revision.tree, path, fragment)
    except NoSuchNode as exc:
        raise no_such_entry(owner, handle, exc) from None
    except _SeveralFragments as exc:
        raise Conflict(
            f"This table has {exc.args[0]} fragments; ask for one with ?fragment=0 to {exc.args[0] - 1}.",
            code="several_fragments",
        ) from None


@lru_cache(CACHED)
def _find(tree: str, path: str, fragment: int | None) -> Download:
    node = find_node(load_tree(tree)[0], path)
    if node["type"] in GROUPS:
        raise BadRequest("This is a group; ask for a file in it.", code="is_a_group")
    hashes = node["hashes"]
    if fragment is None and len(hashes) > 1:
        raise _SeveralFragments(len(hashes))
    if (fragment or 0) >= len(hashes):
        raise NotFound(f"There is no fragment {fragment or 0}; this table has {len(hashes)}")
    name = path.rpartition("/")[2]
    table = is_parquet(name, node)
    return Download(hashes[fragment or 0], file_name(name, node, table), PARQUET if table else "")


def file_name(name: str, node: Any, table: bool) -> str:
    """What the file was called before it came here, with the ending of what it is now."""
    called = (node.get("metadata") or {}).get("q_path")
    if isinstance(called, str) and (last := re.split(r"[/\\]", called)[-1]):
        name = last
    if table and not name.lower().endswith(".parquet"):
        name = f"{name.rpartition('.')[0] or name}.parquet"
    return name[-NAME:]
