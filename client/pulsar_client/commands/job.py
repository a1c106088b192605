"""pulsar job list|show|cancel"""

from collections.abc import Iterator
from datetime import UTC, datetime

import click

from pulsar_client.console import PulsarCommand, find_output, format_table, open_client
from pulsar_client.jobs import STATES, Job

ID = click.IntRange(0, 2**63 - 1)


@click.group()
def command() -> None:
    """Show and cancel what the site does in the background.

    \b
    Examples:
      pulsar job list --state running
      pulsar job show 7
      pulsar job cancel 7
    """


@command.command("list", cls=PulsarCommand)
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--kind", metavar="KIND", help="Only those of this kind, such as registry.describe.")
@click.option(
    "-n", "--limit", metavar="N", type=click.IntRange(1, 10_000), default=50, help="At most so many; 50."
)
def list_jobs(state: str | None, kind: str | None, limit: int) -> None:
    """Show your jobs, the newest first.

    \b
    Examples:
      pulsar job list
      pulsar job list --state failed --kind registry.describe -n 200
    """
    with open_client() as client:
        jobs = client.jobs.list(state=state, kind=kind, limit=limit)
    rows = [
        {
            "id": str(job.id),
            "state": job.state,
            "progress": _describe_progress(job),
            "created": _format_time(job.created),
            "kind": job.kind,
            "owner": job.owner or "(the site)",
        }
        for job in jobs
    ]
    output = find_output()
    if len(jobs) == limit:
        output.say(f"The newest {limit}; there may be more.")
    output.show(jobs, lambda: format_table(rows))


@command.command("show", cls=PulsarCommand)
@click.argument("job_id", metavar="ID", type=ID)
def show_job(job_id: int) -> None:
    """Show one job.

    \b
    Example:
      pulsar job show 7
    """
    with open_client() as client:
        job = client.jobs.get(job_id)
    find_output().show(job, lambda: _list_lines(job))


@command.command("cancel", cls=PulsarCommand)
@click.argument("job_id", metavar="ID", type=ID)
def cancel_job(job_id: int) -> None:
    """Cancel a job.

    At once if it waits. One that is worked on stops at its next checkpoint, and is still running until then.

    \b
    Example:
      pulsar job cancel 7
    """
    with open_client() as client:
        job = client.jobs.cancel(job_id)
    text = f"Job {job.id} is cancelled." if job.state == "cancelled" else f"Job {job.id} was told to stop."
    find_output().done(text, job)


def _describe_progress(job: Job) -> str:
    done, total, unit = (job.progress.get(key) for key in ("done", "total", "unit"))
    if not done and not total:
        return ""
    return f"{done} of {total} {unit or ''}".strip() if total else f"{done} {unit or ''}".strip()


def _list_lines(job: Job) -> Iterator[str]:
    yield f"{job.kind} {job.id} of {job.owner or 'the site'}: {job.state}"
    if progress := _describe_progress(job):
        yield f"progress  {progress}"
    yield f"attempts  {job.attempts}"
    for name in ("created", "started", "finished"):
        if (moment := getattr(job, name)) is not None:
            yield f"{name:8}  {_format_time(moment)}"
    if job.error:
        yield f"error     {job.error}"
    if job.result is not None:
        yield f"result    {job.result}"


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
