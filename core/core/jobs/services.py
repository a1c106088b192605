"""What people do with jobs: look, cancel, try again."""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import ColumnElement, false, func, or_, select, true, update
from sqlalchemy.orm import joinedload

from core.db import db, now
from core.errors import Conflict, NotFound
from core.identity import Identity
from core.jobs.models import Job, JobState
from core.jobs.queue import enqueue
from core.permissions import CorePermissions as P

__all__ = ["cancel_job", "get_job", "list_jobs", "retry_job", "visible_to"]

LARGEST_ID: Final = 2**63 - 1  # the databases refuse to look for more


def visible_to(identity: Identity) -> ColumnElement[bool]:
    """True of the jobs that ``identity`` may see: its own, or all with ``jobs_view_others``."""
    if identity.can(P.JOBS_VIEW_OTHERS):
        return true()
    return false() if identity.user_id is None else Job.owner_id == identity.user_id


def get_job(identity: Identity, job_id: int) -> Job:
    """:raises NotFound: if there is no such job, or ``identity`` may not see it."""
    query = select(Job).options(joinedload(Job.owner)).where(Job.id == job_id, visible_to(identity))
    job = None
    if job_id <= LARGEST_ID:
        job = db.session.scalar(query.execution_options(populate_existing=True))
    if job is None:
        raise NotFound.of("Job", job_id)
    return job


def list_jobs(
    identity: Identity,
    *,
    state: JobState | None = None,
    kind: str | None = None,
    page: int = 1,
    limit: int = 50,
) -> tuple[Sequence[Job], int]:
    """One page of the jobs that ``identity`` may see, newest first, and how many there are in all."""
    wanted = [visible_to(identity)]
    if state is not None:
        wanted.append(Job.state == state)
    if kind is not None:
        wanted.append(Job.kind == kind)
    total = db.session.scalar(select(func.count(Job.id)).where(*wanted)) or 0
    query = select(Job).options(joinedload(Job.owner)).where(*wanted).order_by(Job.id.desc())
    return db.session.scalars(query.limit(limit).offset((page - 1) * limit)).all(), total


def cancel_job(identity: Identity, job_id: int) -> Job:
    """Cancel a job: at once if nobody is at it, otherwise at its next checkpoint.

    :returns: the job; still ``running`` while its worker has not heard of it.
    :raises NotFound: if there is no such job, or ``identity`` may not see it.
    :raises Forbidden: if it belongs to somebody else and ``identity`` lacks ``jobs_cancel_others``.
    :raises Conflict: if it is already finished.
    """
    job = get_job(identity, job_id)
    if job.owner_id is None or job.owner_id != identity.user_id:
        identity.require(P.JOBS_CANCEL_OTHERS)
    idle = or_(Job.state == JobState.QUEUED, Job.worker.is_(None))
    ended = {"state": JobState.CANCELLED, "unique_key": None, "finished_at": now()}
    if not _change(job_id, idle, ended) and not _change(job_id, true(), {"cancel_requested": True}):
        raise Conflict(f"Job {job_id} is already {get_job(identity, job_id).state}.")
    return get_job(identity, job_id)


def _change(job_id: int, condition: ColumnElement[bool], values: Mapping[str, object]) -> bool:
    """Change the job if ``condition`` still holds and it is not finished; a race is decided here."""
    unfinished = Job.state.in_((JobState.QUEUED, JobState.RUNNING))
    statement = update(Job).where(Job.id == job_id, unfinished, condition).values(**values)
    return bool(db.session.connection().execute(statement).rowcount)


def retry_job(identity: Identity, job_id: int) -> Job:
    """Queue a new job like a failed or cancelled one, for the same owner. The old row stays as it is.

    :raises NotFound: if there is no such job, or ``identity`` may not see it.
    :raises Conflict: if it is not finished, or was done, or its kind or arguments are not known any more.
    """
    old = get_job(identity, job_id)
    if old.owner_id is None or old.owner_id != identity.user_id:
        identity.require(P.JOBS_CANCEL_OTHERS)
    if old.state not in (JobState.FAILED, JobState.CANCELLED):
        raise Conflict(f"Job {job_id} is {old.state}; only a failed or cancelled job can be retried.")
    try:
        new = enqueue(old.kind, owner_id=old.owner_id, priority=old.priority, **old.arguments)
    except (LookupError, TypeError) as exc:
        raise Conflict(f"Job {job_id} cannot be retried: {exc}.") from exc
    new.retry_of = new.retry_of or old.id
    db.session.flush()
    return get_job(identity, new.id)
