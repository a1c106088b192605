"""The table of jobs: what is to be done, how far it is, and who is at it."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Enum, ForeignKey, Index, Integer, String, false
from sqlalchemy.orm import Mapped, mapped_column, relationship

from core.db import PK, Base, Name, Timestamp, UTCDateTime, exact
from core.users.models import User

__all__ = ["FINISHED", "Job", "JobState"]


class JobState(StrEnum):
    """The states of a job, in the order in which it may pass them; it never goes back.

    A job whose worker was lost, that waits for its next attempt, or that gave up its worker to wait
    for something stays ``running``: it has begun.
    """

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class Job(Base):
    """A piece of work for later. The row is the truth; every message about it is only a hint."""

    __tablename__ = "core_jobs"
    id: Mapped[PK]
    kind: Mapped[Name]
    arguments: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    state: Mapped[JobState] = mapped_column(
        Enum(
            JobState, native_enum=False, length=16, values_callable=lambda states: [s.value for s in states]
        ),
        default=JobState.QUEUED,
    )
    priority: Mapped[int] = mapped_column(Integer, default=0)  # higher goes first
    # A worker may take the job from then on: the end of the delay of a queued job, of the lease of one
    # that is being worked on, of the pause of one that waits. One column, so that one index finds all.
    due_at: Mapped[Timestamp]
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("core_users.id", ondelete="SET NULL"), index=True)
    unique_key: Mapped[str | None] = mapped_column(exact(255), unique=True)  # until the job is finished
    period: Mapped[str | None] = mapped_column(exact(128), unique=True)  # of a periodic job; stays
    retry_of: Mapped[int | None] = mapped_column(ForeignKey("core_jobs.id", ondelete="SET NULL"), index=True)

    worker: Mapped[str | None] = mapped_column(exact(128))  # None: nobody is at it
    attempts: Mapped[int] = mapped_column(Integer, default=0)  # begun so far; a pause gives one back
    max_attempts: Mapped[int] = mapped_column(Integer, default=1)
    cancel_requested: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())

    progress_done: Mapped[int] = mapped_column(BigInteger, default=0)
    progress_total: Mapped[int | None] = mapped_column(BigInteger)  # None: not known
    progress_unit: Mapped[str | None] = mapped_column(String(32))  # "files", "B" ...

    created_at: Mapped[Timestamp]
    started_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    error: Mapped[str | None] = mapped_column(String(500))  # one line, of the last attempt that failed
    result: Mapped[Any] = mapped_column(JSON(none_as_null=True), nullable=True)

    owner: Mapped[User | None] = relationship(lazy="raise")

    @property
    def progress(self) -> dict[str, int | str | None]:
        """How far the job is, as people see it."""
        return {"done": self.progress_done, "total": self.progress_total, "unit": self.progress_unit}


# The order in which workers take jobs.
Index("ix_core_jobs_claim", Job.state, Job.priority.desc(), Job.due_at, Job.id)
