"""pulsar log"""

from datetime import UTC, datetime

import click

from pulsar_client.console import PulsarCommand, find_output, format_table, open_client, package_argument

MESSAGE_CHARACTERS = 60  # of a message's first line; --json has all of it


@click.command(cls=PulsarCommand)
@package_argument()
def command(package: str) -> None:
    """Show the pushes of a package, newest first.

    Each with the digest and the number of its revision, time, author, tags and versions, and message.

    \b
    Example:
      pulsar log demo/flights
    """
    with open_client() as client:
        entries = client.log(package)
    rows = [
        {
            "digest": entry.digest[:12],
            "number": "" if entry.number is None else str(entry.number),
            "time": datetime.fromtimestamp(entry.created_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            "author": entry.author,
            "names": " ".join(entry.tags + entry.versions),
            "message": entry.message.partition("\n")[0][:MESSAGE_CHARACTERS],
        }
        for entry in entries
    ]
    find_output().show(entries, lambda: format_table(rows))
