"""``flask jobs``: look after background work, and do it."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from core.cli.groups import CommandGroup
from core.db import db, now
from core.errors import PulsarError
from core.identity import OPERATOR
from core.jobs import services
from core.jobs.models import Job, JobState
from core.jobs.prune import prune_batch
from core.jobs.serializers import JobSchema
from core.jobs.wake import celery_of
from core.jobs.worker import Worker

__all__ = ["jobs"]


@click.group(cls=CommandGroup)
def jobs() -> None:
    """Look after background work, and do it."""


def _reported(command: Callable[..., None]) -> Callable[..., None]:
    """Commit what ``command`` did; its errors become one line on standard error and exit status 1."""

    @wraps(command)
    @with_appcontext
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
            db.session.commit()
        except PulsarError as exc:
            raise click.ClickException(exc.message) from None

    return run


@jobs.command("list")
@click.option(
    "--state", type=click.Choice([state.value for state in JobState]), help="Only jobs in this state."
)
@click.option("--kind", help="Only jobs of this kind, such as core.prune_jobs.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many at most."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@_reported
def list_command(state: str | None, kind: str | None, limit: int, as_json: bool) -> None:
    """List jobs, newest first.

    \b
        flask jobs list --state failed
        flask jobs list --kind core.prune_jobs --json
    """
    wanted = JobState(state) if state else None
    found, total = services.list_jobs(OPERATOR, state=wanted, kind=kind, limit=limit)
    if as_json:
        click.echo(json.dumps(JobSchema(many=True).dump(found), indent=2))
        return
    for job in found:
        click.echo(_line(job))
    if total > len(found):
        click.echo(f"{len(found)} of {total} jobs; --limit shows more", err=True)


def _line(job: Job) -> str:
    progress = f"{job.progress_done}/{'?' if job.progress_total is None else job.progress_total}"
    owner = job.owner.username if job.owner else "-"
    line = f"{job.id:>7}  {job.state:<9}  {job.kind:<28}  {owner:<16}  {progress} {job.progress_unit or ''}"
    return f"{line.rstrip()}  {job.error}" if job.error else line.rstrip()


@jobs.command()
@click.argument("job_id", metavar="ID", type=int)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_reported
def show(job_id: int, as_json: bool) -> None:
    """Show one job with everything that is known of it.

    \b
        flask jobs show 7
        flask jobs show 7 --json
    """
    job = services.get_job(OPERATOR, job_id)
    shown = JobSchema().dump(job) if as_json else _details(job)
    if as_json:
        click.echo(json.dumps(shown, indent=2))
        return
    for name, value in shown.items():
        click.echo(f"{name + ':':<13} {value}")


def _details(job: Job) -> dict[str, Any]:
    """Everything that is stored of ``job`` and not empty."""
    found = {column.name: getattr(job, column.name) for column in Job.__table__.columns}
    found["owner"] = job.owner and job.owner.username
    return {name: value for name, value in found.items() if value is not None}


@jobs.command()
@click.argument("job_id", metavar="ID", type=int)
@_reported
def cancel(job_id: int) -> None:
    """Cancel a job: at once if it waits, at its next checkpoint if it is being worked on.

    \b
        flask jobs cancel 7
    """
    job = services.cancel_job(OPERATOR, job_id)
    click.echo(f"job {job.id} is {'being cancelled' if job.state == JobState.RUNNING else job.state}")


@jobs.command()
@click.argument("job_id", metavar="ID", type=int)
@_reported
def retry(job_id: int) -> None:
    """Queue a failed or cancelled job again, as a new job whose id is printed.

    \b
        flask jobs retry 7
    """
    click.echo(services.retry_job(OPERATOR, job_id).id)


@jobs.command()
@click.option(
    "--older-than", type=click.FloatRange(0), help="Days since the end of the job. Default: JOBS_KEEP."
)
@_reported
def prune(older_than: float | None) -> None:
    """Delete jobs that were finished long ago. Workers do this every hour by themselves.

    \b
        flask jobs prune --older-than 7
    """
    seconds = current_app.config["JOBS_KEEP"] if older_than is None else older_than * 86_400
    before, deleted = now() - timedelta(seconds=seconds), 0
    while batch := prune_batch(before):
        db.session.commit()
        deleted += batch
    click.echo(f"deleted {deleted} jobs")


@jobs.command()
@click.option("--threads", type=click.IntRange(1, 256), help="Jobs at a time. Default: JOBS_THREADS.")
@click.option("--drain", is_flag=True, help="End when no job is due any more.")
@click.option("--once", is_flag=True, help="Work on one job at most, then end.")
@with_appcontext
def work(threads: int | None, drain: bool, once: bool) -> None:
    """Work on jobs until told to stop.

    The first SIGTERM or Ctrl-C hands the jobs under way to other workers, or lets them end within
    JOBS_GRACE seconds; the same signal again ends the process at once.

    \b
        flask jobs work --threads 4
        flask jobs work --drain
    """
    work_until_stopped(Worker(current_app._get_current_object(), threads=threads, drain=drain, once=once))  # type: ignore[attr-defined]


def work_until_stopped(worker: Worker) -> None:
    """Let ``worker`` work in the main thread until a signal stops it, or it has nothing left to do."""
    with _stopped_by_signals(worker):
        worker.run()


@contextmanager
def _stopped_by_signals(worker: Worker) -> Iterator[None]:
    def stop(number: int, _frame: object) -> None:
        # Ctrl-C in a terminal reaches the worker twice: as SIGINT, and as SIGTERM from `flask serve`.
        signal.signal(number, signal.SIG_DFL)
        worker.stop()

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, stop) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@jobs.command(context_settings={"ignore_unknown_options": True})
@click.option("--concurrency", type=click.IntRange(1, 256), help="Jobs at a time. Default: JOBS_THREADS.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@with_appcontext
def celery(concurrency: int | None, arguments: tuple[str, ...]) -> None:
    """Work on jobs as a Celery worker; needs JOBS_BROKER_URL. ARGUMENTS go to `celery worker`.

    \b
        flask jobs celery --concurrency 8
        flask jobs celery -- --pool prefork --loglevel WARNING
    """
    application = celery_of(current_app._get_current_object())  # type: ignore[attr-defined]
    if application is None:
        raise click.UsageError("JOBS_BROKER_URL is not set; `flask jobs work` needs no broker.")
    # Threads, because a job under way then hears of the stop and can be handed back at once.
    options = ["--pool", "threads", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    options += ["--concurrency", str(concurrency or current_app.config["JOBS_THREADS"])]
    application.worker_main(["worker", *options, *arguments])
