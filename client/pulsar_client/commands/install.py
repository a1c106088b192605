"""pulsar install"""

import click

from pulsar_client.console import PulsarCommand, find_output, open_client, package_argument, revision_options
from pulsar_client.files import format_bytes


@click.command(cls=PulsarCommand)
@package_argument("OWNER/NAME[/SUB]")
@revision_options
def command(package: str, **revision: str | None) -> None:
    """Fetch a revision from the site.

    It becomes the latest one here once everything has arrived and was verified. With SUB only that part is
    fetched. After an interruption, install again: it goes on where it was.

    \b
    Examples:
      pulsar install demo/flights
      pulsar install demo/flights -x 2a0c44
      pulsar install demo/flights -v 1.0
      pulsar install demo/survey/2013/january.csv -t reviewed
    """
    with open_client() as client:
        result = client.install(package, **revision)
    output = find_output()
    output.say(
        f"Installed {result.package}: {result.fetched} blobs, {format_bytes(result.fetched_bytes)} fetched."
    )
    output.show(result, lambda: iter([result.digest]))
