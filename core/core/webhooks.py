"""Webhooks: other systems are told of events, by one job for each event and each address.

The job is a row of the transaction in which the event happened, so it is lost no more than the event is, and
exists no more than the event does. It names the webhook by a digest: addresses and secrets are read from
the configuration when it runs, and are in no row and no log.
"""

import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from flask import current_app

from core import __version__, outgoing
from core.db import db
from core.errors import Unavailable
from core.jobs.kinds import job
from core.jobs.queue import enqueue
from core.jobs.task import Failed, Task
from core.models import Event

__all__ = ["Webhook", "deliver_webhook", "enqueue_deliveries", "matches", "signature_of"]

# Pauses of 30 s, 60 s ... and then an hour each: a receiver may be away for about a day.
ATTEMPTS: Final = 30
FIRST_PAUSE: Final = 30.0  # s
TIMEOUT: Final = 10.0  # s for one delivery, from looking up the address to the answer


@dataclass(frozen=True)
class Webhook:
    """One entry of the setting ``WEBHOOKS``."""

    url: str
    events: list[str]
    secret: str

    @property
    def key(self) -> str:
        """What jobs call it."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:16]

    @property
    def host(self) -> str:
        """What people are told of the address; the rest of it may be a secret."""
        return urlsplit(self.url).hostname or ""


def matches(pattern: str, name: str) -> bool:
    """Whether the name of an event is meant: ``core.user.created``, ``core.user.*`` or ``*``."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def enqueue_deliveries(event: Event) -> None:
    """Add the jobs that tell the webhooks of ``event`` to the present transaction."""
    for webhook in _webhooks():
        if any(matches(pattern, event.name) for pattern in webhook.events):
            db.session.flush()  # gives the event its id
            enqueue(deliver_webhook, event_id=event.id, webhook=webhook.key)


def _webhooks() -> list[Webhook]:
    return [Webhook(**entry) for entry in current_app.config["WEBHOOKS"]]


@job("core.deliver_webhook", max_attempts=ATTEMPTS, backoff=FIRST_PAUSE, priority=-10)
def deliver_webhook(task: Task, *, event_id: int, webhook: str) -> dict[str, Any]:
    """Send one event to one address.

    :returns: the host, and the status it answered with.
    """
    found = next((entry for entry in _webhooks() if entry.key == webhook), None)
    if found is None:
        raise Failed("This webhook is not configured any more.")
    event = db.session.get(Event, event_id)
    if event is None:
        raise Failed("The event is not kept any more.")
    body = _body(event)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"pulsar/{__version__}",
        "X-Pulsar-Event": event.name,
        "X-Pulsar-Delivery": str(event_id),
        "X-Pulsar-Signature": signature_of(body, found.secret, int(time.time())),
    }
    db.session.rollback()  # no transaction waits for the other side
    allowed = current_app.config["WEBHOOK_ALLOW_PRIVATE"]
    status = outgoing.post(found.url, body, headers, timeout=TIMEOUT, allow_private=allowed)
    if not 200 <= status < 300:
        raise Unavailable(f"{found.host} answered {status}.")
    return {"host": found.host, "status": status}


def _body(event: Event) -> bytes:
    told = {
        "id": event.id,
        "name": event.name,
        "happened_at": int(event.happened_at.timestamp()),
        "actor": event.actor or None,
        "target": event.target or None,
        "payload": event.payload,
    }
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def signature_of(body: bytes, secret: str, moment: int) -> str:
    """HMAC-SHA-256 over the time, in seconds since 1970, a dot, and the body."""
    signed = hmac.digest(secret.encode(), b"%d." % moment + body, "sha256")
    return f"t={moment},v1={signed.hex()}"
