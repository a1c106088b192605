"""Run one job: from the claim to the end of the attempt, whatever happens in between."""

import json
import logging
import os
import re
import secrets
import socket
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final

from flask import Flask
from sqlalchemy.exc import DBAPIError

from core.db import db, now
from core.errors import PulsarError
from core.jobs.kinds import get_kind
from core.jobs.queue import claim
from core.jobs.task import Cancelled, Failed, Heartbeat, Interruption, Snoozed, Superseded, Task

__all__ = ["error_line", "run_next", "worker_name"]

log = logging.getLogger(__name__)

ERROR_MAX: Final = 500  # characters, as wide as the column
FOLDERS = re.compile(r"(?<![\w.:/])/(?:[^\s/'\":,;]+/)+(?=[^\s/'\":,;]*)")


def worker_name() -> str:
    """A name for the calling thread that no other worker has, on any machine, before or after."""
    host = socket.gethostname()[:64]
    return f"{host}:{os.getpid()}:{threading.get_ident() % 10**6}:{secrets.token_hex(4)}"


def run_next(
    app: Flask,
    worker: str,
    *,
    clock: Callable[[], datetime] = now,
    stopping: Callable[[], bool] = lambda: False,
    on_claim: Callable[[Task], object] = lambda task: None,
) -> Task | None:
    """Claim the next job and work on it until its attempt ends.

    :returns: what was worked on, whatever became of it; None if nothing was due.
    """
    with app.app_context():
        job = claim(worker, at=clock())
        if job is None:
            return None
        task = Task(job, get_kind(job.kind), clock=clock, stopping=stopping)
        on_claim(task)
        log.info(
            "job %d (%s): begun, attempt %d of %d", task.job_id, job.kind, task.attempt, task.max_attempts
        )
        try:
            _attempt(task)
        except Superseded:
            db.session.rollback()
            log.warning("job %d (%s): another worker has it; nothing was written", task.job_id, job.kind)
        return task


def _attempt(task: Task) -> None:
    try:
        with Heartbeat(task, db.engine):
            result = task.kind.run(task, **task.arguments)
            json.dumps(result, allow_nan=False)
        task.finish(result)
        log.info("job %d (%s): done", task.job_id, task.kind.name)
    except Snoozed as pause:
        task.hand_back(pause.seconds)
        log.info("job %d (%s): goes on in %g s", task.job_id, task.kind.name, pause.seconds)
    except Cancelled:
        db.session.rollback()
        task.cancel()
        log.info("job %d (%s): cancelled", task.job_id, task.kind.name)
    except (Exception, SystemExit) as exc:  # a job may raise anything, and must not take the worker along
        db.session.rollback()
        _fail(task, exc)
    except Interruption:
        raise
    except BaseException:
        # Ctrl-C in a worker that has no thread of its own for the job: somebody else goes on with it.
        db.session.rollback()
        task.hand_back(0.0)
        raise


def _fail(task: Task, exc: BaseException) -> None:
    again = task.fail(error_line(exc), final=isinstance(exc, Failed))
    expected = isinstance(exc, Failed | PulsarError)
    log.log(
        logging.WARNING if again or expected else logging.ERROR,
        "job %d (%s): attempt %d of %d failed%s: %s",
        task.job_id,
        task.kind.name,
        task.attempt,
        task.max_attempts,
        ", there will be another" if again else "",
        error_line(exc),
        exc_info=None if expected else exc,
    )


def error_line(exc: BaseException) -> str:
    """What the owner of a job is told of ``exc``: one line, no statement of SQL, no folder of the server."""
    if isinstance(exc, Failed | PulsarError):
        text = str(exc) or type(exc).__name__
    elif isinstance(exc, DBAPIError):
        text = f"{type(exc).__name__}: the database refused or did not answer"
    elif isinstance(exc, OSError) and exc.strerror:
        text = f"{type(exc).__name__}: {exc.strerror}"
    else:
        lines = str(exc).strip().splitlines()
        text = f"{type(exc).__name__}: {lines[0]}" if lines else type(exc).__name__
    text = FOLDERS.sub("", " ".join(text.split()).replace("\0", ""))
    return text if len(text) <= ERROR_MAX else text[: ERROR_MAX - 1] + "…"
