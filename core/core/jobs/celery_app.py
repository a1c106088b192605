"""The same jobs, worked on by Celery: ``flask jobs celery``, or ``celery -A core.jobs.celery_app worker -B``.

A message carries nothing: it makes a Celery worker claim the next row and run it, as
``flask jobs work`` does. Lost messages cost one sweep, which the beat asks for every few seconds.
"""

import hashlib
import threading
from typing import Any

from celery import Celery, signals
from flask import Flask

from core.app import create_app
from core.db import db
from core.jobs.queue import create_periodic_jobs, has_work
from core.jobs.run import run_next, worker_name
from core.jobs.wake import MOST_HINTS, TIMEOUT

__all__ = ["make_celery"]

_lock = threading.Lock()
_made: dict[str, Celery] = {}


def make_celery(app: Flask) -> Celery:
    """A Celery application that works on the jobs of ``app``, and sends the messages about them."""
    sweep = app.config["JOBS_SWEEP_INTERVAL"]
    celery = Celery("pulsar", broker=app.config["JOBS_BROKER_URL"], set_as_current=False)
    celery.conf.update(
        task_default_queue=_queue(app),
        task_ignore_result=True,
        task_acks_late=False,  # the row is the truth; a message that comes twice is only in the way
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,  # what is going on is in the table
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=TIMEOUT,
        broker_transport_options={"socket_connect_timeout": TIMEOUT, "max_retries": 1, "interval_start": 0},
        beat_schedule={
            "sweep": {"task": "core.jobs.sweep", "schedule": sweep, "options": {"expires": sweep}}
        },
        beat_schedule_filename=str(app.extensions["pulsar"].instance / "celerybeat"),
    )
    _add_tasks(celery, app, sweep)
    return celery


def _queue(app: Flask) -> str:
    """A queue for each database: two sites may share one Redis, and need not wake each other."""
    return "pulsar-jobs-" + hashlib.sha256(app.config["SQLALCHEMY_DATABASE_URI"].encode()).hexdigest()[:12]


def _add_tasks(celery: Celery, app: Flask, sweep: float) -> None:
    stopping = threading.Event()

    def work() -> None:
        """Run one job. Who found one asks for another, so a long queue keeps all workers busy."""
        if not stopping.is_set() and run_next(app, worker_name(), stopping=stopping.is_set):
            celery.send_task("core.jobs.work")

    def look() -> None:
        """Add periodic jobs, and ask for work on what is due, told of or not."""
        with app.app_context():
            create_periodic_jobs()
            due = has_work(limit=MOST_HINTS)
        for _ in range(due):
            celery.send_task("core.jobs.work", expires=sweep)

    def stop(**_: Any) -> None:
        """Hand jobs back at their next checkpoint. Heard where the pool is one of threads."""
        stopping.set()

    def forget_connections(**_: Any) -> None:
        """A forked process must not use the connections of its parent."""
        with app.app_context():
            db.engine.dispose(close=False)

    celery.task(name="core.jobs.work")(work)
    celery.task(name="core.jobs.sweep")(look)
    signals.worker_shutting_down.connect(stop, weak=False)
    signals.worker_process_init.connect(forget_connections, weak=False)


def __getattr__(name: str) -> Celery:
    """Make ``app`` for ``celery -A core.jobs.celery_app``, when it is asked for and not on import."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _lock:
        if name not in _made:
            _made[name] = make_celery(create_app())
        return _made[name]
