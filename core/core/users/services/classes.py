"""Classes of users, and what they give. There are two kinds, with names and ids of their own."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import cast

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import selectinload

from core.db import db
from core.errors import BadRequest, NotFound
from core.events import CoreEvents, emit
from core.identity import Identity
from core.permissions import GOD_MODE
from core.permissions import CorePermissions as P
from core.sharing import Audience, forget_audience
from core.site import current_site
from core.users.models import (
    LOWEST_CLASS,
    ClassPermission,
    SecondaryClass,
    SecondaryClassMember,
    SecondaryClassPermission,
    User,
    UserClass,
)
from core.users.services.guard import changing_rights, check_gain
from core.users.services.permissions import is_known, not_a_permission

__all__ = [
    "ADMINISTRATORS",
    "administrators",
    "change_class",
    "create_class",
    "delete_class",
    "get_class",
    "get_class_by_id",
    "grant_defaults",
    "list_classes",
    "lowest_class",
]

ADMINISTRATORS = "Administrator"  # the class that `flask admin create` makes and puts people into


def get_class(name: str) -> UserClass:
    """:raises NotFound: if there is no class called ``name``."""
    found = db.session.scalar(select(UserClass).where(UserClass.name_key == name.lower()))
    if found is None:
        raise NotFound.of("UserClass", name)
    return found


def get_class_by_id(class_id: int, *, secondary: bool = False) -> UserClass | SecondaryClass:
    """:raises NotFound: ``UserClass 10 does not exist.``, or the same of a ``SecondaryClass``."""
    kind = _kind(secondary)
    found = db.session.get(kind, class_id) if class_id < 2**63 else None
    if found is None:
        raise NotFound.of(kind.__name__, class_id)
    return cast(UserClass | SecondaryClass, found)


def list_classes(
    *, secondary: bool = False, with_permissions: bool = False
) -> Sequence[UserClass | SecondaryClass]:
    """Every class of one kind, oldest first.

    :param with_permissions: read the permissions of all of them at once.
    """
    kind = _kind(secondary)
    query = select(kind).order_by(kind.id)
    if with_permissions:
        query = query.options(selectinload(kind.permissions))
    return cast(Sequence[UserClass | SecondaryClass], db.session.scalars(query).all())


def create_class(
    name: str, permissions: Collection[str], actor: Identity, *, secondary: bool = False
) -> UserClass | SecondaryClass:
    """Add a class.

    :raises BadRequest: if a class of this kind has the name already, in any case.
    :raises Forbidden: if it would give what ``actor`` does not hold.
    """
    kind = _kind(secondary)
    with changing_rights(actor, P.USERCLASSES_MODIFY) as fresh:
        _check_known(permissions)
        check_gain(fresh, permissions)
        found = kind(name=name)
        _give(found, permissions)
        try:
            with db.session.begin_nested():
                db.session.add(found)
        except IntegrityError:
            raise BadRequest(
                f"Another {kind.__name__} already has the name {name}.", code="name_taken"
            ) from None
        emit(
            CoreEvents.CLASS_CREATED, target=_target(found), class_name=name, permissions=sorted(permissions)
        )
    return found


def change_class(
    class_id: int, wanted: Mapping[str, bool], actor: Identity, *, secondary: bool = False
) -> UserClass | SecondaryClass:
    """Give permissions to a class (True) and take others away (False): all of them, or on an error none.

    :raises BadRequest: if it has one already, or has not what shall be taken away.
    :raises Forbidden: if its members would get what ``actor`` does not hold.
    """
    with changing_rights(actor, P.USERCLASSES_MODIFY) as fresh:
        found = get_class_by_id(class_id, secondary=secondary)
        has = _permissions_of(found)
        _check_administrators(has, fresh)
        granted = sorted(name for name, given in wanted.items() if given)
        _check_known([*granted, *(name for name in wanted if name not in has)])
        _check_changes(found, wanted, has)
        check_gain(fresh, granted)
        _take(found, wanted.keys() - granted)
        _give(found, granted)
        if wanted:
            _touch_members(found)
            revoked = sorted(wanted.keys() - granted)
            emit(CoreEvents.CLASS_CHANGED, target=_target(found), granted=granted, revoked=revoked)
    return found


def delete_class(class_id: int, actor: Identity, *, secondary: bool = False) -> str:
    """Delete a class that has no members, with all that is shared with it.

    :returns: its name.
    :raises BadRequest: if somebody is in it, or it is the class of new users.
    """
    with changing_rights(actor, P.USERCLASSES_MODIFY) as fresh:
        found = get_class_by_id(class_id, secondary=secondary)
        _check_administrators(_permissions_of(found), fresh)
        kind, name, target = type(found), found.name, _target(found)
        if kind is UserClass and class_id == LOWEST_CLASS:
            raise BadRequest(f"The UserClass {name} cannot be deleted: new users are put into it.")
        forget_audience(Audience.SECONDARY_CLASS if secondary else Audience.USER_CLASS, class_id)
        try:
            with db.session.begin_nested():
                db.session.execute(delete(kind).where(kind.id == class_id))
        except IntegrityError:  # the database knows of members who joined in this very moment, too
            raise BadRequest(
                f"You cannot delete a {kind.__name__} while users are assigned to it.", code="class_in_use"
            ) from None
        emit(CoreEvents.CLASS_DELETED, target=target, class_name=name)
    return name


def _kind(secondary: bool) -> type[UserClass] | type[SecondaryClass]:
    return SecondaryClass if secondary else UserClass


def _target(found: UserClass | SecondaryClass) -> str:
    return f"{'user_class' if isinstance(found, UserClass) else 'secondary_class'}:{found.id}"


def _permissions_of(found: UserClass | SecondaryClass) -> set[str]:
    return {row.permission for row in found.permissions}


def _give(found: UserClass | SecondaryClass, names: Iterable[str]) -> None:
    for name in dict.fromkeys(names):
        if isinstance(found, UserClass):
            found.permissions.append(ClassPermission(permission=name))
        else:
            found.permissions.append(SecondaryClassPermission(permission=name))


def _take(found: UserClass | SecondaryClass, names: Collection[str]) -> None:
    for row in [row for row in found.permissions if row.permission in names]:
        found.permissions.remove(row)  # type: ignore[arg-type]


def _check_known(names: Iterable[str]) -> None:
    for name in names:
        if not is_known(name):
            raise not_a_permission(name)


def _check_changes(
    found: UserClass | SecondaryClass, wanted: Mapping[str, bool], has: Collection[str]
) -> None:
    for name, given in wanted.items():
        if given == (name in has):
            state = "already has" if given else "does not have"
            raise BadRequest(f"{type(found).__name__} {found.name} {state} the permission {name}.")


def _check_administrators(has: Collection[str], actor: Identity) -> None:
    """A class of administrators is changed by administrators alone, as its members are."""
    if GOD_MODE in has:
        actor.require(GOD_MODE)


def _touch_members(found: UserClass | SecondaryClass) -> None:
    """Make every process forget what it knows of the members' permissions, from the commit on."""
    member = SecondaryClassMember
    inside: ColumnElement[bool]
    if isinstance(found, UserClass):
        inside = User.user_class_id == found.id
    else:
        inside = User.id.in_(select(member.user_id).where(member.secondary_class_id == found.id))
    db.session.execute(update(User).where(inside).values(generation=User.generation + 1))


def lowest_class() -> UserClass:
    """The class of every new user; made if the database lacks it."""
    found = db.session.get(UserClass, LOWEST_CLASS)
    if found is None:
        found = UserClass(id=LOWEST_CLASS, name="User")
        db.session.add(found)
        db.session.flush()
    return found


def administrators() -> UserClass:
    """The class of administrators; made when it is asked for the first time.

    :raises BadRequest: if somebody made a class of that name that is none, or took its right away.
    """
    found = db.session.scalar(select(UserClass).where(UserClass.name_key == ADMINISTRATORS.lower()))
    if found is not None and GOD_MODE not in _permissions_of(found):
        raise BadRequest(f"The UserClass {found.name} does not give {GOD_MODE}.")
    if found is None:
        lowest_class()  # or the administrators would get its id, and every new user with them
        found = UserClass(name=ADMINISTRATORS, permissions=[ClassPermission(permission=str(GOD_MODE))])
        db.session.add(found)
        db.session.flush()
    return found


def grant_defaults(plugin: str) -> None:
    """Give class 1 those permissions of a newly installed plugin that ordinary users should have."""
    lowest = lowest_class()
    owners = current_site().permission_owners
    for name, permission in current_site().permissions.items():
        if permission.for_users and owners[name] == plugin:
            db.session.merge(ClassPermission(user_class_id=LOWEST_CLASS, permission=name))
    _touch_members(lowest)
