"""pulsar whoami"""

import click

from pulsar_client.console import PulsarCommand, find_output, open_client


@click.command(cls=PulsarCommand)
def command() -> None:
    """Show who the site takes you for.

    \b
    Example:
      pulsar whoami
    """
    with open_client() as client:
        user = client.whoami()
    find_output().show(user, lambda: iter([str(user["username"])]))
