"""Passwords: how they are kept, and which are good enough."""

import base64
import logging
import re
import secrets
import string
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import BoundedSemaphore
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from flask import current_app
from sqlalchemy import update

from core.db import own_transaction
from core.errors import Unavailable, ValidationFailed
from core.users.models import User

__all__ = [
    "check_password_policy",
    "hash_password",
    "looks_like_a_key",
    "make_password",
    "password_turn",
    "passwords",
    "verify_password",
]

log = logging.getLogger(__name__)
PASSWORD_MIN: Final = 12  # characters
PASSWORD_MAX: Final = 512  # characters
PASSWORD_MARKS: Final = "$@!%*#?&^"  # noqa: S105 - characters of which one is needed
KEY: Final = re.compile(r"[A-Za-z0-9_-]{34,}", re.ASCII)  # the form of an API key
AT_ONCE: Final = 2  # digests that a process makes at a time: by default 64 MiB and four threads each
_running: Final = BoundedSemaphore(AT_ONCE)


def passwords() -> PasswordHasher:
    """argon2id as the configuration asks for it: at the library's defaults about 0.1 s of one core."""
    return PasswordHasher(**current_app.config["ARGON2_PARAMETERS"])


@contextmanager
def password_turn() -> Iterator[None]:
    """The right to make a digest; waits for it.

    At most half of the threads of a process work on passwords or wait to, so that a flood of logins
    leaves room for everybody else.

    :raises Unavailable: if that many are here already.
    """
    admitted = _admitted(max(1, current_app.config["WEB_THREADS"] // 2))
    if not admitted.acquire(blocking=False):
        raise Unavailable("Too many logins at once. Try again in a moment.", headers={"Retry-After": "1"})
    try:
        with _running:
            yield
    finally:
        admitted.release()


@cache
def _admitted(places: int) -> BoundedSemaphore:
    return BoundedSemaphore(places)


def hash_password(password: str) -> str:
    """What is stored of ``password``.

    :raises Unavailable: if too many others want the same at the moment.
    """
    with password_turn():
        return passwords().hash(password)


def verify_password(user: User | None, password: str) -> bool:
    """Whether ``password`` is that of ``user``; costs the same if there is no such user.

    A digest that was made with other parameters than today's is replaced. Call it in a
    :func:`password_turn`.
    """
    hasher = passwords()
    stored = user.password if user else _nobodys_digest(hasher)
    password = password[: PASSWORD_MAX + 1]  # no stored password is longer
    try:
        hasher.verify(stored, password)
    except VerifyMismatchError:
        return False
    except (VerificationError, InvalidHashError) as exc:
        log.error("a password could not be checked: %s", exc)  # a damaged digest, or no memory
        return False
    if user and hasher.check_needs_rehash(stored):
        _replace_digest(user.id, stored, hasher.hash(password))
    return user is not None


def _nobodys_digest(hasher: PasswordHasher) -> str:
    """A digest with the parameters of ``hasher`` that no password has."""
    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    salt, digest = (
        base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=")
        for size in (hasher.salt_len, hasher.hash_len)
    )
    return f"$argon2id$v=19${cost}${salt}${digest}"


def _replace_digest(user_id: int, old: str, new: str) -> None:
    """Keep the new digest, unless the password was changed meanwhile."""
    with own_transaction() as session:
        session.execute(update(User).where(User.id == user_id, User.password == old).values(password=new))


def looks_like_a_key(text: str) -> bool:
    """Whether ``text`` has the form of an API key; no password may."""
    return KEY.fullmatch(text) is not None


def check_password_policy(password: str, *, username: str = "", email: str = "") -> None:
    """:raises ValidationFailed: unless ``password`` is good enough for a new one."""
    policy = current_app.config["PASSWORD_POLICY"] or _usual_policy
    problem = policy(password, username, email)
    if len(password) > PASSWORD_MAX:
        problem = f"must have at most {PASSWORD_MAX} characters"
    elif looks_like_a_key(password):
        problem = problem or "must not look like an API key"
    if problem:
        raise ValidationFailed.from_messages({"password": [problem]})


def _usual_policy(password: str, username: str, email: str) -> str | None:
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        return f"must have {PASSWORD_MIN} to {PASSWORD_MAX} characters"
    if not (re.search("[A-Za-z]", password) and re.search("[0-9]", password)):
        return "must contain a letter and a digit"
    if not any(mark in PASSWORD_MARKS for mark in password):
        return f"must contain one of {PASSWORD_MARKS}"
    if password.lower() in (username.lower(), email.lower()):
        return "must not be the name or the address"
    return None


def make_password() -> str:
    """A random password that satisfies the policy: 20 letters and digits, a mark in the middle."""
    alphabet = string.ascii_letters + string.digits
    while True:
        text = "".join(secrets.choice(alphabet) for _ in range(20))
        if re.search("[A-Za-z]", text) and re.search("[0-9]", text):
            return f"{text[:10]}!{text[10:]}"
