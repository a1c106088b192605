"""pulsar url"""

import click

from pulsar_client.console import PulsarCommand, find_output, open_client, revision_options
from pulsar_client.errors import ConfigurationError


@click.command(cls=PulsarCommand)
@click.argument("entry", metavar="OWNER/NAME/PATH")
@click.option("-r", "--revision", metavar="REVISION", help="A tag, a version or a digest; else latest.")
@revision_options
@click.option("--fragment", metavar="N", type=click.IntRange(0), help="Which one, of a table of several.")
def command(entry: str, fragment: int | None, **revision: str | None) -> None:
    """Show a link to a file of a package on the site.

    Whoever has the link can read the file, in parts too, until it ends: after a day, unless the site says
    otherwise. DuckDB, Polars and others read a table in place by it.

    \b
    Examples:
      pulsar url demo/flights/flights.csv
      pulsar url demo/flights/flights.csv -v 1.0
    """
    given = [text for text in revision.values() if text is not None]
    if len(given) > 1:
        raise ConfigurationError("A revision is chosen in one way: name it once.")
    with open_client() as client:
        link = client.find_link(entry, revision=given[0] if given else "latest", fragment=fragment)
    find_output().show({"url": link}, lambda: iter([link]))
