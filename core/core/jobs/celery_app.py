"""The same jobs, worked on by Celery: ``flask jobs celery``, or ``celery -A core.jobs.celery_app worker``.

A message carries nothing: it makes a Celery worker claim the next row and run it, as ``flask jobs work``
does. Each worker also looks at the table every few seconds, so that a lost message costs no more than
that, and there is no beat to be started, forgotten, or left over.
"""

import hashlib
import logging
import threading
from typing import Any

from celery import Celery, signals
from flask import Flask

from core.app import create_app
from core.db import db
from core.jobs.queue import create_periodic_jobs, has_work
from core.jobs.run import run_next, worker_name
from core.jobs.wake import MOST_HINTS, TIMEOUT, WORK

__all__ = ["make_celery"]

log = logging.getLogger(__name__)

_lock = threading.Lock()
_made: dict[str, Celery] = {}


def make_celery(app: Flask) -> Celery:
    """A Celery application that works on the jobs of ``app``, and sends the messages about them."""
    celery = Celery("pulsar", broker=app.config["JOBS_BROKER_URL"], set_as_current=False)
    celery.conf.update(
        task_default_queue=_queue(app),
        task_ignore_result=True,
        task_acks_late=False,  # the row is the truth; a message that comes twice is only in the way
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,  # what is going on is in the table
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=TIMEOUT,
        # Without a limit, a request that adds a job would wait for a dead broker for ever.
        broker_transport_options={"socket_connect_timeout": TIMEOUT, "max_retries": 1, "interval_start": 0},
    )
    _Engine(app, celery)
    return celery


def _queue(app: Flask) -> str:
    """A queue for each database: two sites may share one Redis, and need not wake each other."""
    return "pulsar-jobs-" + hashlib.sha256(app.config["SQLALCHEMY_DATABASE_URI"].encode()).hexdigest()[:12]


class _Engine:
    """What a Celery worker does for one app: its task, and its look at the table every few seconds."""

    def __init__(self, app: Flask, celery: Celery) -> None:
        self.app = app
        self.celery = celery
        self.interval: float = app.config["JOBS_SWEEP_INTERVAL"]
        self.stopping = threading.Event()
        celery.task(name=WORK)(self.work)
        signals.setup_logging.connect(self.leave_logging_alone, weak=False)
        signals.worker_ready.connect(self.start, weak=False)
        signals.worker_shutting_down.connect(self.stop, weak=False)
        signals.worker_process_init.connect(self.forget_connections, weak=False)

    def work(self) -> None:
        """Run one job. Who found one asks for another, so a long queue keeps all workers busy."""
        if not self.stopping.is_set() and run_next(self.app, worker_name(), stopping=self.stopping.is_set):
            self.celery.send_task(WORK)

    def start(self, sender: Any, **_: Any) -> None:
        """Begin to look at the table, in a thread of the worker's main process."""
        if sender.app is not self.celery:
            return
        for name in ("celery.worker.strategy", "celery.app.trace"):
            logging.getLogger(name).setLevel(logging.WARNING)  # two lines a message that say nothing
        log.info("at work on jobs")
        threading.Thread(target=self.look_often, name="jobs-sweep", daemon=True).start()

    def leave_logging_alone(self, **_: Any) -> None:
        """The site has set it up; that somebody listens here keeps Celery from doing it again."""

    def look_often(self) -> None:
        """Add periodic jobs, and ask for work on whatever is due, told of or not."""
        while not self.stopping.wait(self.interval):
            try:
                with self.app.app_context():
                    create_periodic_jobs()
                    due = has_work(limit=MOST_HINTS)
                for _ in range(due):
                    self.celery.send_task(WORK, expires=self.interval, retry=False)
            except Exception as exc:  # the database or the broker may be away for a while
                log.warning("could not look for jobs, trying again soon: %s", exc)

    def stop(self, **_: Any) -> None:
        """Hand jobs back at their next checkpoint. Heard where the pool is one of threads."""
        self.stopping.set()

    def forget_connections(self, **_: Any) -> None:
        """A forked process must not use the connections of its parent."""
        with self.app.app_context():
            db.engine.dispose(close=False)


def __getattr__(name: str) -> Celery:
    """Make ``app`` for ``celery -A core.jobs.celery_app``, when it is asked for and not on import."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _lock:
        if name not in _made:
            _made[name] = make_celery(create_app())
        return _made[name]
