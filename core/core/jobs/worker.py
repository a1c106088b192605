"""A process that works on jobs without any server but the database: ``flask jobs work``."""

import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from flask import Flask
from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError

from core.db import now, own_transaction
from core.jobs.models import Job
from core.jobs.queue import create_periodic_jobs, has_work
from core.jobs.run import run_next, worker_name
from core.jobs.task import Task, mine

__all__ = ["Worker"]

log = logging.getLogger(__name__)

LOOK: Final = 0.2  # s between two looks of the main thread at its threads and at the signal to stop
PATIENCE: Final = 5.0  # s before the database is tried again after it was away


class Worker:
    """Threads that take jobs from the table and run them.

    :param threads: jobs at a time.
    :param drain: end when nothing is due any more, instead of waiting for more.
    :param once: end after one job, or none.
    """

    def __init__(
        self,
        app: Flask,
        *,
        threads: int | None = None,
        drain: bool = False,
        once: bool = False,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.app = app
        self.threads = 1 if once else threads or app.config["JOBS_THREADS"]
        self.drain = drain or once
        self.once = once
        self.clock = clock
        self.done = 0  # attempts worked on so far
        self._stop = False
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._tasks: dict[str, Task] = {}  # by the name of the worker thread
        self._sweep_at = 0.0

    def stop(self) -> None:
        """Take no further job; may be called from a signal handler.

        Jobs that are under way are handed back at their next :meth:`Task.checkpoint`, or finished.
        """
        self._stop = True

    def run(self) -> int:
        """Work until :meth:`stop`, or until nothing is left to do when draining.

        A job that does not come to a checkpoint within ``JOBS_GRACE`` seconds of the stop is handed
        back in its middle; its thread is not waited for.

        :returns: the number of attempts worked on.
        """
        workers = [
            threading.Thread(target=self._work, name=f"jobs-{n}", daemon=True) for n in range(self.threads)
        ]
        log.info("%d threads at work on jobs", self.threads)
        for thread in workers:
            thread.start()
        for thread in workers:
            while thread.is_alive() and not self._stop:
                thread.join(LOOK)
        self._ended.set()
        deadline = time.monotonic() + self.app.config["JOBS_GRACE"]
        for thread in workers:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._stop = True
        self._release()
        return self.done

    def _work(self) -> None:
        """What each thread does."""
        name = worker_name()
        while not self._stop:
            try:
                found = self._once(name)
            except SQLAlchemyError as exc:
                reason = str(getattr(exc, "orig", exc)).partition("\n")[0]
                log.warning("the database did not answer, looking again soon: %s", reason)
                self._wait(PATIENCE)
                continue
            except Exception:  # a thread that ended here would leave the worker half idle, unseen
                log.exception("unexpected error between two jobs")
                self._wait(PATIENCE)
                continue
            if self.once or (self.drain and not found):
                return
            if not found:
                self._idle()

    def _once(self, name: str) -> bool:
        self._sweep()
        task = run_next(
            self.app,
            name,
            clock=self.clock,
            stopping=lambda: self._stop,
            on_claim=lambda task: self._tasks.__setitem__(name, task),
        )
        with self._lock:
            self._tasks.pop(name, None)
            self.done += task is not None
        return task is not None

    def _sweep(self) -> None:
        """Now and then, in one of the threads: add periodic jobs."""
        with self._lock:
            if time.monotonic() < self._sweep_at:
                return
            self._sweep_at = time.monotonic() + self.app.config["JOBS_SWEEP_INTERVAL"]
        with self.app.app_context():
            create_periodic_jobs(at=self.clock())

    def _idle(self) -> None:
        """Wait until something is due. Looking costs one read, and no lock that others wait for."""
        while not self._stop:
            self._wait(self.app.config["JOBS_POLL_INTERVAL"])
            self._sweep()
            with self.app.app_context():
                if has_work(at=self.clock()):
                    return

    def _wait(self, seconds: float) -> None:
        """Sleep, a quarter of it by chance so that workers do not look all at once; the stop ends it."""
        self._ended.wait(seconds * random.uniform(0.75, 1.25))  # noqa: S311 - nothing is secret here

    def _release(self) -> None:
        """Hand back what did not end in time, so that another worker need not wait for the lease."""
        for task in list(self._tasks.values()):
            log.warning("job %d (%s): handed back in its middle", task.job_id, task.kind.name)
            statement = update(Job).where(*mine(task.job_id, task.worker))
            with self.app.app_context(), own_transaction() as session:
                session.execute(
                    statement.values(worker=None, due_at=self.clock(), attempts=Job.attempts - 1),
                    execution_options={"synchronize_session": False},
                )
