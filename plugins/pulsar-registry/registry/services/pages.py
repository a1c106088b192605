"""What the pages for people show."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, select

from core.db import db
from core.errors import NotFound, Unavailable
from core.events import emit
from core.identity import Identity
from core.users.models import User
from registry.events import RegistryEvents
from registry.manifest import GROUPS, NoSuchNode, find_node, is_parquet, is_table
from registry.models import LogEntry, Revision, Tag, Version
from registry.services.entries import no_such_entry
from registry.services.packages import Seen, get_package
from registry.services.readmes import find_text
from registry.services.references import find_latest, get_by_reference
from registry.services.statistics import FRAGMENTS, ask_for, find_heads, find_statistics, read_text
from registry.services.trees import load_tree

__all__ = ["Listed", "NodePage", "PackagePage", "get_node_page", "get_package_page"]

LISTED: Final = 200  # nodes of a group on one page
PUSHES: Final = 20  # on one page
NAMED: Final = 100  # tags, and versions, that are shown
COLUMNS: Final = 200  # of a table that are described
METADATA: Final = 4096  # characters of inline metadata that are shown


@dataclass(frozen=True, slots=True)
class Listed:
    """A node of a group; ``size`` in bytes, or the number of nodes in a group."""

    name: str
    kind: str  # "group", "table" or "file"
    size: int


@dataclass(frozen=True, slots=True)
class Group:
    """A page of the nodes of a group: groups first, then by name."""

    listed: Sequence[Listed]
    total: int
    page: int

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // LISTED))


@dataclass(frozen=True, slots=True)
class PackagePage:
    """A package at one revision; ``revision`` is None until something was pushed.

    ``group`` is None if the tree is damaged.
    """

    seen: Seen
    revision: Revision | None
    readme: str | None
    group: Group | None
    size: int
    metadata: str | None
    tags: Sequence[tuple[str, str]]
    versions: Sequence[tuple[str, str]]
    pushes: Sequence[tuple[str, datetime, str | None]]
    n_pushes: int
    pushes_page: int

    @property
    def pushes_pages(self) -> int:
        return max(1, -(-self.n_pushes // PUSHES))


@dataclass(frozen=True, slots=True)
class NodePage:
    """A group, a file or a table. ``state`` and what follows it are as in the statistics of a table."""

    seen: Seen
    revision: Revision
    path: str
    group: Group | None
    size: int = 0
    hashes: Sequence[str] = ()
    n_fragments: int = 0
    inline: str = ""
    metadata: str | None = None
    state: str = "none"
    rows: int = 0
    n_columns: int = 0
    columns: Sequence[dict[str, Any]] = ()
    head: dict[str, Any] | None = None
    text: str | None = None


def get_package_page(
    identity: Identity, owner: str, name: str, reference: str | None, *, page: int = 1, pushes: int = 1
) -> PackagePage:
    """The package at the revision that ``reference`` means; without one at ``latest``, or else the newest.

    :param page: of the nodes in the root; :param pushes: which page of the pushes.
    :raises NotFound: there is none that ``identity`` may read.
    """
    seen, revision = _open(identity, owner, name, reference)
    group, size, metadata = None, 0, None
    if revision is not None:
        try:
            root, sizes = load_tree(revision.tree)
            group, size = _list_group(root, sizes, page), sum(sizes.values())
            metadata = _read_metadata(root)
        except Unavailable:
            pass  # what else is known of the package is shown
        emit(RegistryEvents.PACKAGE_PREVIEWED, target=f"package:{owner}/{name}", hash=revision.digest)
    log, n_pushes = _list_pushes(seen.package.id, pushes)
    return PackagePage(
        seen=seen,
        revision=revision,
        readme=None if revision is None else find_text(revision.readme),
        group=group,
        size=size,
        metadata=metadata,
        tags=_names(Tag, Tag.name, seen.package.id),
        versions=_names(Version, Version.version, seen.package.id),
        pushes=log,
        n_pushes=n_pushes,
        pushes_page=pushes,
    )


def get_node_page(
    identity: Identity, owner: str, name: str, reference: str | None, path: str, *, page: int = 1
) -> NodePage:
    """The node at ``path``.

    :raises NotFound: there is none that ``identity`` may read.
    """
    seen, revision = _open(identity, owner, name, reference)
    if revision is None:
        raise NotFound(f"There is nothing in {owner}/{name} yet")
    root, sizes = load_tree(revision.tree)
    try:
        node = find_node(root, path)
    except NoSuchNode as exc:
        raise no_such_entry(owner, name, exc) from None
    if node["type"] in GROUPS:
        return NodePage(seen, revision, path, _list_group(node, sizes, page), metadata=_read_metadata(node))
    hashes = node["hashes"]
    return NodePage(
        seen=seen,
        revision=revision,
        path=path,
        group=None,
        size=sum(sizes[digest] for digest in hashes),
        hashes=hashes[:FRAGMENTS],
        n_fragments=len(hashes),
        inline=json.dumps(node.get("metadata") or {}, indent=2, ensure_ascii=False)[:METADATA],
        metadata=_read_metadata(node),
        **_describe_leaf(path.rpartition("/")[2], node, revision),
    )


def _open(identity: Identity, owner: str, name: str, reference: str | None) -> tuple[Seen, Revision | None]:
    seen = get_package(identity, owner, name)
    package_id = seen.package.id
    return seen, find_latest(package_id) if reference is None else get_by_reference(package_id, reference)


def _list_group(group: Any, sizes: dict[str, int], page: int) -> Group:
    children = group["children"]
    order = sorted(children, key=lambda name: (children[name]["type"] not in GROUPS, name))
    shown = order[(page - 1) * LISTED : page * LISTED]
    return Group([_list_node(name, children[name], sizes) for name in shown], len(order), page)


def _list_node(name: str, node: Any, sizes: dict[str, int]) -> Listed:
    if node["type"] in GROUPS:
        return Listed(name, "group", len(node["children"]))
    size = sum(sizes[digest] for digest in node["hashes"])
    return Listed(name, "table" if is_table(node) else "file", size)


def _read_metadata(node: Any) -> str | None:
    """How the user's metadata begin, if there are any."""
    digest = node.get("metadata_hash")
    return read_text([digest]) if digest else None


def _describe_leaf(name: str, node: Any, revision: Revision) -> dict[str, Any]:
    hashes = node["hashes"]
    if not is_parquet(name, node):
        return {"text": read_text(hashes)}
    shown = hashes[:FRAGMENTS]
    known = find_statistics(shown)
    if len(known) < len(set(shown)):
        ask_for(revision.id)
        return {"state": "waiting"}
    parts = [known[digest] for digest in shown]
    if any("wrong" in part for part in parts):
        return {"state": "wrong"}
    if not parts or len(hashes) > FRAGMENTS:
        return {"state": "none"}
    first = parts[0]
    return {
        "state": "ready",
        "rows": sum(part["rows"] for part in parts),
        "n_columns": first["n_columns"],
        "columns": first["columns"][:COLUMNS],
        "head": find_heads(shown[:1]).get(shown[0]),
    }


def _names(model: Any, column: Any, package_id: int) -> list[tuple[str, str]]:
    """``(name, top hash)`` of tags or versions, the newest first of all."""
    query = select(column, Revision.digest).join(Revision, Revision.id == model.revision_id)
    query = query.where(model.package_id == package_id).order_by(model.created_at.desc(), column)
    return [(name, digest) for name, digest in db.session.execute(query.limit(NAMED))]


def _list_pushes(package_id: int, page: int) -> tuple[list[tuple[str, datetime, str | None]], int]:
    """``(top hash, time, who)``, newest first, and how many there are."""
    wanted = LogEntry.package_id == package_id
    rows = db.session.execute(
        select(LogEntry.digest, LogEntry.created_at, User.username)
        .outerjoin(User, User.id == LogEntry.author_id)
        .where(wanted)
        .order_by(LogEntry.id.desc())
        .limit(PUSHES)
        .offset((page - 1) * PUSHES)
    )
    total = db.session.scalar(select(func.count()).select_from(LogEntry).where(wanted)) or 0
    return [(digest, created_at, author) for digest, created_at, author in rows], total
