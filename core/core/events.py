"""What happened: one stream, from which the audit log, webhooks and plugins take.

A service says what it did, in the transaction in which it does it::

    emit(CoreEvents.USER_CREATED, target=f"user:{user.id}", username=user.username)

A plugin declares its events in ``events.py``, as :class:`CoreEvents` does; the first part of a name is
the plugin's. See ``docs/events.md``.
"""

import logging
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Self

from flask import current_app, g, has_request_context, request
from sqlalchemy.orm import Session

from core import listeners, webhooks
from core.db import db, now
from core.identity import current_identity
from core.models import Event
from core.site import current_site

__all__ = ["CoreEvents", "EventsEnum", "emit"]

log = logging.getLogger(__name__)

# What a key of a payload may not end with: the audit log and other systems read it.
SECRET: Final = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|secret|token|key|cookie|authorization|credential)s?$", re.I
)


class EventsEnum(StrEnum):
    """Events of one plugin: a member is its name and a sentence.

    Names are words with dots between them, of at most 64 characters: the plugin, what it is about, and
    what happened to it.
    """

    description: str

    def __new__(cls, name: str, description: str) -> Self:
        member = str.__new__(cls, name)
        member._value_ = name
        member.description = description
        return member


class CoreEvents(EventsEnum):
    """Events of core."""

    USER_CREATED = "core.user.created", "An account was made: by registration, or by an administrator."
    USER_CHANGED = "core.user.changed", "Somebody else's account was changed; the payload names the fields."
    USER_LOCKED = "core.user.locked", "An account was locked or disabled, or is no longer."
    PASSWORD_CHANGED = "core.user.password_changed", "A password was changed."
    LINK_MAILED = (
        "core.user.link_mailed",
        "A link was mailed to a user: to set the password, or to verify the address.",
    )
    EMAIL_VERIFIED = (
        "core.user.email_verified",
        "A user has shown that the address of the account is the user's.",
    )
    PERMISSIONS_CHANGED = "core.user.permissions_changed", "Permissions of one user were given or taken away."
    LOGIN_FAILED = "core.login.failed", "Somebody gave a wrong password for an account."
    SESSION_CREATED = "core.session.created", "A browser signed in."
    API_KEY_CREATED = "core.api_key.created", "An API key was made."
    API_KEY_REVOKED = "core.api_key.revoked", "An API key, session or token was revoked, or has expired."
    TOKEN_CREATED = "core.token.created", "A program signed in, or stays signed in, and got an access token."
    INVITE_SENT = "core.invite.sent", "An invite was made."
    INVITE_USED = "core.invite.used", "Somebody registered with an invite."
    INVITE_REVOKED = "core.invite.revoked", "An invite was revoked."
    CLASS_CREATED = "core.user_class.created", "A class of users was made."
    CLASS_CHANGED = "core.user_class.changed", "Permissions of a class were changed."
    CLASS_DELETED = "core.user_class.deleted", "A class was deleted."
    NOTIFICATION_CREATED = "core.notification.created", "A user was notified."


def emit(name: EventsEnum, /, *, target: str = "", session: Session | None = None, **payload: Any) -> Event:
    """Write down that something happened, in the present transaction; listeners hear of it after the commit.

    :param target: what it happened to, as ``kind:id``, at most 128 characters.
    :param payload: further facts, as JSON can say them.
    :param session: of another transaction, for what stays true when the request is refused. Webhooks do not
        hear of it, and listeners by the next look at what was left over.
    :raises ValueError: if a key of the payload, at any depth, is called like a secret.
    :raises LookupError: in tests, if no enabled plugin declares the event. Otherwise that is logged.
    """
    site = current_site()
    if name not in site.events:
        if current_app.testing:
            raise LookupError(f"no enabled plugin declares the event {name}")
        log.error("the event %s is not declared by any enabled plugin", name)
    _refuse_secrets(name, payload)
    moment, identity = now(), current_identity()
    inside = has_request_context()
    listened = listeners.are_there()
    event = Event(
        name=str(name),
        happened_at=moment,
        actor_id=identity.user_id,
        actor=identity.username or "",
        key_hash=identity.key_hash or "",
        ip=identity.shown_address(request.remote_addr)[:45] if inside else "",
        request_id=g.get("request_id", "") if inside else "",
        target=target,
        payload=payload,
        delivered_at=None if listened else moment,
    )
    if session is not None:
        session.add(event)
        return event
    db.session.add(event)
    if listened:
        listeners.tell_after_commit(event)
    webhooks.enqueue_deliveries(event)
    return event


def _refuse_secrets(name: str, found: Any) -> None:
    if isinstance(found, Mapping):
        for key, value in found.items():
            if SECRET.search(str(key)):
                raise ValueError(f"{name}: {key} looks like a secret, which no event may carry")
            _refuse_secrets(name, value)
    elif isinstance(found, list | tuple):
        for value in found:
            _refuse_secrets(name, value)
