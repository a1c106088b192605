"""Who may see a package, push to it, or act as its owner; and the rows that say so.

One predicate, :func:`may`, decides for look-ups, lists and objects alike. Grants are core's: a user's row
reads, ``team`` is everyone with an account (who may push), ``public`` is whoever can reach the site.
"""

from typing import Any, Final

from flask import current_app
from sqlalchemy import ColumnElement, exists, false, select

from core import sharing
from core.db import db
from core.errors import BadRequest, Conflict, Forbidden, NotFound
from core.events import emit
from core.identity import Identity
from core.sharing import Audience, Grant, Level
from core.users.models import User
from registry.events import RegistryEvents
from registry.models import Package

__all__ = [
    "PUBLIC",
    "TEAM",
    "announce",
    "check_allowed",
    "get_access",
    "get_user",
    "grant",
    "has_grant",
    "is_allowed",
    "list_users",
    "may",
    "open_package",
    "revoke",
]

PUBLIC: Final = "public"
TEAM: Final = "team"
# What the rows of that name are in core's terms. A weaker grant to the same audience is not shown as one.
OPEN: Final = {PUBLIC: (Audience.PUBLIC, Level.READ), TEAM: (Audience.LOGGED_IN, Level.WRITE)}


def _switched_off() -> list[Audience]:
    """The audiences whose grants do not count on this site."""
    allowed = {
        Audience.PUBLIC: current_app.config["REGISTRY_ALLOW_PUBLIC"],
        Audience.LOGGED_IN: current_app.config["REGISTRY_ALLOW_TEAM"],
    }
    return [audience for audience, on in allowed.items() if not on]


def may(level: Level, identity: Identity) -> ColumnElement[bool]:
    """SQL: the packages with which ``identity`` may do what ``level`` says."""
    return sharing.can(level, Package, identity, without=_switched_off())


def has_grant(name: str) -> ColumnElement[bool]:
    """SQL: the package is shared with ``public`` or ``team``, and that counts here."""
    audience, level = OPEN[name]
    if audience in _switched_off():
        return false()
    return exists(
        select(Grant.id).where(
            Grant.kind == Package.__tablename__,
            Grant.object_id == Package.id,
            Grant.audience == audience,
            Grant.level >= level,
        )
    )


def is_allowed(name: str) -> bool:
    """Whether packages of this site can be shared with ``public`` or ``team``."""
    return OPEN[name][0] not in _switched_off()


def check_allowed(name: str) -> None:
    """:raises Forbidden: if packages of this site cannot be shared with ``public`` or ``team``."""
    if not is_allowed(name):
        raise Forbidden(f"{name.capitalize()} access not allowed")


def open_package(package: Package, name: str, identity: Identity) -> None:
    """Share ``package`` with ``public`` or ``team``."""
    audience, level = OPEN[name]
    sharing.share(package, audience, level, granted_by=identity.user_id)


def list_users(package: Package) -> list[str]:
    """The names that may read ``package``, its owner included, sorted."""
    members = select(User.username).join(
        Grant,
        (Grant.subject_id == User.id)
        & (Grant.audience == Audience.USER)
        & (Grant.kind == Package.__tablename__)
        & (Grant.object_id == package.id),
    )
    owner = select(User.username).where(User.id == package.owner_id)
    names = set(db.session.scalars(members.union(owner)))
    opened = db.session.execute(
        select(has_grant(PUBLIC), has_grant(TEAM)).where(Package.id == package.id)
    ).one()
    return sorted(names | {name for name, on in zip((PUBLIC, TEAM), opened, strict=True) if on})


def grant(package: Package, name: str, identity: Identity) -> None:
    """Let ``name`` read ``package``.

    :raises NotFound: no such user; :raises Conflict: the user may already;
        :raises Forbidden: this site has no such sharing; :raises BadRequest: it is no name.
    """
    if name in OPEN:
        check_allowed(name)
        (audience, level), subject_id = OPEN[name], sharing.NOBODY
    else:
        user = get_user(name)
        audience, level, subject_id = Audience.USER, Level.READ, user.id
    if subject_id == package.owner_id or _holds(package, audience, level, subject_id):
        raise Conflict("The user already has access")
    sharing.share(package, audience, level, subject_id=subject_id, granted_by=identity.user_id)
    announce(package, name, granted=True)


def revoke(package: Package, name: str) -> None:
    """Take the access of ``name`` back.

    :raises Forbidden: it is the owner; :raises NotFound: there is none.
    """
    if name in OPEN:
        taken = sharing.revoke(package, OPEN[name][0])
    else:
        user = get_user(name)
        if user.id == package.owner_id:
            raise Forbidden("Cannot revoke the owner's access")
        taken = sharing.revoke(package, Audience.USER, user.id)
    if not taken:
        raise NotFound(f"User {name} has no access")
    announce(package, name, granted=False)


def announce(package: Package, name: str, *, granted: bool, **more: Any) -> None:
    """Write down that ``name`` was given access, or lost it; ``more`` says which."""
    owner = db.session.scalar(select(User.username).where(User.id == package.owner_id))
    target = f"package:{owner}/{package.name}"
    emit(RegistryEvents.ACCESS_CHANGED, target=target, user=name, granted=granted, **more)


def get_access(package: Package, name: str) -> None:
    """:raises NotFound: if ``name`` has no row."""
    if name not in list_users(package):
        raise NotFound(f"User {name} has no access")


def _holds(package: Package, audience: Audience, level: Level, subject_id: int = sharing.NOBODY) -> bool:
    found = sharing.find_grant(package, audience, subject_id)
    return found is not None and found.level >= level


def get_user(name: str) -> User:
    """:raises NotFound: there is no such user; :raises BadRequest: it is no name."""
    if not name or len(name) > 64 or not name.isprintable():
        raise BadRequest("Invalid user name")
    user = db.session.scalar(select(User).where(User.username == name))
    if user is None:
        raise NotFound(f"User {name} does not exist")
    return user
