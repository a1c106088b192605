"""How many bytes the packages of one owner may need.

Counted is each object once, however many revisions and packages of the owner name it; stored trees are
not. The sum is kept (:class:`registry.models.Usage`) and changed under the lock of its row, in the
transaction that changes what is counted: so two pushes at once cannot both take the last room.

What a caller is told *before* he has sent anything counts what he may not read as new, though the owner
may have it in another package: a digest alone must not tell anybody what others own.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from flask import current_app
from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session, aliased

from core.db import db
from core.identity import Identity
from core.sharing import Level
from core.storage.models import Blob
from core.storage.rows import find_among, write_rows
from registry.errors import OverQuota
from registry.models import Package, PackageObject, Usage
from registry.services import access

__all__ = [
    "Payer",
    "add",
    "check_room",
    "count_new",
    "count_used",
    "free",
    "get_room",
    "is_limited",
    "lock_usage",
    "new_to",
]


@dataclass(frozen=True, slots=True)
class Payer:
    """Whose quota a push fills.

    :param is_told: whether the caller may hear how full it is.
    """

    owner_id: int
    owner: str
    is_told: bool


def is_limited() -> bool:
    """Whether this site has a quota at all."""
    return current_app.config["REGISTRY_QUOTA_BYTES"] is not None


def get_room(payer: Payer) -> int | None:
    """Bytes that are free, at this moment; None without a quota."""
    most = current_app.config["REGISTRY_QUOTA_BYTES"]
    return None if most is None else max(0, most - _used(payer))


def check_room(payer: Payer, wanted: int) -> None:
    """:raises OverQuota: if there is no room for ``wanted`` bytes more, at this moment."""
    if wanted and is_limited():
        _check(payer, _used(payer), wanted)


def _used(payer: Payer) -> int:
    return db.session.scalar(select(Usage.bytes).where(Usage.owner_id == payer.owner_id)) or 0


def _check(payer: Payer, used: int, wanted: int) -> None:
    most = current_app.config["REGISTRY_QUOTA_BYTES"]
    if most is not None and used + wanted > most:
        raise OverQuota(payer.owner, used, wanted, most, is_told=payer.is_told)


def count_new(payer: Payer, identity: Identity, sizes: Mapping[str, int]) -> int:
    """Bytes of those objects that no package holds which is the payer's, and which ``identity`` may read."""
    mine = select(PackageObject.digest).join(Package, Package.id == PackageObject.package_id)
    mine = mine.where(Package.owner_id == payer.owner_id, access.may(Level.READ, identity))
    known = {digest for (digest,) in find_among(db.session, mine, PackageObject.digest, sizes)}
    return sum(size for digest, size in sizes.items() if digest not in known)


def lock_usage(session: Session, owner_id: int) -> Usage:
    """The kept sum; other changes to it wait until the transaction ends. Lock the package before."""
    query = select(Usage).where(Usage.owner_id == owner_id).with_for_update()
    found = session.scalar(query.execution_options(populate_existing=True))
    if found is None:
        write_rows(session, Usage, [{"owner_id": owner_id, "bytes": 0}])
        found = session.scalars(query.execution_options(populate_existing=True)).one()
    return found


def count_used(session: Session, owner_id: int) -> int:
    """What the kept sum should be. Looks at every object of the owner."""
    held = select(PackageObject.digest).join(Package, Package.id == PackageObject.package_id)
    needed = held.where(Package.owner_id == owner_id).distinct().subquery()
    query = select(func.coalesce(func.sum(Blob.size), 0)).join(needed, needed.c.digest == Blob.digest)
    return int(session.scalars(query).one())


def new_to(usage: Usage, digests: Collection[str]) -> set[str]:
    """Those of ``digests`` that no package of the owner holds; its sum must be locked."""
    held = select(PackageObject.digest).join(Package, Package.id == PackageObject.package_id)
    query = held.where(Package.owner_id == usage.owner_id)
    return set(digests) - {
        digest for (digest,) in find_among(db.session, query, PackageObject.digest, digests)
    }


def add(usage: Usage, payer: Payer, wanted: int) -> None:
    """:raises OverQuota: if ``wanted`` bytes more are too many."""
    if wanted:
        _check(payer, usage.bytes, wanted)
        usage.bytes += wanted


def free(package: Package) -> None:
    """Take what only this package of its owner holds off the sum, before it is deleted."""
    usage = lock_usage(db.session, package.owner_id)
    other, of_owner = aliased(PackageObject), aliased(Package)
    elsewhere = exists().where(
        other.digest == PackageObject.digest,
        other.package_id != package.id,
        of_owner.id == other.package_id,
        of_owner.owner_id == package.owner_id,
    )
    query = select(func.coalesce(func.sum(Blob.size), 0)).join(
        PackageObject, PackageObject.digest == Blob.digest
    )
    query = query.where(PackageObject.package_id == package.id, ~elsewhere)
    usage.bytes -= int(db.session.scalars(query).one())
