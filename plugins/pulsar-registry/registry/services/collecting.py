"""Give up what no revision needs any more, and let the sweep of the store remove what nobody refers to.

A package refers to objects by rows (:class:`registry.models.PackageObject`). They go with the package;
those of revisions that were removed by other means stay and keep their blobs. Here each package's rows are
held against the trees of its revisions: outside of any lock, because trees are large; then, under the lock
that every push takes, only whether the trees are still the same. So a push that comes in between loses
nothing, and the sweep has its own way of not taking what a push is just claiming
(:mod:`core.storage.sweeping`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from core import storage
from core.db import db, now, own_transaction
from core.errors import NotFound
from core.storage.models import Blob
from core.storage.references import is_referred_to, list_referrers
from core.storage.rows import batches
from registry.models import Package, PackageObject, Revision
from registry.services import quotas
from registry.services.packages import lock_package
from registry.stored import BadStoredTree, StoredTree

__all__ = ["Collected", "collect", "iter_package_ids"]


@dataclass
class Collected:
    """What was removed, or would be.

    :param objects: rows of packages that none of their revisions needs.
    :param skipped: packages that changed meanwhile, or have a tree that cannot be read.
    :param blobs: blobs that nobody refers to, for longer than the grace; ``bytes``: their size together.
    :param waiting_bytes: of those that nobody refers to, and whose grace is not over.
    """

    objects: int = 0
    skipped: int = 0
    blobs: int = 0
    bytes: int = 0
    waiting_bytes: int = 0

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)


def collect(*, grace: timedelta, dry_run: bool = False) -> Collected:
    """Give up and sweep; commits as it goes. Any number may run at once, and beside pushes.

    What a dry run would give up is not among its blobs: their grace would only begin.
    """
    report = Collected()
    for package_id in iter_package_ids():
        given_up = _give_up(package_id, dry_run=dry_run)
        report.objects += given_up or 0
        report.skipped += given_up is None
    swept = storage.sweep(storage.store().backend, grace=grace, dry_run=dry_run)
    report.blobs, report.bytes = swept.blobs, swept.bytes
    report.waiting_bytes = _count_waiting(grace)
    return report


def iter_package_ids() -> Iterator[int]:
    """Every package, some hundred at a time."""
    last = 0
    while True:
        with own_transaction() as session:
            found = session.scalars(
                select(Package.id).where(Package.id > last).order_by(Package.id).limit(500)
            ).all()
        if not found:
            return
        yield from found
        last = found[-1]


def _give_up(package_id: int, *, dry_run: bool) -> int | None:
    """How many rows were deleted; None if that could not be decided now."""
    with own_transaction() as session:
        trees = _list_trees(session, package_id)
    try:
        needed = {digest for _, tree in trees for digest in _read_objects(tree)}
    except (NotFound, BadStoredTree):
        return None
    with own_transaction() as session:
        package = lock_package(session, package_id)
        if package is None:
            return 0
        if _list_trees(session, package_id) != trees:
            return None
        held = select(PackageObject.digest).where(PackageObject.package_id == package_id)
        stale = sorted(set(session.scalars(held)) - needed)
        if stale and not dry_run:
            usage = quotas.lock_usage(session, package.owner_id)
            for batch in batches(stale):
                session.execute(
                    delete(PackageObject).where(
                        PackageObject.package_id == package_id, PackageObject.digest.in_(batch)
                    )
                )
            usage.bytes = quotas.count_used(session, package.owner_id)
        return len(stale)


def _list_trees(session: Session, package_id: int) -> Sequence[Any]:
    query = select(Revision.id, Revision.tree).where(Revision.package_id == package_id)
    return session.execute(query.order_by(Revision.id)).all()


def _read_objects(tree: str) -> list[str]:
    try:
        stored = StoredTree(storage.store().open(tree))
    finally:
        db.session.rollback()  # nothing was changed; a long reading transaction would hold others up
    stored.close()
    return list(stored.sizes)


def _count_waiting(grace: timedelta) -> int:
    at = now()
    with own_transaction() as session:
        named = is_referred_to(list_referrers(session))
        is_waiting = func.coalesce(Blob.idle_since, at) > at - grace
        query = select(func.coalesce(func.sum(Blob.size), 0)).where(~named, is_waiting)
        return int(session.scalars(query).one())
