"""pulsar config"""

import os

import click

from pulsar_client.console import PulsarCommand, find_output, format_table, open_client
from pulsar_client.errors import ConfigurationError
from pulsar_client.settings import DEFAULT_URL, Configuration


@click.command(cls=PulsarCommand)
@click.argument("url", required=False)
@click.option("--unset", is_flag=True, help="Forget which site is the default one.")
def command(url: str | None, unset: bool) -> None:
    """Show or change which site is used.

    Shows site, key and home folder with where each comes from; the key itself is never shown. With URL that
    site becomes the default one. Keys of other sites stay stored.

    \b
    Examples:
      pulsar config
      pulsar config https://data.example.org
      pulsar config --unset
    """
    if url and unset:
        raise ConfigurationError("Set a site or unset it: not both.")
    if url or unset:
        # With an address given, so that a stored one that is wrong is no hindrance.
        with open_client(url=url or DEFAULT_URL) as client:
            client.set_url(url)
        if os.environ.get("PULSAR_CLIENT_URL"):
            find_output().say("Stored; but as long as PULSAR_CLIENT_URL is set, that is used.")
    with open_client() as client:
        found = client.config()
    find_output().show(found, lambda: format_table(_list_rows(found)))


def _list_rows(found: Configuration) -> list[dict[str, str]]:
    key = f"of {found.username}" if found.username else "given" if found.key else "none"
    rows = (
        ("site", found.url, found.url_from),
        ("key", key, found.key_from or ""),
        ("home", found.home, found.home_from),
    )
    return [{"name": name, "value": value, "from": origin} for name, value, origin in rows]
