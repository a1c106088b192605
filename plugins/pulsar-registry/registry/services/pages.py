"""What the page of a package shows."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select

from core import storage
from core.db import db
from core.errors import NotFound
from core.identity import Identity
from registry.manifest import GROUPS
from registry.models import Revision, Tag
from registry.services.packages import Seen, get_package
from registry.services.readmes import find_text
from registry.stored import BadStoredTree, StoredTree

__all__ = ["LISTED_ENTRIES", "Page", "get_page"]

LATEST: Final = "latest"
LISTED_ENTRIES: Final = 1000  # paths on one page; the rest is counted


@dataclass(frozen=True, slots=True)
class Page:
    """A package as a person sees it; ``digest`` is None until something was pushed."""

    seen: Seen
    digest: str | None
    readme: str
    entries: list[tuple[str, int]]  # path, bytes
    left_out: int


def get_page(identity: Identity, owner: str, name: str) -> Page:
    """The package at its ``latest`` tag, or else its newest revision."""
    seen = get_package(identity, owner, name)
    revision = db.session.scalar(
        select(Revision)
        .outerjoin(Tag, (Tag.revision_id == Revision.id) & (Tag.name == LATEST))
        .where(Revision.package_id == seen.package.id)
        .order_by(Tag.name.is_(None), Revision.id.desc())
        .limit(1)
    )
    if revision is None:
        return Page(seen, None, "", [], 0)
    try:
        tree = StoredTree(storage.store().open(revision.tree))
        contents = tree.load()
    except (NotFound, BadStoredTree):
        return Page(seen, revision.digest, "", [], 0)
    entries, count = _list_entries(contents, tree.sizes)
    return Page(seen, revision.digest, find_text(revision.readme) or "", entries, count - len(entries))


def _list_entries(root: Any, sizes: dict[str, int]) -> tuple[list[tuple[str, int]], int]:
    """The first leaves by path with their sizes, and how many there are."""
    found: list[tuple[str, int]] = []
    count = 0
    todo = [(root, "")]
    while todo:
        node, path = todo.pop()
        if node["type"] in GROUPS:
            if len(found) < LISTED_ENTRIES:
                names = sorted(node["children"], reverse=True)
                todo += [(node["children"][name], f"{path}/{name}") for name in names]
            else:
                todo += [(child, "") for child in node["children"].values()]
        else:
            count += 1
            if len(found) < LISTED_ENTRIES:
                found.append((path[1:], sum(sizes[digest] for digest in node["hashes"])))
    return found, count
