"""pulsar url"""

import click

from pulsar_client.console import PulsarCommand, find_output, open_client


@click.command(cls=PulsarCommand)
@click.argument("entry", metavar="OWNER/NAME/PATH")
@click.option(
    "-r",
    "--revision",
    metavar="REVISION",
    default="latest",
    help="A tag, a version, a digest; else latest.",
)
@click.option("--fragment", metavar="N", type=click.IntRange(0), help="Which one, of a table of several.")
def command(entry: str, revision: str, fragment: int | None) -> None:
    """Show a link to a file of a package on the site.

    Whoever has the link can read the file, in parts too, until it ends: after a day, unless the site says
    otherwise. DuckDB, Polars and others read a table in place by it.

    \b
    Examples:
      pulsar url demo/flights/flights.csv
      pulsar url demo/flights/flights.csv -r 1.0
    """
    with open_client() as client:
        link = client.find_link(entry, revision=revision, fragment=fragment)
    find_output().show({"url": link}, lambda: iter([link]))
