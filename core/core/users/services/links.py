"""Links that prove that somebody reads the mail of an account: to verify its address, to set its password."""

import hashlib
import logging
from typing import Any, Final

from flask import current_app
from itsdangerous import BadSignature, URLSafeTimedSerializer

from core import mail
from core.db import db, now
from core.errors import Unauthenticated
from core.events import CoreEvents, emit
from core.jobs.queue import enqueue
from core.users.models import User
from core.users.services.accounts import change_password, check_email

__all__ = [
    "ask_for_reset",
    "ask_for_verification",
    "find_resettable",
    "make_reset_link",
    "make_verification_link",
    "reset_password",
    "verify_address",
]

log = logging.getLogger(__name__)

LIFE: Final = 24 * 3600  # s
INVALID: Final = "This link is not valid any more."


def ask_for_verification(user: User) -> None:
    """Mail ``user`` a link that verifies the address; without a mail server, log it.

    Logged it does no harm: all it says is that the operator knows whose address it is.
    """
    if mail.can_send():
        enqueue("core.mail_verification", unique_key=f"core.mail_verification:{user.id}", user_id=user.id)
    else:
        link = make_verification_link(user)
        log.info("no mail server is configured; %s verifies %s at %s", user.username, user.email, link)


def make_verification_link(user: User) -> str:
    """A link that is good until the address changes, for a day."""
    return mail.address_of(f"/activate/{_serializer('verify').dumps([user.id, user.email])}")


def verify_address(token: str) -> User:
    """Note that the address of an account is its user's.

    :param token: the last part of a verification link.
    :raises Unauthenticated: if it is not good.
    """
    user_id, email = _open("verify", token)
    user = db.session.get(User, user_id)
    if user is None or user.email != email:
        raise Unauthenticated(INVALID)
    _note_verified(user)
    return user


def ask_for_reset(email: str) -> None:
    """Mail whoever has an account with this address a link to set its password; nobody is told if any has.

    Without a mail server nothing is sent, and nothing is logged that would open an account.

    :raises ValidationFailed: if it is no address.
    """
    email = check_email(email)
    if not mail.can_send():
        log.warning("a password was to be reset, but no mail server is configured: use flask admin passwd")
        return
    # The job looks who that is: so it takes no longer here if there is somebody.
    key = hashlib.sha256(email.encode()).hexdigest()
    enqueue("core.mail_reset", unique_key=f"core.mail_reset:{key}", email=email)


def make_reset_link(user: User) -> str:
    """A link that is good until the password or the address changes, for a day."""
    return mail.address_of(f"/password/{_serializer('reset').dumps([user.id, _fingerprint(user)])}")


def reset_password(token: str, password: str) -> User:
    """Set the password of the account that a link was mailed to; all its keys, sessions and tokens end.

    :param token: the last part of a reset link.
    :raises Unauthenticated: if it is not good, or was used.
    :raises ValidationFailed: if the password is not good enough.
    """
    user = find_resettable(token, lock=True)
    change_password(user, password)
    _note_verified(user)  # the link came with a mail to it
    return user


def find_resettable(token: str, *, lock: bool = False) -> User:
    """Whose password a link sets.

    :param lock: keep others who would use the same link waiting, until it is used.
    :raises Unauthenticated: if it is not good, or was used.
    """
    user_id, fingerprint = _open("reset", token)
    user = db.session.get(User, user_id, with_for_update=True if lock else None)
    if user is None or not user.enabled or _fingerprint(user) != fingerprint:
        raise Unauthenticated(INVALID)
    return user


def _note_verified(user: User) -> None:
    if user.email_verified_at is None:
        user.email_verified_at = now()
        emit(CoreEvents.EMAIL_VERIFIED, target=f"user:{user.id}")


def _fingerprint(user: User) -> str:
    """Another one for each password and address, and no help in finding them."""
    return hashlib.sha256(f"{user.password} {user.email}".encode()).hexdigest()[:32]


def _serializer(purpose: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.config["SECRET_KEY"], salt=f"pulsar.{purpose}.v1")


def _open(purpose: str, token: str) -> tuple[int, str]:
    try:
        found: Any = _serializer(purpose).loads(token, max_age=LIFE)
    except BadSignature:
        raise Unauthenticated(INVALID) from None
    return found[0], found[1]
