"""pulsar generate"""

import click

from pulsar_client.console import PulsarCommand, find_output, open_client


@click.command(cls=PulsarCommand)
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False))
def command(folder: str) -> None:
    """Write a first build file for a folder.

    DIR/build.yml gets a node for each file that a build would take, named as Quilt names them. Change it as
    you like, and build it. Nothing is written if there is one already.

    \b
    Examples:
      pulsar generate survey
      pulsar build demo/survey survey/build.yml
    """
    with open_client() as client:
        result = client.generate(folder)
    output = find_output()
    output.say(f"Wrote {result.file}: {result.entries} entries.")
    output.show(result, lambda: iter([result.file]))
