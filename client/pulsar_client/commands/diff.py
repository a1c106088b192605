"""pulsar diff"""

import click

from pulsar_client.comparison import describe
from pulsar_client.console import PulsarCommand, find_output, open_client, package_argument
from pulsar_client.files import format_bytes


@click.command(cls=PulsarCommand)
@package_argument()
@click.argument("old", metavar="REVISION")
@click.argument("new", metavar="[REVISION]", default="latest")
def command(package: str, old: str, new: str) -> None:
    """Show what differs between two revisions on the site.

    A revision is a tag, a version, or a digest, of which 6 characters are enough; the second one is latest
    unless you say otherwise.

    \b
    Examples:
      pulsar diff demo/flights 2a0c44
      pulsar diff demo/flights 1.0 2.0
      pulsar diff demo/flights 1.0 --json

    \b
      + added   - removed   > moved   ~ changed
    """
    with open_client() as client:
        result = client.diff(package, old, new)
    output = find_output()
    told = ", ".join(f"{number} {kind}" for kind, number in result.summary.items() if number)
    output.say(
        f"{result.old[:12]} -> {result.new[:12]}: {told or 'no difference'}, "
        f"{format_bytes(result.bytes.get('new', 0))} new."
    )
    output.show(result, lambda: map(describe, result.changes))
