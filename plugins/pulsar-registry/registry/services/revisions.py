"""Revisions of a package: read one, list them."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import aliased

from core.db import db
from core.errors import NotFound, Unavailable
from core.events import emit
from core.identity import Identity
from core.sharing import Level
from core.storage.models import Blob
from core.storage.rows import batches
from core.users.models import User
from registry.events import RegistryEvents
from registry.manifest import NoSuchNode, find_node, find_objects
from registry.models import Package, PackageObject, Revision
from registry.services import access
from registry.services.packages import Seen, find_package, get_package
from registry.services.trees import damaged, load_tree, open_tree
from registry.stored import BadStoredTree, StoredTree

__all__ = [
    "Described",
    "Installable",
    "describe",
    "find_numbered",
    "find_revision",
    "get_revision",
    "get_revision_id",
    "is_complete",
    "list_hashes",
]

Creator, Updater = aliased(User), aliased(User)


@dataclass(frozen=True, slots=True)
class Described:
    """A revision, and who pushed it first and last when."""

    seen: Seen
    revision: Revision
    created_by: str | None
    updated_by: str | None

    @property
    def times(self) -> dict[str, Any]:
        """As the protocol has them."""
        return {
            "created_by": self.created_by,
            "created_at": self.revision.created_at.timestamp(),
            "updated_by": self.updated_by,
            "updated_at": self.revision.updated_at.timestamp(),
        }


@dataclass(frozen=True, slots=True)
class Installable:
    """A revision that is about to be sent.

    :param times: who pushed it first and last when.
    :param tree: its tree, open; or None where it had to be read, and is in ``contents``.
    :param sizes: of the objects that were asked for.
    """

    times: dict[str, Any]
    tree: StoredTree | None
    contents: Any
    sizes: dict[str, int]

    def iter_contents(self) -> Iterator[bytes]:
        """The JSON text of the tree, as it was pushed.

        :raises Unavailable: what is kept of it is damaged.
        """
        if self.tree is None:
            yield json.dumps(self.contents).encode()
            return
        try:
            yield from self.tree.iter_text()
        except BadStoredTree as exc:
            raise damaged() from exc


def describe(identity: Identity, owner: str, name: str, digest: str) -> Described:
    """The revision of that top hash.

    :raises NotFound: ``Package hash does not exist``, also if the caller may not see the package.
    """
    seen = find_package(identity, owner, name)
    row = (
        seen
        and db.session.execute(
            select(Revision, Creator.username, Updater.username)
            .outerjoin(Creator, Creator.id == Revision.created_by)
            .outerjoin(Updater, Updater.id == Revision.updated_by)
            .where(Revision.package_id == seen.package.id, Revision.digest == digest)
        ).one_or_none()
    )
    if not seen or not row:
        raise NotFound("Package hash does not exist")
    return Described(seen, *row)


def get_revision(
    identity: Identity, owner: str, name: str, digest: str, *, path: str = "", meta_only: bool = False
) -> Installable:
    """The revision, with the objects below ``path``, or only their metadata.

    The metadata objects of the whole tree are always among them: the client cannot load a package without.

    :raises NotFound: ``Package hash does not exist``, also if the caller may not see the package;
        ``Invalid subpath: ...``
    """
    found = describe(identity, owner, name, digest)
    opened = _open(found.revision.tree, path, meta_only)
    target = f"package:{owner}/{name}"
    emit(RegistryEvents.PACKAGE_INSTALLED, target=target, hash=digest, subpath=path, meta_only=meta_only)
    return Installable(found.times, *opened)


def _open(blob: str, path: str, meta_only: bool) -> tuple[StoredTree | None, Any, dict[str, int]]:
    if not path:
        tree = open_tree(blob)
        wanted = tree.metadata if meta_only else tree.sizes
        return tree, None, {digest: tree.sizes[digest] for digest in wanted}
    contents, sizes = load_tree(blob)
    try:
        below = find_objects(find_node(contents, path))
    except NoSuchNode as exc:
        raise NotFound(f"Invalid subpath: {exc.args[0]!r}") from None
    asked = () if meta_only else below.objects
    metadata = find_objects(contents).metadata
    return None, contents, {digest: sizes[digest] for digest in (*asked, *metadata)}


def is_complete(revision: Revision) -> bool:
    """Whether everything that the revision needs is here, and sound as far as verification has looked.

    Blobs that a package refers to are not removed, so what it lacks is what was found damaged. Mostly there
    is nothing of that kind in the whole package, which an index tells; only otherwise the tree is read.
    """
    in_package = exists().where(
        PackageObject.package_id == revision.package_id, PackageObject.digest == Blob.digest
    )
    query = select(Blob.digest).where(
        Blob.damaged_at.is_not(None), or_(Blob.digest == revision.tree, in_package)
    )
    rotten = set(db.session.scalars(query))
    if not rotten:
        return True
    if revision.tree in rotten:
        return False
    try:
        tree = open_tree(revision.tree)
    except Unavailable:
        return False
    tree.close()
    return rotten.isdisjoint(tree.sizes)


def find_revision(package_id: int, digest: str) -> Revision | None:
    """The revision of that top hash, in this package."""
    return db.session.scalar(
        select(Revision).where(Revision.package_id == package_id, Revision.digest == digest)
    )


def find_numbered(identity: Identity, numbers: Iterable[int]) -> dict[int, tuple[str, Revision]]:
    """By their numbers ``owner/name`` and the revision, of those whose package ``identity`` may read.

    :param numbers: of at most 18 digits each; a statement for some hundred of them.
    """
    query = (
        select(User.username, Package.name, Revision)
        .join(Package, Package.id == Revision.package_id)
        .join(User, User.id == Package.owner_id)
        .where(access.may(Level.READ, identity))
    )
    return {
        revision.id: (f"{owner}/{name}", revision)
        for part in batches(numbers)
        for owner, name, revision in db.session.execute(query.where(Revision.id.in_(part)))
    }


def get_revision_id(package_id: int, digest: str) -> int:
    """:raises NotFound: ``Package hash does not exist``; a hash of another package does not."""
    found = find_revision(package_id, digest)
    if found is None:
        raise NotFound("Package hash does not exist")
    return found.id


def list_hashes(identity: Identity, owner: str, name: str) -> Sequence[str]:
    """The top hashes of every revision, oldest first."""
    package = get_package(identity, owner, name).package
    return db.session.scalars(
        select(Revision.digest).where(Revision.package_id == package.id).order_by(Revision.id)
    ).all()
