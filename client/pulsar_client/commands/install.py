"""pulsar install"""

import click

from pulsar_client.console import PulsarCommand, find_output, open_client
from pulsar_client.files import format_bytes


@click.command(cls=PulsarCommand)
@click.argument("package", metavar="OWNER/NAME[/SUB]")
@click.option(
    "-x", "--digest", metavar="HASH", help="This revision; 6 characters are enough if they are unique."
)
@click.option("-t", "--tag", metavar="TAG", help="The revision of this tag; otherwise latest.")
def command(package: str, digest: str | None, tag: str | None) -> None:
    """Fetch a revision from the site.

    It becomes the latest one here once everything has arrived and was verified. With SUB only that part is
    fetched. After an interruption, install again: it goes on where it was.

    \b
    Examples:
      pulsar install demo/flights
      pulsar install demo/flights -x 2a0c44
      pulsar install demo/survey/2013/january.csv -t reviewed
    """
    with open_client() as client:
        result = client.install(package, digest=digest, tag=tag)
    output = find_output()
    output.say(
        f"Installed {result.package}: {result.fetched} blobs, {format_bytes(result.fetched_bytes)} fetched."
    )
    output.show(result, lambda: iter([result.digest]))
