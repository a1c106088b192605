"""Mails with links that open an account. They are written when they are sent, so that no link is stored."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from sqlalchemy import select

from core import mail
from core.db import db, now
from core.events import CoreEvents, emit
from core.jobs.kinds import job
from core.jobs.task import Task
from core.models import Event
from core.users.models import User
from core.users.services.links import make_reset_link, make_verification_link

__all__ = ["mail_reset", "mail_verification"]

PAUSE: Final = 600  # s between two mails for one purpose to one user

VERIFY: Final = """Hello {name},

this address was given for your account. Open this page to say that it is yours; it can be opened for a day:

{link}

If you have no account with us, somebody has mistyped. There is nothing to do.
"""
RESET: Final = """Hello {name},

somebody asked for a new password of your account. You can set it on this page, once, within a day:

{link}

If that was not you there is nothing to do; your password is as it was.
"""


@job("core.mail_verification", max_attempts=mail.ATTEMPTS, backoff=mail.FIRST_PAUSE)
def mail_verification(task: Task, *, user_id: int) -> int:
    """Send a user the link that verifies the address.

    :returns: how many mails there were: none if the address is verified, or another was sent just now.
    """
    user = db.session.get(User, user_id)
    if user is None or user.email_verified_at is not None:
        return 0
    text = VERIFY.format(name=user.username, link=make_verification_link(user))
    return _deliver("verification", "Is this your address?", {user.id: (user.email, text)})


@job("core.mail_reset", max_attempts=mail.ATTEMPTS, backoff=mail.FIRST_PAUSE)
def mail_reset(task: Task, *, email: str) -> int:
    """Send the users with an address links that set their passwords.

    :returns: how many mails there were; who got one just now gets none.
    """
    users = db.session.scalars(select(User).where(User.email == email, User.enabled)).all()
    texts = {user.id: RESET.format(name=user.username, link=make_reset_link(user)) for user in users}
    return _deliver("reset", "A new password", {user_id: (email, text) for user_id, text in texts.items()})


def _deliver(purpose: str, subject: str, mails: Mapping[int, tuple[str, str]]) -> int:
    """Send ``mails`` (by user: address and text), but not to who got one like it a moment ago."""
    targets = {f"user:{user_id}": letter for user_id, letter in mails.items()}
    recent = select(Event).where(
        Event.name == str(CoreEvents.LINK_MAILED),
        Event.target.in_(targets),
        Event.happened_at > now() - timedelta(seconds=PAUSE),
    )
    had = {event.target for event in db.session.scalars(recent) if event.payload["purpose"] == purpose}
    wanted = {target: letter for target, letter in targets.items() if target not in had}
    for target, (to, text) in wanted.items():
        db.session.rollback()  # no transaction waits for the server
        mail.deliver(to, subject, text)
        emit(CoreEvents.LINK_MAILED, target=target, purpose=purpose)
        db.session.commit()
    return len(wanted)
