"""pulsar gc"""

import click

from pulsar_client.console import PulsarCommand, find_output, open_client
from pulsar_client.files import format_bytes

HOURS = 24.0
HOUR = 3600  # s


@click.command(cls=PulsarCommand)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option(
    "--grace",
    metavar="HOURS",
    type=click.FloatRange(0, 1_000_000),
    default=HOURS,
    help="Keep what is younger; 24.",
)
def command(dry_run: bool, grace: float) -> None:
    """Remove from the local store what no revision needs.

    Blobs of removed packages, and what an interrupted build or install has left: you can go on with it
    until it is as old as the grace. Waits for builds and installs that are running.

    \b
    Examples:
      pulsar gc --dry-run
      pulsar gc
      pulsar gc --grace 0
    """
    with open_client() as client:
        result = client.gc(grace=grace * HOUR, dry_run=dry_run)
    verb = "Would remove" if dry_run else "Removed"
    size = format_bytes(result.blob_bytes + result.unfinished_bytes)
    kept = f" {result.young} more are too young." if result.young else ""
    find_output().done(
        f"{verb} {result.blobs} blobs and {result.unfinished} unfinished files, {size}.{kept}", result
    )
