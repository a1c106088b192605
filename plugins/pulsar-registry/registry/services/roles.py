"""Who may do what with a package, in full: also classes of users, and more than reading.

The rows of :mod:`registry.services.access` are what the published client sees of the same grants.
"""

from typing import Any, Final

from sqlalchemy import select

from core import sharing
from core.db import db
from core.errors import BadRequest, Forbidden, NotFound
from core.identity import Identity
from core.permissions import CorePermissions
from core.sharing import Audience, Level
from core.users.models import SecondaryClass, User, UserClass
from registry.models import Package
from registry.services import access

__all__ = ["AUDIENCES", "ROLES", "list_roles", "set_role"]

ROLES: Final = {"read": Level.READ, "write": Level.WRITE, "manage": Level.MANAGE}
# Whom a role can be given to; those of many people have no name, and cannot act as the owner.
AUDIENCES: Final = {
    "user": Audience.USER,
    "class": Audience.USER_CLASS,
    "secondary_class": Audience.SECONDARY_CLASS,
    access.TEAM: Audience.LOGGED_IN,
    access.PUBLIC: Audience.PUBLIC,
}
MOST: Final = {access.TEAM: Level.WRITE, access.PUBLIC: Level.READ}
NAMES: Final = {
    Audience.USER: (User.id, User.username),
    Audience.USER_CLASS: (UserClass.id, UserClass.name),
    Audience.SECONDARY_CLASS: (SecondaryClass.id, SecondaryClass.name),
}


def list_roles(package: Package) -> list[dict[str, Any]]:
    """``{"audience", "name", "role"}`` of all grants, the oldest first."""
    grants = sharing.list_grants(package)
    names: dict[tuple[Audience, int], str] = {}
    for audience, (key, name) in NAMES.items():
        wanted = [grant.subject_id for grant in grants if grant.audience == audience]
        if wanted:
            found = db.session.execute(select(key, name).where(key.in_(wanted)))
            names |= {(audience, subject): text for subject, text in found}
    words = {audience: word for word, audience in AUDIENCES.items()}
    roles = {level: role for role, level in ROLES.items()}
    return [
        {
            "audience": words[Audience(grant.audience)],
            "name": names.get((Audience(grant.audience), grant.subject_id)),
            "role": roles[Level(grant.level)],
        }
        for grant in grants
    ]


def set_role(package: Package, word: str, name: str | None, role: str | None, identity: Identity) -> None:
    """Give somebody a role, another one than before, or (None) no role any more.

    :param word: of :data:`AUDIENCES`; :param name: of the user or class, None for the others.
    :raises BadRequest: the audience cannot have this role, or it takes no name.
    :raises NotFound: there is no such user or class, or nothing to take away.
    :raises Forbidden: it is the owner, or this site has no such sharing.
    """
    audience = AUDIENCES[word]
    if (audience in NAMES) != (name is not None):
        raise BadRequest(f"The audience {word} {'needs a name' if name is None else 'has no name'}")
    subject_id = sharing.NOBODY if name is None else _find_subject(audience, name, identity)
    if audience == Audience.USER and subject_id == package.owner_id:
        raise Forbidden("The owner's role cannot be changed")
    if role is None:
        if not sharing.revoke(package, audience, subject_id):
            raise NotFound(f"{name or word} has no role")
    else:
        _give(package, word, subject_id, ROLES[role], identity)
    access.announce(package, name or word, granted=role is not None, audience=word, role=role)


def _give(package: Package, word: str, subject_id: int, level: Level, identity: Identity) -> None:
    if level > MOST.get(word, Level.MANAGE):
        raise BadRequest(f"The audience {word} can have no more than the role {_name(MOST[word])}")
    if word in access.OPEN:
        access.check_allowed(word)
    sharing.share(package, AUDIENCES[word], level, subject_id=subject_id, granted_by=identity.user_id)


def _name(level: Level) -> str:
    return next(role for role, found in ROLES.items() if found == level)


def _find_subject(audience: Audience, name: str, identity: Identity) -> int:
    if audience == Audience.USER:
        return access.get_user(name).id
    key, column = NAMES[audience]
    found = db.session.scalar(select(key).where(column == name))
    own = identity.user_class_ids if audience == Audience.USER_CLASS else identity.secondary_class_ids
    # Whoever may not see the classes of this site learns nothing of those he is not in.
    if found is None or not (found in own or identity.can(CorePermissions.USERCLASSES_LIST)):
        raise NotFound(f"Class {name} does not exist")
    return int(found)
