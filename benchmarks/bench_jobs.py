"""What a job costs: 1,000 that do nothing, enqueued and run, against inserting and updating a row for each.

All in this process: each job is enqueued in a transaction of its own, then a worker with one thread, as
``flask serve`` runs one beside the web server, works until nothing is left. The reference writes rows of
the same table by SQLAlchemy's core, a transaction for each insert and each update. The database is SQLite.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from sqlalchemy import func, insert, select, update

from core.app import Pulsar, create_app
from core.db import Base, db, now
from core.jobs import Job, JobState, Task, enqueue, job
from core.jobs.worker import Worker
from core.site import site_of
from harness import Result, compare, report

JOBS = 1000  # per round


@job("bench.nothing")
def nothing(task: Task) -> None:
    """Be a job."""


def main() -> list[Result]:
    with tempfile.TemporaryDirectory() as folder:
        app = site(Path(folder))
        result = compare(
            f"{JOBS:,} jobs that do nothing, enqueued and run, against an insert and an update each",
            lambda: write_rows(app),
            lambda: run_jobs(app),
            bar="none",
        )
        with app.app_context():
            db.engine.dispose()
    return [result]


def site(folder: Path) -> Pulsar:
    """A site that knows the job."""
    (folder / "config.py").write_text("SECRET_KEY = 'of the benchmark'\n")
    app = create_app(folder, LOG_LEVEL="WARNING")
    site_of(app).job_kinds[nothing.name] = nothing
    with app.app_context():
        Base.metadata.create_all(db.engine)
    return app


def write_rows(app: Pulsar) -> None:
    """The rows of as many jobs that are done, without a queue."""
    with app.app_context():
        numbers = []
        for _ in range(JOBS):
            row = insert(Job).values(kind="bench.row", state=JobState.QUEUED, due_at=now(), created_at=now())
            with db.engine.begin() as connection:
                inserted = connection.execute(row).inserted_primary_key
                assert inserted is not None
                numbers.append(inserted[0])
        for number in numbers:
            done = update(Job).where(Job.id == number).values(state=JobState.DONE, finished_at=now())
            with db.engine.begin() as connection:
                connection.execute(done)


def run_jobs(app: Pulsar) -> None:
    """Enqueue the jobs as requests do, and work on them as a worker does."""
    before = done_jobs(app)
    for _ in range(JOBS):
        with app.app_context():
            enqueue(nothing)
            db.session.commit()
    Worker(app, threads=1, drain=True).run()
    assert done_jobs(app) == before + JOBS


def done_jobs(app: Pulsar) -> int:
    """How many of the jobs that do nothing are done."""
    wanted = (Job.kind == nothing.name, Job.state == JobState.DONE)
    with app.app_context():
        return db.session.scalar(select(func.count(Job.id)).where(*wanted)) or 0


if __name__ == "__main__":
    report(main, __doc__)
