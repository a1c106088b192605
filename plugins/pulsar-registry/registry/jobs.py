"""What the registry does later."""

import time
from typing import Any, Final

from core.jobs import Task, job
from registry.describing import Reader
from registry.services import statistics

__all__ = ["describe"]

TURN: Final = 20.0  # s; then jobs of others go first
PAUSE: Final = 1.0  # s from one commit to the next


@job("registry.describe", max_attempts=3, priority=-5)
def describe(task: Task, *, revision_id: int) -> dict[str, int]:
    """Look at the tables of a revision of which nothing is known, one after the other."""
    digests = statistics.list_undescribed(revision_id)
    found: dict[str, Any] = {}
    begun = written = time.monotonic()
    with Reader() as reader:
        for number, digest in enumerate(digests, 1):
            if (description := statistics.describe(reader, digest)) is not None:
                found[digest] = description
            # Written at once and committed at once: nobody waits for a lock while a file is looked at.
            if (moment := time.monotonic()) > written + PAUSE or number == len(digests):
                statistics.write_down(found)
                task.progress(number, len(digests), "tables")
                task.checkpoint()
                found, written = {}, moment
                if moment > begun + TURN:
                    task.snooze(0)  # begins anew with what is left
    return {"tables": len(digests)}
