"""What is old leaves the tables: core's own periodic jobs."""

from datetime import datetime, timedelta
from typing import Final

from flask import current_app
from sqlalchemy import delete, or_, select

from core.db import db, now
from core.jobs.kinds import job
from core.jobs.models import FINISHED, Job
from core.jobs.queue import current_periods
from core.jobs.task import Task

__all__ = ["prune_batch", "prune_jobs"]

BATCH: Final = 500  # rows deleted in one transaction, so that others can write in between


@job("core.prune_jobs", every=3600)
def prune_jobs(task: Task) -> int:
    """Delete jobs that were finished more than ``JOBS_KEEP`` seconds ago."""
    before = now() - timedelta(seconds=current_app.config["JOBS_KEEP"])
    deleted = 0
    while batch := prune_batch(before):
        deleted += batch
        task.progress(deleted, unit="jobs")
        task.checkpoint()
    return deleted


def prune_batch(before: datetime) -> int:
    """Delete some of the jobs finished before ``before``; 0 when none is left.

    The job of a period that is not over stays: its row is what keeps it from being run again.
    """
    periods = current_periods(now()).values()
    old = db.session.scalars(
        select(Job.id)
        .where(
            Job.state.in_(FINISHED),
            Job.finished_at < before,
            or_(Job.period.is_(None), Job.period.not_in(periods)),
        )
        .limit(BATCH)
    ).all()
    if old:
        db.session.execute(
            delete(Job).where(Job.id.in_(old)), execution_options={"synchronize_session": False}
        )
    return len(old)
