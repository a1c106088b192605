"""What happened to packages, in the words of the protocol, out of the site's one audit log."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, func, or_, select

from core.db import db
from core.events import CoreEvents
from core.models import Event
from core.users.models import User
from registry.events import RegistryEvents
from registry.models import Package

__all__ = ["count_by_user", "list_of_package", "list_of_user", "summarize"]

ANONYMOUS: Final = "anonymous"  # nobody can have the name, and the client cannot bear null
PACKAGE_TYPES: Final[Mapping[str, str]] = {
    RegistryEvents.PACKAGE_PUSHED: "PUSH",
    RegistryEvents.PACKAGE_INSTALLED: "INSTALL",
    "registry.package.previewed": "PREVIEW",
    RegistryEvents.PACKAGE_DELETED: "DELETE",
}
# What the protocol did not know, and people who look into such a log want to.
MORE_TYPES: Final[Mapping[str, str]] = {
    RegistryEvents.ACCESS_CHANGED: "ACCESS",
    RegistryEvents.TAG_CHANGED: "TAG",
    RegistryEvents.VERSION_CREATED: "VERSION",
}
LOGINS: Final[Mapping[str, str]] = {
    CoreEvents.SESSION_CREATED: "LOGIN",
    CoreEvents.TOKEN_CREATED: "LOGIN",
}
COUNTED: Final = {"PUSH": "pushes", "INSTALL": "installs", "PREVIEW": "previews", "DELETE": "deletes"}


def list_of_package(owner: str, name: str, *, limit: int, before: int | None) -> list[dict[str, Any]]:
    """What happened to ``owner/name``, newest first; also to one of that name which is deleted.

    :param before: id of the event whose predecessors are wanted.
    """
    target = f"package:{owner}/{name}"
    return _list({**PACKAGE_TYPES, **MORE_TYPES}, Event.target == target, limit, before)


def list_of_user(name: str, *, limit: int, before: int | None) -> list[dict[str, Any]]:
    """What a user did, logins included, newest first; ``anonymous`` is whoever was not known."""
    actor = "" if name == ANONYMOUS else name
    return _list({**PACKAGE_TYPES, **MORE_TYPES, **LOGINS}, Event.actor == actor, limit, before)


def _list(
    types: Mapping[str, str], wanted: ColumnElement[bool], limit: int, before: int | None
) -> list[dict[str, Any]]:
    query = select(Event).where(wanted, Event.name.in_([str(name) for name in types]))
    if before is not None:
        query = query.where(Event.id < before)
    return [
        _entry(event, types) for event in db.session.scalars(query.order_by(Event.id.desc()).limit(limit))
    ]


def _entry(event: Event, types: Mapping[str, str]) -> dict[str, Any]:
    kind, _, handle = event.target.partition(":")
    owner, _, name = handle.partition("/") if kind == "package" else ("", "", "")
    extra = dict(event.payload)
    return {
        "id": event.id,
        "created": event.happened_at.timestamp(),
        "user": event.actor or ANONYMOUS,
        "type": types[event.name],
        "package_owner": owner or None,
        "package_name": name or None,
        "package_hash": extra.pop("hash", None),
        "extra": extra,
    }


def summarize() -> dict[str, dict[str, Any]]:
    """How often each package was pushed, installed, previewed and deleted, and when last; by handle."""
    packages = select(User.username, Package.name).join(User, User.id == Package.owner_id)
    found = {f"{owner}/{name}": _nothing() for owner, name in db.session.execute(packages)}
    for target, name, count, latest in db.session.execute(_counted(Event.target)):
        entry = found.setdefault(target.removeprefix("package:"), _nothing())
        entry[COUNTED[PACKAGE_TYPES[name]]] = {"count": count, "latest": latest.timestamp()}
    return dict(sorted(found.items()))


def _nothing() -> dict[str, Any]:
    return {word: {"count": 0} for word in COUNTED.values()}


def count_by_user() -> dict[str, dict[str, int]]:
    """How often each user did each of these."""
    found: dict[str, dict[str, int]] = {}
    for actor, name, count, _ in db.session.execute(_counted(Event.actor)):
        found.setdefault(actor, {})[COUNTED[PACKAGE_TYPES[name]]] = count
    return found


def _counted(column: Any) -> Any:
    names = or_(*(Event.name == str(name) for name in PACKAGE_TYPES))
    query = select(column, Event.name, func.count(), func.max(Event.happened_at)).where(names)
    return query.group_by(column, Event.name)
