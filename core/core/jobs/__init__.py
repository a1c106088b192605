"""Work for later: rows of a table that workers take under a lease. See ``docs/jobs.md``."""

from core.jobs.blobs import sweep_blobs, verify_blobs
from core.jobs.kinds import JobKind, collect, job
from core.jobs.models import Job, JobState
from core.jobs.prune import prune_jobs
from core.jobs.queue import enqueue
from core.jobs.task import Cancelled, Failed, Interruption, Snoozed, Superseded, Task

__all__ = [
    "Cancelled",
    "Failed",
    "Interruption",
    "Job",
    "JobKind",
    "JobState",
    "Snoozed",
    "Superseded",
    "Task",
    "collect",
    "enqueue",
    "job",
    "prune_jobs",
    "sweep_blobs",
    "verify_blobs",
]
