"""A site with jobs to try workers on: ``flask --app probe_app.py jobs work``, in a process of its own.

The jobs leave lines in files, which the tests wait for and count.
"""

import os
import sys
import threading
from pathlib import Path

from core.app import create_app as create_site
from core.db import db
from core.jobs import Task, collect, job
from core.site import site_of
from core.users.models import LOWEST_CLASS, ClassPermission

BEAT = 0.02  # s between two looks at a file
LEASE = 2.0  # s; a worker on a busy machine can be late by as much as a second
_never = threading.Event()


def create_app():
    """The site of ``PULSAR_INSTANCE_PATH``, with the jobs below."""
    app = create_site()
    site_of(app).job_kinds.update(collect(sys.modules[__name__]))
    return app


def note(folder: str, name: str, line: object) -> None:
    """Add a line to a file, whole, whoever else writes to it."""
    descriptor = os.open(Path(folder, name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


@job("probe.mark", lease=30)
def mark(task: Task, folder: str, number: int) -> int:
    """Do next to nothing."""
    note(folder, "marked", number)
    return number


@job("probe.hold", lease=LEASE, max_attempts=3)
def hold(task: Task, folder: str) -> int:
    """Go on, with a checkpoint every moment, until there is a file ``go``."""
    note(folder, "begun", os.getpid())
    steps = 0
    while not Path(folder, "go").exists():
        steps += 1
        task.progress(steps, unit="steps")
        task.checkpoint()
        _never.wait(BEAT)
    note(folder, "ended", os.getpid())
    return os.getpid()


@job("probe.deaf", lease=LEASE, max_attempts=3)
def deaf(task: Task, folder: str) -> int:
    """Likewise, without a checkpoint; what it has to write waits for the end."""
    note(folder, "begun", os.getpid())
    db.session.add(ClassPermission(user_class_id=LOWEST_CLASS, permission=f"pid {os.getpid()}"))
    while not Path(folder, "go").exists():
        _never.wait(BEAT)
    note(folder, "ended", os.getpid())
    return os.getpid()


@job("probe.poison", lease=0.3, max_attempts=2)
def poison(task: Task, folder: str) -> None:
    """Kill the worker."""
    note(folder, "begun", os.getpid())
    os.kill(os.getpid(), 9)
