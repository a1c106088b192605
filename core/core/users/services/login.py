"""Signing in with a password, and how often it may fail.

A try is counted before the password is looked at and taken back when it was right, in short
transactions of their own. So any number of tries at once, in any number of processes, cannot be more
than are allowed, and a refusal rolls nothing back.
"""

import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import Final

from flask import current_app
from sqlalchemy import ColumnElement, and_, case, delete, false, or_, select, update
from sqlalchemy.exc import IntegrityError

from core.db import change, db, now, own_transaction
from core.errors import AccountDisabled, RateLimited, Unauthenticated
from core.events import CoreEvents, emit
from core.limits import network_of
from core.users.models import LoginFailure, User
from core.users.services.accounts import find_user
from core.users.services.passwords import password_turn, verify_password

__all__ = ["check_password", "log_in", "refuse_if_locked_out"]

WRONG: Final = "Invalid credentials."
PRUNED: Final = 100  # rows deleted at a time
Limit = tuple[str, tuple[int, int] | None]  # whose failures: a digest; how many in how many seconds


def log_in(username: str, password: str, address: str) -> User:
    """The user whose name and password these are.

    :param address: where the caller is, as failures from there are counted too.
    :raises Unauthenticated: if they are not, in the same words and after the same work whether there is
        such a user.
    :raises AccountDisabled: if they are, and the account is switched off.
    :raises RateLimited: if it has failed too often; whether the password is right is then not looked at.
    :raises Unavailable: if too many others want the same at the moment.
    """
    user = _prove(username, None, password, address)
    if user is None:
        raise Unauthenticated(WRONG)
    if not user.enabled:
        raise AccountDisabled
    return user


def check_password(user: User, password: str, address: str) -> bool:
    """Whether ``password`` is that of ``user``; a wrong one counts like a failed login."""
    return _prove(user.username, user, password, address) is not None


def _prove(username: str, user: User | None, password: str, address: str) -> User | None:
    with password_turn():
        by_account, by_address = _limits(username, address)
        _begin_try(by_address)
        try:
            _begin_try(by_account)
        except RateLimited:
            _take_back(by_address)
            raise
        user = user or find_user(username)
        if verify_password(user, password):
            _forget(by_account)
            _take_back(by_address)
            return user
    with own_transaction() as session:
        # Unknown names too, without saying them: it must cost the same, and they are often passwords.
        target = f"user:{user.id}" if user else ""
        emit(CoreEvents.LOGIN_FAILED, target=target, session=session)
    return None


def refuse_if_locked_out(username: str, address: str) -> None:
    """:raises RateLimited: if logins to this account, or from this address, fail too often."""
    full = or_(false(), *(_full(limit) for limit in _limits(username, address) if limit[1]))
    live = select(LoginFailure.ends_at).where(full, LoginFailure.ends_at > now())
    ends_at = db.session.scalar(live.order_by(LoginFailure.ends_at.desc()).limit(1))
    if ends_at is not None:
        raise _refusal(ends_at)


def _full(limit: Limit) -> ColumnElement[bool]:
    subject, allowed = limit
    assert allowed is not None, "without a limit nothing is full"
    return and_(LoginFailure.subject == subject, LoginFailure.failures >= allowed[0])


def _limits(username: str, address: str) -> Sequence[Limit]:
    config = current_app.config
    key = hmac.digest(config["SECRET_KEY"].encode(), b"pulsar.login-failure.v1", "sha256")
    subjects = f"account {username.lower()}", f"address {network_of(address)}"
    digests = [hmac.new(key, text.encode(), "sha256").hexdigest() for text in subjects]
    return tuple(
        zip(digests, (config["RATE_LIMIT_LOGIN_ACCOUNT"], config["RATE_LIMIT_LOGIN_ADDRESS"]), strict=True)
    )


def _begin_try(limit: Limit) -> None:
    """Count a try as failed, for the time being.

    :raises RateLimited: if there were as many as are allowed.
    """
    subject, allowed = limit
    if allowed is None:
        return
    most, seconds = allowed
    moment = now()
    over = LoginFailure.ends_at <= moment
    values = {
        # In this order: MariaDB works from left to right, and the first must see the old end.
        LoginFailure.failures: case((over, 1), else_=LoginFailure.failures + 1),
        LoginFailure.ends_at: case((over, moment + timedelta(seconds=seconds)), else_=LoginFailure.ends_at),
    }
    count = (
        update(LoginFailure)
        .where(LoginFailure.subject == subject, or_(over, LoginFailure.failures < most))
        .ordered_values(*values.items())
    )
    while True:
        with own_transaction() as session:
            if change(session, count):
                return
            full = (LoginFailure.subject == subject, LoginFailure.ends_at > moment)
            ends_at = session.scalar(select(LoginFailure.ends_at).where(*full))
        if ends_at is not None:
            raise _refusal(ends_at)
        if _add(subject, moment + timedelta(seconds=seconds)):
            _prune(moment)
            return


def _add(subject: str, ends_at: datetime) -> bool:
    """Write down the first try; False if somebody else just did."""
    try:
        with own_transaction() as session:
            session.add(LoginFailure(subject=subject, failures=1, ends_at=ends_at))
    except IntegrityError:
        return False
    return True


def _prune(moment: datetime) -> None:
    """Delete some of what is over. By the primary key, in which order everybody else locks too."""
    with own_transaction() as session:
        over = select(LoginFailure.subject).where(LoginFailure.ends_at <= moment).limit(PRUNED)
        if found := session.scalars(over).all():
            session.execute(
                delete(LoginFailure).where(
                    LoginFailure.subject.in_(sorted(found)), LoginFailure.ends_at <= moment
                )
            )


def _take_back(limit: Limit) -> None:
    if limit[1] is not None:
        same = (LoginFailure.subject == limit[0], LoginFailure.failures > 0)
        with own_transaction() as session:
            session.execute(update(LoginFailure).where(*same).values(failures=LoginFailure.failures - 1))


def _forget(limit: Limit) -> None:
    with own_transaction() as session:
        session.execute(delete(LoginFailure).where(LoginFailure.subject == limit[0]))


def _refusal(ends_at: datetime) -> RateLimited:
    seconds = max(1, ceil((ends_at - now()).total_seconds()))
    return RateLimited(
        f"Login rate limit exceeded. {seconds} seconds until lock expires.",
        headers={"Retry-After": str(seconds)},
    )
