"""How much there is: for people who run the site."""

from typing import Any

from sqlalchemy import exists, func, select

from core.db import db
from core.storage.models import Blob
from core.users.models import User
from registry.models import LogEntry, Package, PackageObject, Revision, Usage

__all__ = ["count"]


def count() -> dict[str, Any]:
    """Numbers of the whole registry, and of each owner by name. Bytes are of distinct objects or trees."""
    objects = exists().where(PackageObject.digest == Blob.digest)
    trees = exists().where(Revision.tree == Blob.digest)
    columns = func.count(), func.coalesce(func.sum(Blob.size), 0)
    number, size = db.session.execute(select(*columns).select_from(Blob).where(objects)).one()
    tree_bytes = db.session.scalars(select(columns[1]).where(trees)).one()
    return {
        "packages": _rows(Package),
        "revisions": _rows(Revision),
        "pushes": _rows(LogEntry),
        "objects": number,
        "bytes": int(size),
        "tree_bytes": int(tree_bytes),
        "owners": _count_owners(),
    }


def _rows(model: Any) -> int:
    return db.session.scalars(select(func.count()).select_from(model)).one()


def _count_owners() -> dict[str, dict[str, int]]:
    revisions = (
        select(Revision.package_id, func.count().label("number")).group_by(Revision.package_id).subquery()
    )
    query = (
        select(
            User.username,
            func.count(Package.id),
            func.coalesce(func.sum(revisions.c.number), 0),
            func.coalesce(func.max(Usage.bytes), 0),
        )
        .join(Package, Package.owner_id == User.id)
        .outerjoin(revisions, revisions.c.package_id == Package.id)
        .outerjoin(Usage, Usage.owner_id == User.id)
        .group_by(User.username)
        .order_by(User.username)
    )
    return {
        name: {"packages": packages, "revisions": int(number), "bytes": int(size)}
        for name, packages, number, size in db.session.execute(query)
    }
