"""What a job holds in its hands while it runs: its place in the table, and its right to it."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn

from sqlalchemy import ColumnElement, Update, select, update
from sqlalchemy.engine import Engine

from core.db import db, now
from core.jobs.kinds import JobKind
from core.jobs.models import Job, JobState

__all__ = ["Cancelled", "Failed", "Heartbeat", "Interruption", "Snoozed", "Superseded", "Task"]

log = logging.getLogger(__name__)

WRITE_INTERVAL: Final = 1.0  # s, shortest time between two writes of progress


class Interruption(BaseException):
    """The job ends here for now, and not because it failed.

    Not an ``Exception``: a job that catches those of its steps must not swallow this. Clean up in
    ``finally``, and let it pass.
    """


class Superseded(Interruption):
    """Another worker has the job; nothing may be written any more."""


class Cancelled(Interruption):
    """Somebody cancelled the job."""


class Snoozed(Interruption):
    """The job gives up its worker and wants to be called again later."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Failed(Exception):
    """The job cannot succeed, however often it is tried. The message is for its owner."""


class Task:
    """One attempt at a job, given to its function as the first argument.

    Use it from the thread that the function was called in. Its methods work on ``db.session`` and commit:
    what was written since the last commit is stored together with the proof that this worker still has
    the job, or not at all. So call them where the work done so far may be stored, and prefer
    :meth:`checkpoint` to a plain commit.
    """

    def __init__(
        self,
        job: Job,
        kind: JobKind,
        *,
        clock: Callable[[], datetime] = now,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        assert job.worker is not None
        self.job_id: int = job.id
        self.kind = kind
        self.worker: str = job.worker
        self.arguments: dict[str, Any] = dict(job.arguments)
        self.attempt: int = job.attempts
        self.max_attempts: int = job.max_attempts
        self.owner_id: int | None = job.owner_id
        self.lost = self.cancelled = False  # as the heartbeat found it
        self._clock = clock
        self._stopping = stopping
        self._progress: dict[str, Any] = {}
        self._interval = min(WRITE_INTERVAL, kind.lease / 3)
        self._written = time.monotonic()

    def progress(self, done: int, total: int | None = None, unit: str | None = None) -> None:
        """Say how far the job is; at most once a second this is a :meth:`checkpoint`, else free.

        :param total: of the same unit as ``done``; None if it is not known.
        :param unit: such as ``files`` or ``B``, at most 32 characters.
        :raises Interruption: as :meth:`checkpoint` does.
        """
        self._progress = {"progress_done": done, "progress_total": total, "progress_unit": unit}
        self._obey()
        if time.monotonic() - self._written >= self._interval:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Commit the work done so far, renew the lease, and hear whether to go on.

        :raises Superseded: if another worker has the job; the work since the last commit is rolled back.
        :raises Cancelled: if somebody cancelled it; likewise.
        :raises Snoozed: if this worker is about to stop; the work is kept, and another goes on soon.
        """
        self._obey()
        if not self._store(self._held(), due_at=self._in(self.kind.lease), **self._progress):
            raise self._why()
        self._written = time.monotonic()

    def snooze(self, seconds: float) -> NoReturn:
        """Commit the work done so far, give up the worker, and be called again after ``seconds``.

        For whoever waits for something: no worker is occupied meanwhile, and no attempt is counted. With
        0 the job lets every other job of its priority that is due go first.
        """
        raise Snoozed(seconds)

    def finish(self, result: Any) -> None:
        """Commit, and mark the job as done with ``result``.

        :raises Superseded: if another worker has it; the work since the last commit is rolled back.
        """
        if not self._store(self._mine(), **self._end(JobState.DONE), error=None, result=result):
            raise Superseded

    def fail(self, error: str, *, final: bool = False) -> bool:
        """Mark this attempt as failed, the job too if it was the last one.

        :returns: whether there will be another attempt.
        :raises Superseded: if another worker has the job.
        """
        if not final and self.attempt < self.max_attempts:
            pause = self.kind.pause(self.attempt)
            if self._store(self._held(), worker=None, due_at=self._in(pause), error=error, **self._progress):
                return True
            self.cancel()
        elif not self._store(self._mine(), **self._end(JobState.FAILED), error=error):
            raise Superseded
        return False

    def cancel(self) -> None:
        """Mark the job as cancelled.

        :raises Superseded: if another worker has it.
        """
        if not self._store(self._mine(), **self._end(JobState.CANCELLED)):
            raise Superseded

    def hand_back(self, seconds: float) -> None:
        """Commit, and leave the job to whoever is free after ``seconds``; the attempt does not count.

        :raises Superseded: if another worker has it; the work since the last commit is rolled back.
        """
        values = {"worker": None, "due_at": self._in(seconds), "attempts": Job.attempts - 1}
        if not self._store(self._held(), **values, **self._progress):
            self.cancel()

    def _obey(self) -> None:
        """Stop if there is a reason that costs no query to know."""
        if self.lost:
            raise Superseded
        if self.cancelled:
            raise Cancelled
        if self._stopping():
            raise Snoozed(0.0)

    def _mine(self) -> Update:
        return update(Job).where(*mine(self.job_id, self.worker))

    def _held(self) -> Update:
        """Like :meth:`_mine`, but not once the job is cancelled."""
        return self._mine().where(Job.cancel_requested.is_(False))

    def _store(self, statement: Update, **values: Any) -> bool:
        """Commit the work with this one change of the row, or roll both back."""
        changed = db.session.connection().execute(statement.values(**values)).rowcount
        if changed:
            db.session.commit()
        else:
            db.session.rollback()
        return bool(changed)

    def _why(self) -> Interruption:
        found = db.session.scalar(select(Job.id).where(*mine(self.job_id, self.worker)))
        db.session.rollback()
        return Superseded() if found is None else Cancelled()

    def _end(self, state: JobState) -> dict[str, Any]:
        ended = {"state": state, "worker": None, "unique_key": None, "finished_at": self._clock()}
        return ended | self._progress

    def _in(self, seconds: float) -> datetime:
        return self._clock() + timedelta(seconds=seconds)


def mine(job_id: int, worker: str) -> tuple[ColumnElement[bool], ...]:
    """True of the row as long as ``worker`` has the job; the fence before every write."""
    return Job.id == job_id, Job.worker == worker, Job.state == JobState.RUNNING


class Heartbeat:
    """Keeps the lease alive while a step takes long, and hears of cancellation; a context manager."""

    def __init__(self, task: Task, engine: Engine) -> None:
        self.task = task
        self.engine = engine
        self.interval = task.kind.lease / 3  # two beats may be lost before the lease is
        self._end = threading.Event()
        self._thread = threading.Thread(
            target=self._beat, name=f"heartbeat of job {task.job_id}", daemon=True
        )

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._end.wait(self.interval) and not self.task.lost:
            try:
                self._renew()
            except Exception:
                # The database may be away or locked for a moment. If it stays so the lease runs out,
                # and the fence keeps this worker from writing anything.
                log.warning("job %d: the lease could not be renewed", self.task.job_id, exc_info=True)

    def _renew(self) -> None:
        task = self.task
        where = mine(task.job_id, task.worker)
        with self.engine.begin() as connection:
            renewed = connection.execute(update(Job).where(*where).values(due_at=task._in(task.kind.lease)))
            asked = connection.scalar(select(Job.cancel_requested).where(*where))
        task.lost = not renewed.rowcount
        task.cancelled = bool(asked)
