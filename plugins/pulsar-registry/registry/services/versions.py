"""Versions: names that never move, ordered by PEP 440."""

from typing import Any

from packaging.utils import canonicalize_version
from packaging.version import InvalidVersion
from packaging.version import Version as Pep440
from sqlalchemy import select

from core.db import db, now
from core.errors import BadRequest, Conflict, NotFound
from core.events import emit
from core.identity import Identity
from core.users.models import User
from registry.events import RegistryEvents
from registry.models import Revision, Version
from registry.services.packages import get_package, require_owner
from registry.services.revisions import get_revision_id

__all__ = ["add_version", "get_version", "list_versions", "version_key"]


def add_version(identity: Identity, owner: str, name: str, version: str, digest: str) -> None:
    """Name the revision ``digest`` for good.

    :raises BadRequest: not PEP 440; :raises Conflict: an equal version is there, whatever it names.
    """
    key = version_key(version)
    if key is None:
        raise BadRequest("Malformed version")
    seen = get_package(identity, owner, name, lock=True)
    package = require_owner(seen, "Only the package owner can create versions")
    revision_id = get_revision_id(package.id, digest)
    if db.session.get(Version, (package.id, key)) is not None:
        raise Conflict("Version already exists")
    db.session.add(
        Version(
            package_id=package.id,
            key=key,
            version=version.strip(),
            revision_id=revision_id,
            created_by=identity.user_id,
            created_at=now(),
        )
    )
    emit(
        RegistryEvents.VERSION_CREATED,
        target=f"package:{owner}/{name}",
        version=version.strip(),
        hash=digest,
    )
    db.session.flush()


def get_version(identity: Identity, owner: str, name: str, version: str) -> dict[str, Any]:
    """What ``version``, however it is spelt, names. It never changes, so both times are the same."""
    package = get_package(identity, owner, name).package
    row = db.session.execute(
        select(Version, Revision.digest, User.username)
        .join(Revision, Revision.id == Version.revision_id)
        .outerjoin(User, User.id == Version.created_by)
        .where(Version.package_id == package.id, Version.key == (version_key(version) or ""))
    ).one_or_none()
    if row is None:
        raise NotFound(f"Version {version} does not exist")
    found, digest, creator = row
    created_at = found.created_at.timestamp()
    return {
        "hash": digest,
        "created_by": creator,
        "created_at": created_at,
        "updated_by": creator,
        "updated_at": created_at,
    }


def list_versions(identity: Identity, owner: str, name: str) -> list[tuple[str, str]]:
    """``(version, top hash)`` in the order of PEP 440, spelt as the user did."""
    package = get_package(identity, owner, name).package
    query = select(Version.version, Revision.digest).join(Revision, Revision.id == Version.revision_id)
    rows = db.session.execute(query.where(Version.package_id == package.id))
    return sorted(((version, digest) for version, digest in rows), key=lambda row: Pep440(row[0]))


def version_key(version: str) -> str | None:
    """The same for all spellings of one version: 1.0, v1.0.0 and 1. None if it is not one."""
    try:
        parsed = Pep440(version)
    except InvalidVersion:
        return None
    key = canonicalize_version(parsed)
    return key if len(version) <= 64 and len(key) <= 96 else None
