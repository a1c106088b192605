"""pulsar push"""

import click

from pulsar_client.console import PulsarCommand, find_output, open_client
from pulsar_client.files import format_bytes


@click.command(cls=PulsarCommand)
@click.argument("package", metavar="OWNER/NAME")
@click.option("--public", is_flag=True, help="Let everyone read it, if it is new.")
@click.option("--team", is_flag=True, help="Let everyone who is logged in read and push it, if it is new.")
@click.option("-m", "--message", default="", help="A description of the package.")
def command(package: str, public: bool, team: bool, message: str) -> None:
    """Send the latest local revision to the site.

    Only what the site does not have is sent. After an interruption, push again: it goes on where it was.

    \b
    Examples:
      pulsar push demo/flights
      pulsar push demo/flights --public -m "Departures from New York, 2013"
    """
    with open_client() as client:
        result = client.push(package, public=public, team=team, message=message)
    output = find_output()
    if result.unchanged:
        output.say(f"{result.package} is on the site already.")
    else:
        output.say(f"Pushed {result.package}: {result.sent} blobs, {format_bytes(result.sent_bytes)} sent.")
    output.show(result, lambda: iter([result.page or result.digest]))
