"""What can be done with accounts. Services flush; the edge that called them commits."""

import re
import secrets
import string
from collections.abc import Collection, Iterable

from argon2 import PasswordHasher
from flask import current_app
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from core.db import db, now
from core.errors import BadRequest, NotFound, ValidationFailed
from core.identity import Identity, digest_of, granted_to
from core.permissions import GOD_MODE
from core.site import current_site
from core.users.models import LOWEST_CLASS, ApiKey, ClassPermission, User, UserClass

__all__ = [
    "ADMINISTRATORS",
    "administrators",
    "check_password_policy",
    "create_key",
    "create_user",
    "find_user",
    "get_class",
    "get_user",
    "grant_defaults",
    "lowest_class",
    "make_password",
    "touch",
]

ADMINISTRATORS = "Administrator"  # the class that `flask admin create` makes and puts people into
USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", re.ASCII)
EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,189}")
PASSWORD_MIN, PASSWORD_MAX = 12, 512  # characters
PASSWORD_MARKS = "$@!%*#?&^"  # noqa: S105 - characters of which one is needed
KEY_ALPHABET = string.ascii_letters + string.digits + "-_"


def passwords() -> PasswordHasher:
    """argon2id as the configuration asks for it: at the library's defaults about 0.1 s of one core."""
    return PasswordHasher(**current_app.config["ARGON2_PARAMETERS"])


def check_password_policy(password: str, *, username: str = "", email: str = "") -> None:
    """:raises ValidationFailed: unless ``password`` is good enough for a new one."""
    problem = None
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        problem = f"must have {PASSWORD_MIN} to {PASSWORD_MAX} characters"
    elif not (re.search("[A-Za-z]", password) and re.search("[0-9]", password)):
        problem = "must contain a letter and a digit"
    elif not any(mark in PASSWORD_MARKS for mark in password):
        problem = f"must contain one of {PASSWORD_MARKS}"
    elif password.lower() in (username.lower(), email.lower()):
        problem = "must not be the name or the address"
    if problem:
        raise ValidationFailed.from_messages({"password": [problem]})


def make_password() -> str:
    """A random password that satisfies the policy: 20 letters and digits, a mark in the middle."""
    alphabet = string.ascii_letters + string.digits
    while True:
        text = "".join(secrets.choice(alphabet) for _ in range(20))
        if re.search("[A-Za-z]", text) and re.search("[0-9]", text):
            return f"{text[:10]}!{text[10:]}"


def create_user(username: str, password: str, email: str, *, class_name: str | None = None) -> User:
    """Add a user to the lowest class, or to the one called ``class_name``.

    :raises ValidationFailed: if the name is not allowed or taken, or the password or address is refused.
    """
    if not USERNAME.fullmatch(username) or username in ("0", "1"):
        raise ValidationFailed.from_messages(
            {"username": ["must be 1 to 32 letters, digits, '_', '.' or '-'"]}
        )
    email = email.strip().lower()
    if len(email) > 255 or not EMAIL.fullmatch(email):
        raise ValidationFailed.from_messages({"email": ["not a valid e-mail address"]})
    check_password_policy(password, username=username, email=email)
    user_class = get_class(class_name) if class_name else lowest_class()
    user = User(
        username=username,
        username_key=username.lower(),
        email=email,
        password=passwords().hash(password),
        user_class_id=user_class.id,
        created_at=now(),
    )
    try:
        with db.session.begin_nested():
            db.session.add(user)
    except IntegrityError:
        raise ValidationFailed(
            f'Invalid data: another user already has the username {username} (key "username")',
            details={"username": ["taken"]},
        ) from None
    return user


def get_user(user_id: int) -> User:
    """:raises NotFound: ``User 7 does not exist.``"""
    user = db.session.get(User, user_id) if 0 <= user_id < 2**63 else None
    if user is None:
        raise NotFound.of("User", user_id)
    return user


def find_user(username: str) -> User | None:
    """The user of that name in any case, or None."""
    return db.session.scalar(select(User).where(User.username_key == username.lower()))


def get_class(name: str) -> UserClass:
    """:raises NotFound: if there is no class called ``name``."""
    found = db.session.scalar(select(UserClass).where(UserClass.name == name))
    if found is None:
        raise NotFound.of("UserClass", name)
    return found


def lowest_class() -> UserClass:
    """The class of every new user; made if the database lacks it."""
    found = db.session.get(UserClass, LOWEST_CLASS)
    if found is None:
        found = UserClass(id=LOWEST_CLASS, name="User")
        db.session.add(found)
        db.session.flush()
    return found


def administrators() -> UserClass:
    """The class of administrators; made when it is asked for the first time."""
    found = db.session.scalar(select(UserClass).where(UserClass.name == ADMINISTRATORS))
    if found is None:
        lowest_class()  # or the administrators would get its id, and every new user with them
        found = UserClass(name=ADMINISTRATORS, permissions=[ClassPermission(permission=str(GOD_MODE))])
        db.session.add(found)
        db.session.flush()
    return found


def create_key(
    user: User,
    *,
    maker: Identity | None = None,
    permissions: Collection[str] = (),
    permanent: bool = False,
    timeout: int = 1800,
    name: str = "",
) -> tuple[ApiKey, str]:
    """Make an API key for ``user``.

    :param maker: the identity that asks; the new key is never wider than the key it asks with.
    :param timeout: s without use after which the key is revoked.
    :returns: the stored key and its text, which is not kept and cannot be shown again.
    :raises BadRequest: for a permission that does not exist, or that the user does not hold.
    """
    scope = sorted(set(permissions) or (maker.scope if maker else ()))
    _check_scope(user, scope, maker)
    text = "".join(secrets.choice(KEY_ALPHABET) for _ in range(10)), secrets.token_urlsafe(32)
    key = ApiKey(
        hash=text[0],
        user_id=user.id,
        digest=digest_of(text[1]),
        name=name,
        created_at=now(),
        last_used_at=now(),
        permanent=permanent,
        timeout=timeout,
        permissions=scope,
    )
    db.session.add(key)
    db.session.flush()
    return key, "".join(text)


def _check_scope(user: User, scope: Iterable[str], maker: Identity | None) -> None:
    known = current_site().permissions
    held = Identity(user.id, granted=granted_to(user))
    bad = [name for name in scope if name not in known or not held.can(name)]
    if maker and maker.scope:
        bad += [name for name in scope if name not in maker.scope and name not in bad]
    if bad:
        raise BadRequest(f"A key cannot have these permissions: {', '.join(bad)}.", code="validation_failed")


def touch(*user_ids: int) -> None:
    """Make every process forget what it knows of these users' permissions, from the commit on."""
    db.session.execute(update(User).where(User.id.in_(user_ids)).values(generation=User.generation + 1))


def grant_defaults(plugin: str) -> None:
    """Give class 1 those permissions of a newly installed plugin that ordinary users should have."""
    lowest_class()
    owners = current_site().permission_owners
    for name, permission in current_site().permissions.items():
        if permission.for_users and owners[name] == plugin:
            db.session.merge(ClassPermission(user_class_id=LOWEST_CLASS, permission=name))
    members = update(User).where(User.user_class_id == LOWEST_CLASS)
    db.session.execute(members.values(generation=User.generation + 1))
