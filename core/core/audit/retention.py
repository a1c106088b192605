"""Old events leave the table, but only where the configuration says so."""

from datetime import timedelta
from typing import Final

from flask import current_app
from sqlalchemy import delete, select

from core.db import db, now
from core.jobs.kinds import job
from core.jobs.task import Task
from core.models import Event

__all__ = ["prune_events"]

BATCH: Final = 500  # rows deleted in one transaction, so that others can write in between


@job("core.prune_events", every=3600)
def prune_events(task: Task) -> int:
    """Delete events that are older than ``AUDIT_KEEP`` seconds; without that setting, none."""
    keep, deleted = current_app.config["AUDIT_KEEP"], 0
    if keep is None:
        return deleted
    old = select(Event.id).where(Event.happened_at < now() - timedelta(seconds=keep)).limit(BATCH)
    while batch := db.session.scalars(old).all():
        db.session.execute(
            delete(Event).where(Event.id.in_(batch)), execution_options={"synchronize_session": False}
        )
        deleted += len(batch)
        task.progress(deleted, unit="events")
        task.checkpoint()
    return deleted
