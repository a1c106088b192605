"""Old notifications leave the table once they were read."""

from datetime import timedelta

from flask import current_app

from core.db import now
from core.jobs.kinds import job
from core.jobs.task import Task
from core.notifications.services import delete_read

__all__ = ["prune_notifications"]


@job("core.prune_notifications", every=3600)
def prune_notifications(task: Task) -> int:
    """Delete read notifications that were sent more than ``NOTIFICATIONS_KEEP`` seconds ago."""
    before = now() - timedelta(seconds=current_app.config["NOTIFICATIONS_KEEP"])
    deleted = 0
    while batch := delete_read(before):
        deleted += batch
        task.progress(deleted, unit="notifications")
        task.checkpoint()
    return deleted
