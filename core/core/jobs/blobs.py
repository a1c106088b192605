"""Stored bytes are looked after: core's own periodic jobs."""

import logging
from datetime import timedelta
from typing import Any, Final

from flask import current_app

from core.jobs.kinds import job
from core.jobs.task import Task
from core.storage import scrub, store, sweep

__all__ = ["sweep_blobs", "verify_blobs"]

log = logging.getLogger(__name__)

DAY: Final = 24 * 3600.0  # s
LAST: Final = -10  # priority: whatever a user waits for goes first


@job("core.sweep_blobs", every=DAY, priority=LAST)
def sweep_blobs(task: Task) -> dict[str, int]:
    """Remove blobs that nothing has referred to for ``STORAGE_SWEEP_GRACE`` seconds."""
    grace = timedelta(seconds=current_app.config["STORAGE_SWEEP_GRACE"])
    return sweep(store().backend, grace=grace).as_dict()


@job("core.verify_blobs", every=DAY, priority=LAST)
def verify_blobs(task: Task) -> dict[str, Any]:
    """Read the ``STORAGE_VERIFY_BYTES`` of blobs that were not read for longest; name the damaged."""
    most = current_app.config["STORAGE_VERIFY_BYTES"]
    checked = done = 0
    damaged = []
    for one in scrub(store().backend, most):
        checked += 1
        done += one.size
        if one.problem:
            damaged.append(one.digest)
            log.error("the blob %s is damaged: %s", one.digest, one.problem)
        task.progress(done, total=most, unit="B")
    # The first ones; ``flask storage verify`` and the log name all.
    return {"blobs": checked, "bytes": done, "problems": len(damaged), "damaged": damaged[:100]}
