"""Which revision somebody means: a top hash or its beginning, a tag, a version."""

import re
from typing import Final

from sqlalchemy import ColumnElement, select

from core.db import db
from core.errors import BadRequest, NotFound
from registry.manifest import is_digest
from registry.models import Revision, Tag, Version
from registry.services.versions import version_key

__all__ = ["LATEST", "find_latest", "find_tagged", "get_by_reference"]

LATEST: Final = "latest"
LONGEST: Final = 64  # characters of any of them
PREFIX: Final = re.compile(r"[0-9a-fA-F]{6,63}", re.ASCII)


def get_by_reference(package_id: int, reference: str) -> Revision:
    """The revision meant: a whole top hash, else a tag, else a version, else the beginning of a top hash.

    :param reference: a beginning has at least 6 characters, in any case.
    :raises NotFound: it means none.
    :raises BadRequest: several top hashes begin so.
    """
    found = _find(package_id, reference) if len(reference) <= LONGEST and "\x00" not in reference else None
    if found is None:
        raise NotFound(f"There is no revision {reference[:LONGEST]!r}")
    return found


def _find(package_id: int, reference: str) -> Revision | None:
    if is_digest(reference):
        return _one(package_id, Revision.digest == reference)
    if (found := find_tagged(package_id, reference)) is not None:
        return found
    if (key := version_key(reference)) is not None:
        versioned = select(Version.revision_id).where(Version.package_id == package_id, Version.key == key)
        if (found := _one(package_id, Revision.id.in_(versioned))) is not None:
            return found
    if not PREFIX.fullmatch(reference):
        return None
    begins = Revision.digest.startswith(reference.lower())
    some = db.session.scalars(
        select(Revision).where(Revision.package_id == package_id, begins).limit(2)
    ).all()
    if len(some) > 1:
        raise BadRequest(f"Several revisions begin with {reference!r}", code="ambiguous")
    return some[0] if some else None


def find_tagged(package_id: int, tag: str) -> Revision | None:
    """The revision that a tag names."""
    tagged = select(Tag.revision_id).where(Tag.package_id == package_id, Tag.name == tag)
    return _one(package_id, Revision.id.in_(tagged))


def _one(package_id: int, condition: ColumnElement[bool]) -> Revision | None:
    return db.session.scalar(select(Revision).where(Revision.package_id == package_id, condition))


def find_latest(package_id: int) -> Revision | None:
    """What a page shows: the revision of the tag ``latest``, or else the newest."""
    return db.session.scalar(
        select(Revision)
        .outerjoin(Tag, (Tag.revision_id == Revision.id) & (Tag.name == LATEST))
        .where(Revision.package_id == package_id)
        .order_by(Tag.name.is_(None), Revision.id.desc())
        .limit(1)
    )
