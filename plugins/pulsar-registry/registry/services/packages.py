"""Packages: find the one that is meant, list, delete. Missing and invisible are the same."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core import sharing
from core.db import db
from core.errors import Forbidden
from core.events import emit
from core.identity import Identity
from core.sharing import Level
from core.users.models import User
from registry.errors import no_such_package
from registry.events import RegistryEvents
from registry.models import Package
from registry.services import access, quotas

__all__ = [
    "PACKAGE_NAME",
    "Seen",
    "delete_package",
    "find_package",
    "get_package",
    "list_packages",
    "list_recent",
    "lock_package",
    "require_owner",
]

PACKAGE_NAME: Final = re.compile(r"[a-zA-Z]\w{0,63}")


@dataclass(frozen=True, slots=True)
class Seen:
    """A package as one caller sees it."""

    package: Package
    owner: str
    may_push: bool
    may_manage: bool  # acts as the owner
    is_public: bool
    is_team: bool


def find_package(identity: Identity, owner: str, name: str) -> Seen | None:
    """The package, if ``identity`` may read it. One statement."""
    if not PACKAGE_NAME.fullmatch(name) or len(owner) > 64 or "\x00" in owner:
        return None
    query = (
        select(
            Package,
            User.username,
            access.may(Level.WRITE, identity),
            access.may(Level.MANAGE, identity),
            access.has_grant(access.PUBLIC),
            access.has_grant(access.TEAM),
        )
        .join(User, User.id == Package.owner_id)
        .where(User.username == owner, Package.name == name, access.may(Level.READ, identity))
    )
    row = db.session.execute(query).one_or_none()
    return None if row is None else Seen(row[0], row[1], *map(bool, row[2:]))


def get_package(identity: Identity, owner: str, name: str, *, lock: bool = False) -> Seen:
    """The package.

    :param lock: keep other changes to the package away until the transaction ends.
    :raises NotFound: if there is none, or none that ``identity`` may read.
    """
    seen = find_package(identity, owner, name)
    if seen is None or (lock and not lock_package(db.session, seen.package.id)):
        raise no_such_package(owner, name, anonymous=not identity.authenticated)
    return seen


def lock_package(session: Session, package_id: int) -> Package | None:
    """Make every other change to the package wait until the transaction ends.

    :returns: the package as it is now; None if it is gone.
    """
    query = select(Package).where(Package.id == package_id).with_for_update()
    return session.scalar(query.execution_options(populate_existing=True))


def require_owner(seen: Seen, refusal: str) -> Package:
    """The package, for its owner or who may act as such.

    :raises Forbidden: with the words ``refusal``.
    """
    if not seen.may_manage:
        raise Forbidden(refusal)
    return seen.package


def list_packages(identity: Identity, owner: str) -> Sequence[Any]:
    """``(name, is_public, is_team)`` of the packages of ``owner`` that ``identity`` may read, by name."""
    if len(owner) > 64 or "\x00" in owner:
        return ()
    query = (
        select(Package.name, access.has_grant(access.PUBLIC), access.has_grant(access.TEAM))
        .join(User, User.id == Package.owner_id)
        .where(User.username == owner, access.may(Level.READ, identity))
        .order_by(Package.name)
    )
    return db.session.execute(query).all()


def list_recent(identity: Identity, count: int) -> Sequence[Any]:
    """``(owner, name, updated_at)`` of what was pushed to last; of what is shared with all who may come.

    That is the public, or, where this site shares nothing with it, the team.
    """
    audience = access.PUBLIC if access.is_allowed(access.PUBLIC) else access.TEAM
    query = (
        select(User.username, Package.name, Package.updated_at)
        .join(User, User.id == Package.owner_id)
        .where(access.has_grant(audience), access.may(Level.READ, identity))
        .order_by(Package.updated_at.desc(), Package.id.desc())
        .limit(count)
    )
    return db.session.execute(query).all()


def delete_package(identity: Identity, owner: str, name: str) -> None:
    """Remove the package with its revisions, log, tags, versions and grants; the objects are swept later.

    :raises NotFound: if there is none to be seen; :raises Forbidden: if it is somebody else's.
    """
    seen = get_package(identity, owner, name, lock=True)
    package = require_owner(seen, "Only the package owner can delete packages.")
    quotas.free(package)
    sharing.revoke_all(package)
    db.session.execute(delete(Package).where(Package.id == package.id))
    emit(RegistryEvents.PACKAGE_DELETED, target=f"package:{owner}/{name}")
