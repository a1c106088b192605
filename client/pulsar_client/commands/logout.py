"""pulsar logout"""

import click

from pulsar_client.console import PulsarCommand, find_output, open_client


@click.command(cls=PulsarCommand)
@click.argument("url", required=False)
def command(url: str | None) -> None:
    """Forget the stored key of a site.

    Without URL, of the default site. The key itself stays valid; delete it on the site if it is no longer
    needed.

    \b
    Example:
      pulsar logout
    """
    with open_client(url=url) as client:
        found = client.logout()
        site = client.settings.url
    output = find_output()
    output.say(f"Logged out of {site}." if found else f"There was no key stored for {site}.")
    if output.json:
        output.show({"url": site, "removed": found}, lambda: iter(()))
