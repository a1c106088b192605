"""Accounts."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from sqlalchemy import Select, bindparam, exists, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import defaultload, selectinload
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.interfaces import ORMOption

from core.db import after_commit, db, now
from core.errors import Conflict, NotFound, Unauthenticated, ValidationFailed
from core.events import CoreEvents, emit
from core.identity import Identity
from core.pages import fetch_page
from core.permissions import CorePermissions as P
from core.site import current_site
from core.users.models import SecondaryClass, SecondaryClassMember, User, UserClass
from core.users.services.classes import get_class, lowest_class
from core.users.services.keys import revoke_keys
from core.users.services.passwords import check_password_policy, hash_password

__all__ = [
    "FIRST_ADMIN_FILE",
    "add_user",
    "change_password",
    "check_account",
    "check_email",
    "create_user",
    "find_user",
    "get_user",
    "get_user_for",
    "list_users",
    "make_user",
    "user_or_self",
]

USERNAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", re.ASCII)
FIRST_ADMIN_FILE: Final = "first-admin.txt"  # in the instance folder, written with the first user
EMAIL: Final = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,189}")


def create_user(
    username: str, password: str, email: str, *, class_name: str | None = None, verified: bool = False
) -> User:
    """Add a user to the lowest class, or to the one called ``class_name``.

    :param verified: whoever asks knows that the address is the user's.
    :raises ValidationFailed: if the name is not allowed or taken, or the password or address is refused.
    :raises Conflict: if somebody else takes the name in the same moment.
    """
    email = check_account(username, password, email)
    user_class = get_class(class_name) if class_name else lowest_class()
    user = make_user(username, password, email, user_class)
    user.email_verified_at = user.created_at if verified else None
    return add_user(user)


def make_user(username: str, password: str, email: str, user_class: UserClass) -> User:
    """A user who was checked and is not stored yet. The digest of the password takes its time here."""
    return User(
        username=username,
        username_key=username.lower(),
        email=email,
        password=hash_password(password),
        user_class_id=user_class.id,
        created_at=now(),
    )


def add_user(user: User) -> User:
    """:raises Conflict: if somebody else has taken the name meanwhile."""
    try:
        with db.session.begin_nested():
            db.session.add(user)
    except IntegrityError:
        raise Conflict(f"Another user already has the username {user.username}.") from None
    emit(CoreEvents.USER_CREATED, target=f"user:{user.id}", username=user.username)
    return user


def check_account(username: str, password: str, email: str) -> str:
    """Whether an account could be made of this.

    :returns: the address as it is kept.
    :raises ValidationFailed: naming what is wrong.
    """
    if not USERNAME.fullmatch(username):
        raise ValidationFailed.from_messages(
            {"username": ["must be 1 to 32 letters, digits, '_', '.' or '-'"]}
        )
    answers = current_site().hooks.hook.reserved_usernames()
    if any(username.lower() in names for names in answers):
        raise ValidationFailed.from_messages({"username": ["this name is reserved"]})
    email = check_email(email)
    check_password_policy(password, username=username, email=email)
    if find_user(username) is not None:
        raise ValidationFailed.from_messages(
            {"username": [f"another user already has the username {username}"]}
        )
    return email


def check_email(email: str) -> str:
    """An address as it is kept: stripped and in lower case.

    :raises ValidationFailed: if it is none.
    """
    email = email.strip().lower()
    if len(email) > 255 or not EMAIL.fullmatch(email):
        raise ValidationFailed.from_messages({"email": ["not a valid e-mail address"]})
    return email


def get_user(user_id: int) -> User:
    """:raises NotFound: ``User 7 does not exist.``"""
    user = db.session.get(User, user_id) if 0 <= user_id < 2**63 else None
    if user is None:
        raise NotFound.of("User", user_id)
    return user


def user_or_self(identity: Identity, user_id: int | None, permission: str) -> int:
    """Whose things ``identity`` asks for: its own, or with ``permission`` those of another user.

    :param user_id: who was named; None for nobody.
    :returns: the id of a user.
    :raises PulsarError: without ``permission``, whether there is such a user or not.
    :raises NotFound: if there is no such user.
    """
    if user_id is None:
        user_id = identity.user_id
    if user_id is None:
        raise Unauthenticated
    if user_id != identity.user_id:
        identity.require(permission)
        get_user(user_id)
    return user_id


def get_user_for(identity: Identity, user_id: int) -> User:
    """One user as stored, loaded with what ``identity`` may see of him.

    :raises NotFound: ``User 7 does not exist.``
    """
    found = None
    if 0 <= user_id < 2**63:
        query = _one_user(*_seen_by(identity), user_id == identity.user_id)
        found = db.session.execute(query, {"user_id": user_id}).one_or_none()
    if found is None:
        raise NotFound.of("User", user_id)
    user, in_secondary_classes = found
    if not in_secondary_classes:
        set_committed_value(user, "secondary_classes", [])
    return user


def list_users(
    identity: Identity, *, search: str = "", page: int = 1, limit: int = 50
) -> tuple[list[User], int]:
    """One page of the users with ``search`` in their names, by name, and how many there are in all."""
    options = _loads(selectinload, *_seen_by(identity), own=False)
    query = select(User).options(*options).order_by(User.username_key)
    if search:
        query = query.where(User.username_key.contains(search.lower(), autoescape=True))
    return fetch_page(query, page=page, limit=limit)


def _seen_by(identity: Identity) -> tuple[bool, bool]:
    return identity.can(P.USERS_MODERATE), identity.can(P.USERS_MODERATE_ADVANCED)


@cache  # to make the statement costs as much as to run it
def _one_user(moderates: bool, advanced: bool, own: bool) -> Select[User, bool]:
    """The user, and whether there are secondary classes to load: few users are in any."""
    options = _loads(defaultload, moderates, advanced, own)
    in_any = exists().where(SecondaryClassMember.user_id == User.id)
    query = select(User, in_any).options(*options).where(User.id == bindparam("user_id"))
    return query.execution_options(populate_existing=True)


def _loads(load: Callable[..., Any], moderates: bool, advanced: bool, own: bool) -> list[ORMOption]:
    """Load what is seen of users, and no more, in as many statements for many users as for one.

    :param load: how secondary classes come: in one more statement, or not before somebody looks.
    """
    classes = load(User.secondary_classes)
    options: list[ORMOption] = [classes]
    if moderates and not own:
        options.append(selectinload(User.inviter).selectinload(User.secondary_classes))
    if moderates or own:
        options.append(selectinload(User.api_keys))
    if moderates or advanced or own:
        options += [
            selectinload(User.own_permissions),
            selectinload(User.user_class).selectinload(UserClass.permissions),
            classes.selectinload(SecondaryClass.permissions),
        ]
    return options


def find_user(username: str) -> User | None:
    """The user of that name in any case, or None."""
    if not USERNAME.fullmatch(username):
        return None
    return db.session.scalar(select(User).where(User.username_key == username.lower()))


def change_password(user: User, password: str, *, keep: str = "") -> None:
    """Give ``user`` another password; every key and session but ``keep`` ends with the old one.

    :param keep: hash of the key that asks, when the user changes the own password.
    :raises ValidationFailed: if the new password is not good enough.
    """
    check_password_policy(password, username=user.username, email=user.email)
    user.password = hash_password(password)
    revoke_keys(user, keep=keep)
    _forget_first_password(user)
    emit(CoreEvents.PASSWORD_CHANGED, target=f"user:{user.id}")


def _forget_first_password(user: User) -> None:
    """Delete the file with the password of the first administrator, if it is this user's."""
    path = current_site().instance / FIRST_ADMIN_FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    if f"username: {user.username}" in lines:
        after_commit(lambda: path.unlink(missing_ok=True))
