"""What the page of a package shows."""

from dataclasses import dataclass
from typing import Any, Final

from core.errors import Unavailable
from core.identity import Identity
from registry.manifest import GROUPS
from registry.services.packages import Seen, get_package
from registry.services.readmes import find_text
from registry.services.references import find_latest
from registry.services.trees import load_tree

__all__ = ["LISTED_ENTRIES", "Page", "get_page"]

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
    revision = find_latest(seen.package.id)
    if revision is None:
        return Page(seen, None, "", [], 0)
    try:
        contents, sizes = load_tree(revision.tree)
    except Unavailable:
        return Page(seen, revision.digest, "", [], 0)
    entries, count = _list_entries(contents, sizes)
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
