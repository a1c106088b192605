"""Changes to somebody's account by those who may: moderators and the command line."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import delete, insert, select

from core.db import db
from core.errors import ValidationFailed
from core.events import CoreEvents, emit
from core.identity import Identity, touch
from core.permissions import GOD_MODE
from core.permissions import CorePermissions as P
from core.rights import Rights, is_basic, rights_of
from core.users.models import (
    LOWEST_CLASS,
    TOKENS,
    ClassPermission,
    SecondaryClass,
    SecondaryClassMember,
    User,
    UserClass,
    UserPermission,
)
from core.users.services.accounts import change_password, check_email, get_user
from core.users.services.guard import changing_rights, check_gain
from core.users.services.keys import revoke_keys
from core.users.services.permissions import is_known, not_a_permission

__all__ = ["change_user", "check_rank"]

COLUMNS: Final = ("uploaded", "downloaded", "invites", "locked", "enabled")
CLASSES: Final = {"user_class_id", "secondary_class_ids"}
WAYS_IN: Final = {"password", "email"}
RIGHTS: Final = {"permissions", "locked", "enabled"} | CLASSES


def change_user(user_id: int, changes: Mapping[str, Any], actor: Identity) -> User:
    """Change an account: all of ``changes``, or on an error nothing.

    :param changes: any of ``email``, ``password``, ``uploaded``, ``downloaded``, ``invites``, ``locked``,
        ``enabled``, ``permissions`` (name: True to give it, False to take it away), ``user_class_id`` and
        ``secondary_class_ids``. Numbers are within the range of their columns.
    :param actor: who asks.
    :raises NotFound: if there is no such user.
    :raises Forbidden: if the user may do what ``actor`` may not, or would be able to.
    :raises BadRequest: for a value that is refused, and if no administrator would be left.
    """
    with changing_rights(actor, P.USERS_MODERATE) as fresh:
        user = get_user(user_id)
        before = rights_of(user)
        _check_actor(fresh, user, before, changes)
        changed = _change_columns(user, changes)
        if "password" in changes:
            change_password(user, changes["password"], keep=fresh.key_hash or "")
            changed.add("password")
        if "enabled" in changed and not user.enabled:
            revoke_keys(user, kinds=TOKENS)  # who comes back signs in again; keys and sessions go on
        changed |= _change_permissions(user, changes.get("permissions", {}), before, fresh)
        changed |= _change_classes(user, changes, before)
        check_gain(fresh, rights_of(user).stored - before.stored)
        if changed & RIGHTS:
            touch(user.id)
        _announce(user, changed)
    db.session.refresh(user)
    return user


def check_rank(actor: Identity, user: User) -> None:
    """:raises Forbidden: if ``user`` is an administrator, locked or not, and ``actor`` is none."""
    if GOD_MODE in rights_of(user).stored:
        actor.require(GOD_MODE)


def _check_actor(actor: Identity, user: User, before: Rights, changes: Mapping[str, Any]) -> None:
    if GOD_MODE in before.stored:
        actor.require(GOD_MODE)
    if changes.keys() & CLASSES:
        actor.require(P.USERS_MODERATE_ADVANCED)
    if changes.keys() & WAYS_IN:
        # Who sets the password, or reads the mail, can sign in and then do all that the user may.
        gained = before.granted
        if actor.user_id != user.id:
            # What everybody may is no gain, except to a restricted key of the same user.
            ordinary = select(ClassPermission.permission).where(ClassPermission.user_class_id == LOWEST_CLASS)
            gained = gained.difference(db.session.scalars(ordinary))
        for name in sorted(gained):
            actor.require(name)


def _change_columns(user: User, changes: Mapping[str, Any]) -> set[str]:
    wanted = {name: changes[name] for name in COLUMNS if name in changes}
    if "email" in changes:
        wanted["email"] = check_email(changes["email"])
    changed = {name for name, value in wanted.items() if getattr(user, name) != value}
    for name in changed:
        setattr(user, name, wanted[name])
    if "email" in changed:
        user.email_verified_at = None
    return changed


def _change_permissions(user: User, wanted: Mapping[str, bool], before: Rights, actor: Identity) -> set[str]:
    for name, given in wanted.items():
        known = is_known(name) or (not given and name in before.stored)
        if not known or not (actor.can(P.USERS_MODERATE_ADVANCED) or is_basic(name)):
            raise not_a_permission(name)
    granted = sorted(name for name, given in wanted.items() if given)
    revoked = sorted(wanted.keys() - granted)
    _refuse(
        added=[name for name in granted if name in before.stored or not actor.can(name)],
        deleted=[name for name in revoked if name not in before.stored],
    )
    own = select(UserPermission).where(UserPermission.user_id == user.id)
    rows = {row.permission: row for row in db.session.scalars(own)}
    for name, given in wanted.items():
        row = rows.get(name)
        if not given and name not in before.by_classes:
            db.session.delete(row)
        elif row is None:
            db.session.add(UserPermission(user_id=user.id, permission=name, granted=given))
        else:
            row.granted = given
    if wanted:
        emit(CoreEvents.PERMISSIONS_CHANGED, target=f"user:{user.id}", granted=granted, revoked=revoked)
    return {"permissions"} if wanted else set()


def _refuse(*, added: list[str], deleted: list[str]) -> None:
    sentences = [
        f"The following permissions could not be {what}: {', '.join(names)}."
        for what, names in (("added", added), ("deleted", deleted))
        if names
    ]
    if sentences:
        raise ValidationFailed(" ".join(sentences), details={"permissions": sentences})


def _change_classes(user: User, changes: Mapping[str, Any], before: Rights) -> set[str]:
    changed: set[str] = set()
    class_id = changes.get("user_class_id", user.user_class_id)
    if class_id != user.user_class_id:
        _check_classes("user_class_id", UserClass, {class_id})
        user.user_class_id = class_id
        changed.add("user_class_id")
    have = set(before.by_secondary_class)
    want = set(changes.get("secondary_class_ids", have))
    if want != have:
        _check_classes("secondary_class_ids", SecondaryClass, want)
        member = SecondaryClassMember
        left = delete(member).where(member.user_id == user.id, member.secondary_class_id.in_(have - want))
        db.session.execute(left)
        if joined := want - have:
            rows = [{"user_id": user.id, "secondary_class_id": number} for number in sorted(joined)]
            db.session.execute(insert(member), rows)
        changed.add("secondary_class_ids")
    return changed


def _check_classes(key: str, kind: type[UserClass] | type[SecondaryClass], ids: Iterable[int]) -> None:
    found = set(db.session.scalars(select(kind.id).where(kind.id.in_(ids))))
    if missing := sorted(set(ids) - found):
        raise ValidationFailed.from_messages({key: [f"{kind.__name__} {missing[0]} does not exist"]})


def _announce(user: User, changed: set[str]) -> None:
    target = f"user:{user.id}"
    if changed & {"locked", "enabled"}:
        emit(CoreEvents.USER_LOCKED, target=target, locked=user.locked, enabled=user.enabled)
    if changed:
        emit(CoreEvents.USER_CHANGED, target=target, fields=sorted(changed))
