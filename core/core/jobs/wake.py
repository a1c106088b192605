"""Tell idle workers that there is something to do.

Only a hint: a worker that does not hear it finds the row when it looks the next time. So nothing here
may fail, or make a request wait for a server that is away.
"""

import importlib
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from flask import Flask, current_app
from sqlalchemy.orm import SessionTransaction

from core.db import db

__all__ = ["announcement", "celery_of"]

log = logging.getLogger(__name__)

WORK: Final = "core.jobs.work"  # name of the task of Celery
MOST_HINTS: Final = 16  # of one transaction; workers that hear one go on until nothing is left
SILENCE: Final = 30.0  # s without an attempt after one failed, so that a dead server costs one time-out
TIMEOUT: Final = 2.0  # s to reach the broker


class Announcer:
    """Sends the hints of one app to its Celery workers, if it has a broker."""

    def __init__(self, app: Flask) -> None:
        self.celery = celery_of(app)
        self.silent_until = 0.0

    def __call__(self) -> None:
        if self.celery is None or time.monotonic() < self.silent_until:
            return
        try:
            self.celery.send_task(WORK, retry=False)
        except Exception as exc:  # a hint may not do harm, whatever the client library raises
            self.silent_until = time.monotonic() + SILENCE
            log.warning("workers could not be told of new jobs, they will find them: %s", exc)


class _Hints:
    """The hints of one transaction, of which the first few are enough."""

    def __init__(self, transaction: SessionTransaction | None, announcer: Announcer) -> None:
        self.transaction = transaction
        self.announcer = announcer
        self.sent = 0

    def __call__(self) -> None:
        if self.sent < MOST_HINTS:
            self.sent += 1
            self.announcer()


def announcement() -> Callable[[], None]:
    """What to call after the commit of the present transaction, once for each job in it."""
    session = db.session
    transaction = session.get_transaction()
    hints: _Hints | None = session.info.get("core.jobs.hints")
    if hints is None or hints.transaction is not transaction:
        hints = session.info["core.jobs.hints"] = _Hints(transaction, _announcer())
    return hints


def _announcer() -> Announcer:
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    found: Announcer | None = app.extensions.get("core.jobs.announcer")
    if found is None:
        found = app.extensions["core.jobs.announcer"] = Announcer(app)
    return found


def celery_of(app: Flask) -> Any:
    """The Celery application of ``app``; None if there is no broker.

    Celery costs each start of each command a quarter of a second; who has no broker does not pay.
    """
    if not app.config["JOBS_BROKER_URL"]:
        return None
    if "celery" not in app.extensions:
        app.extensions["celery"] = importlib.import_module("core.jobs.celery_app").make_celery(app)
    return app.extensions["celery"]
