"""Tell plugins what happened: after the commit, each in a transaction of its own, at least once.

The row of the event is the truth: ``delivered_at`` is empty until every listener was told. A thread of the
process that committed tells them, so that no answer waits for a listener; a periodic job tells of the
rows that a crash left over. Where no plugin listens a row is born delivered, and nothing here runs.
"""

import logging
import threading
from collections.abc import Callable, Collection
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any, Final

from flask import Flask, current_app
from sqlalchemy import inspect, select, update

from core.db import after_commit, db, now, own_transaction
from core.jobs.kinds import job
from core.jobs.task import Task
from core.models import Event
from core.plugins import hook_calls
from core.site import current_site, site_of

__all__ = ["are_there", "tell_after_commit", "tell_leftovers", "wait"]

log = logging.getLogger(__name__)

BATCH: Final = 100  # events that are read, and marked as delivered, at once
MOST_WAITING: Final = 10_000  # events that a process keeps in mind; the job tells of more
LEFT_OVER: Final = 60.0  # s after which a row that is not delivered is taken for a crash's


def are_there() -> bool:
    """Whether any plugin listens to events."""
    return bool(current_site().hooks.hook.event.get_hookimpls())


def tell_after_commit(event: Event) -> None:
    """Have the listeners told of ``event`` once the present transaction is stored."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    teller = _teller(app)

    def tell() -> None:
        identity = inspect(event).identity  # the attribute would be read again, in a new transaction
        assert identity is not None, "it was committed"
        teller.add(identity[0])

    after_commit(tell)


def wait() -> None:
    """Return when this process has told the listeners of everything it committed so far."""
    _teller(current_app._get_current_object()).wait()  # type: ignore[attr-defined]


class _Teller:
    """A thread that lives as long as there is something to tell; a process that ends waits for it."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.lock = threading.Lock()
        self.waiting: list[int] = []
        self.thread: threading.Thread | None = None

    def add(self, event_id: int) -> None:
        with self.lock:
            if len(self.waiting) >= MOST_WAITING:
                return
            self.waiting.append(event_id)
            if self.thread is None or not self.thread.is_alive():  # a forked process has no thread but one
                self.thread = threading.Thread(target=self._work, name="event listeners")
                self.thread.start()

    def wait(self) -> None:
        thread = self.thread
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        while batch := self._next():
            try:
                _tell(self.app, batch)
            except Exception as exc:  # the database may be away; the rows stay, and the job finds them
                log.warning("%d events could not be told of, they will be later: %s", len(batch), exc)

    def _next(self) -> list[int]:
        with self.lock:
            batch, self.waiting = self.waiting[:BATCH], self.waiting[BATCH:]
            if not batch:
                self.thread = None
            return batch


def _teller(app: Flask) -> _Teller:
    found: _Teller = app.extensions.setdefault("core.listeners", _Teller(app))
    return found


def _tell(app: Flask, event_ids: Collection[int]) -> None:
    """Tell every listener of those events that are not delivered yet, and mark them."""
    undelivered = (Event.id.in_(event_ids), Event.delivered_at.is_(None))
    with app.app_context(), own_transaction() as session:
        events = session.scalars(select(Event).where(*undelivered).order_by(Event.id)).all()
        session.expunge_all()  # what a listener does to an event is not stored
    listeners = list(hook_calls(site_of(app).hooks, "event"))
    for event in events:
        for plugin, call in listeners:
            _call(app, plugin, call, event)
    with app.app_context(), own_transaction() as session:
        session.execute(update(Event).where(*undelivered).values(delivered_at=now()))


def _call(app: Flask, plugin: str, call: Callable[..., Any], event: Event) -> None:
    with app.app_context():
        try:
            call(name=event.name, payload=deepcopy(event.payload), event=event)
            db.session.commit()
        except (Exception, SystemExit):  # foreign code; the others shall hear of it still
            db.session.rollback()
            log.exception("%s: its listener failed at event %d, %s", plugin, event.id, event.name)


@job("core.tell_listeners", every=300)
def tell_leftovers(task: Task) -> int:
    """Tell listeners of what a process that died committed and did not tell.

    :returns: how many events there were.
    """
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    before = now() - timedelta(seconds=LEFT_OVER)
    told = 0
    while batch := _left_over(before):
        _tell(app, batch)
        told += len(batch)
        task.progress(told, unit="events")
        task.checkpoint()
    return told


def _left_over(before: datetime) -> list[int]:
    query = select(Event.id).where(Event.delivered_at.is_(None), Event.happened_at < before)
    with own_transaction() as session:
        return list(session.scalars(query.order_by(Event.id).limit(BATCH)))
