"""Put jobs into the table, and take the next one out of it."""

import logging
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.db import after_commit, db, now, own_transaction
from core.errors import Conflict
from core.jobs.kinds import JobKind, get_kind
from core.jobs.models import Job, JobState
from core.jobs.wake import announcement
from core.site import current_site

__all__ = ["claim", "create_periodic_jobs", "current_periods", "enqueue", "has_work"]

log = logging.getLogger(__name__)

KEY_TRIES: Final = 3  # the holder of a unique key may finish, and another come, while we look


def enqueue(
    kind: JobKind | str,
    *,
    owner_id: int | None = None,
    priority: int | None = None,
    delay: float = 0.0,
    unique_key: str | None = None,
    **arguments: Any,
) -> Job:
    """Add a job to the present transaction; workers hear of it when that is committed.

    :param owner_id: the user who may see and cancel it; None for work of the site itself.
    :param priority: higher goes first; None for that of the kind.
    :param delay: seconds during which it is not begun.
    :param unique_key: at most 255 characters. While a job with this key is unfinished, that job is
        returned and none is added, whatever its kind and arguments.
    :raises LookupError: if no enabled plugin has such a kind.
    :raises TypeError: if the arguments do not fit the function or are not JSON.
    """
    known = get_kind(kind)
    known.check(arguments)
    moment = now()
    made = Job(
        kind=known.name,
        arguments=arguments,
        state=JobState.QUEUED,
        priority=known.priority if priority is None else priority,
        due_at=moment + timedelta(seconds=delay),
        owner_id=owner_id,
        unique_key=unique_key or known.key,
        max_attempts=known.max_attempts,
        created_at=moment,
    )
    return _insert(made)


def _insert(job: Job) -> Job:
    """Store ``job``, or find the unfinished one that holds its key."""
    if job.unique_key is None:
        db.session.add(job)
        db.session.flush()
        after_commit(announcement())
        return job
    for _ in range(KEY_TRIES):
        # To look first would read what SQLite showed this transaction when it began.
        if _insert_keyed(job):
            return job
        holder = db.session.scalar(
            select(Job).where(Job.unique_key == job.unique_key),
            execution_options={"populate_existing": True},
        )
        if holder is not None:
            return holder
    raise Conflict(f"Other jobs with the key {job.unique_key} come and go too fast.")


def _insert_keyed(job: Job) -> bool:
    """False if somebody else's job took a key of ``job`` meanwhile; the transaction goes on."""
    try:
        with db.session.begin_nested():
            db.session.add(job)
    except IntegrityError:
        return False
    after_commit(announcement())
    return True


def claim(worker: str, *, at: datetime | None = None) -> Job | None:
    """Take the job that is due and most urgent, so that no other worker gets it.

    Order: priority, then the job that is due longest, then the oldest. A job that pauses for no time
    (:meth:`core.jobs.Task.snooze`) thus goes behind all others of its priority, and long work done in
    slices shares the workers fairly. A job whose lease ran out is taken like any other; one that has lost
    its worker too often is parked as failed. Kinds that this app does not know are left alone.

    :param worker: who takes it; must differ for each claim that may be under way at one time.
    :returns: the job as it is now stored, detached from any session; None if nothing is due.

    Has a transaction of its own. Safe for any number of callers on all three databases.
    """
    moment = at or now()
    kinds: dict[str, JobKind] = current_site().job_kinds
    with own_transaction() as session:
        while (job := _next(session, kinds, moment)) is not None:
            if _still_wanted(job, moment):
                lease = kinds[job.kind].lease
                job.state, job.worker, job.attempts = JobState.RUNNING, worker, job.attempts + 1
                job.started_at = job.started_at or moment
                job.due_at = moment + timedelta(seconds=lease)
                session.flush()
                session.expunge(job)
                return job
            session.flush()
    return None


def _next(session: Session, kinds: Collection[str], at: datetime) -> Job | None:
    """Lock the most urgent job that is due; rows that another worker has locked are passed over.

    One search for each state, because then each walks the index in order and stops at its first row.
    """
    found = [
        session.scalar(
            select(Job)
            .where(Job.state == state, Job.due_at <= at, Job.kind.in_(kinds))
            .order_by(Job.priority.desc(), Job.due_at, Job.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        for state in (JobState.RUNNING, JobState.QUEUED)
    ]
    due = [job for job in found if job is not None]
    return min(due, key=lambda job: (-job.priority, job.due_at, job.id), default=None)


def _still_wanted(job: Job, at: datetime) -> bool:
    """Park a job that nobody shall begin again."""
    lost = job.state == JobState.RUNNING and job.worker is not None
    if job.cancel_requested:
        job.state = JobState.CANCELLED
    elif lost and job.attempts >= job.max_attempts:
        job.state = JobState.FAILED
        job.error = f"Given up after {job.attempts} attempts: the last one ended with the loss of its worker."
        log.error("job %d (%s): %s", job.id, job.kind, job.error)
    else:
        if lost:
            log.warning("job %d (%s): taken over from %s, which was lost", job.id, job.kind, job.worker)
        return True
    job.worker, job.unique_key, job.finished_at = None, None, at
    return False


def has_work(*, limit: int = 1, at: datetime | None = None) -> int:
    """How many jobs are due, counting to ``limit``; a plain read that locks nothing."""
    query = (
        select(Job.id)
        .where(
            or_(Job.state == JobState.QUEUED, Job.state == JobState.RUNNING),
            Job.due_at <= (at or now()),
            Job.kind.in_(list(current_site().job_kinds)),
        )
        .limit(limit)
    )
    with db.engine.connect() as connection:
        return len(connection.execute(query).all())


def current_periods(at: datetime) -> dict[str, str]:
    """For each periodic kind, by name, what its job of the present period is called."""
    kinds: dict[str, JobKind] = current_site().job_kinds
    seconds = at.timestamp()
    return {name: f"{name}@{int(seconds // kind.every)}" for name, kind in kinds.items() if kind.every}


def create_periodic_jobs(*, at: datetime | None = None) -> list[str]:
    """Add the jobs of the present period that nobody has added yet, and commit.

    Any number of workers may do this at once: the name of the period is unique. A kind whose job of
    an earlier period is not finished is left out until it is.

    :returns: names of the kinds for which a job was added.
    """
    moment = at or now()
    periods = current_periods(moment)
    if not periods:
        return []
    taken = db.session.execute(
        select(Job.period, Job.unique_key).where(
            or_(Job.period.in_(periods.values()), Job.unique_key.in_(periods))
        )
    ).all()
    busy = {key for row in taken for key in row}
    free = {name: period for name, period in periods.items() if not {name, period} & busy}
    added = [name for name, period in free.items() if _add_periodic(name, period, moment)]
    db.session.commit()
    if added:
        log.info("periodic jobs added: %s", ", ".join(added))
    return added


def _add_periodic(name: str, period: str, at: datetime) -> bool:
    kind = get_kind(name)
    return _insert_keyed(
        Job(
            kind=name,
            arguments={},
            state=JobState.QUEUED,
            priority=kind.priority,
            due_at=at,
            unique_key=kind.key,
            period=period,
            max_attempts=kind.max_attempts,
            created_at=at,
        )
    )
