"""pulsar login"""

import sys

import click

from pulsar_client.console import PulsarCommand, find_output, open_client
from pulsar_client.errors import ConfigurationError

MAX_LINE = 10_000  # characters; a key has fewer than a hundred


@click.command(cls=PulsarCommand)
@click.argument("url", required=False)
def command(url: str | None) -> None:
    """Store an API key for a site, after checking it.

    The key is asked for without showing it, or read from standard input when that is not a terminal; it is
    never an argument, where other users of the machine could see it. It is kept in credentials.json in the
    home folder, readable by you only. The site becomes the default one.

    \b
    Examples:
      pulsar login https://data.example.org
      pulsar login < key.txt
    """
    key = _read_key()
    with open_client(url=url, key=key) as client:
        username = client.login()
        site = client.settings.url
    find_output().done(f"Logged in to {site} as {username}.", {"url": site, "username": username})


def _read_key() -> str:
    if sys.stdin.isatty():
        key: str = click.prompt("API key", hide_input=True, err=True)
    else:
        key = sys.stdin.readline(MAX_LINE)
    key = key.strip()
    if not key:
        raise ConfigurationError("No key was given on standard input.")
    return key
