"""pulsar push"""

from typing import Any

import click

from pulsar_client.console import PulsarCommand, find_output, open_client, package_argument
from pulsar_client.files import format_bytes


@click.command(cls=PulsarCommand)
@package_argument()
@click.option("--public", is_flag=True, help="Let everyone read it, if it is new.")
@click.option("--team", is_flag=True, help="Let everyone who is logged in read and push it, if it is new.")
@click.option("-m", "--message", default="", help="What this revision is; the log shows it.")
@click.option("--description", default="", help="What the package is.")
@click.option("-t", "--tag", default="latest", help="Tag that names it from then on, instead of latest.")
@click.option("--expect", metavar="DIGEST", help="Push only if the tag names DIGEST until then, or 'none'.")
@click.option("-x", "--digest", metavar="HASH", help="This local revision; 6 characters are enough.")
@click.option("--no-provenance", is_flag=True, help="Do not tell the site how it was built.")
def command(package: str, no_provenance: bool, **options: Any) -> None:
    """Send the latest local revision to the site.

    Only what the site does not have is sent. After an interruption, push again: it goes on where it was.

    \b
    Examples:
      pulsar push demo/flights
      pulsar push demo/flights --public -m "January is complete"
      pulsar push demo/flights --tag reviewed --expect 2a0c44
    """
    with open_client() as client:
        result = client.push(package, provenance=not no_provenance, **options)
    output = find_output()
    if result.unchanged:
        output.say(f"{result.package} is on the site already.")
    else:
        output.say(f"Pushed {result.package}: {result.sent} blobs, {format_bytes(result.sent_bytes)} sent.")
    output.show(result, lambda: iter([result.page or result.digest]))
