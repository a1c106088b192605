"""pulsar logout"""

import click

from pulsar_client.console import PulsarCommand, find_output, open_client


@click.command(cls=PulsarCommand)
@click.argument("url", required=False)
@click.option("--revoke", is_flag=True, help="End the key on the site too, wherever else it is used.")
def command(url: str | None, revoke: bool) -> None:
    """Forget the stored key of a site.

    Without URL, of the default site. A key that you made on the site stays valid, since you may use it
    elsewhere, unless --revoke; then it is forgotten only when the site has ended it. A token of a sign-in
    is ended without being asked to.

    \b
    Examples:
      pulsar logout
      pulsar logout --revoke
    """
    with open_client(url=url) as client:
        result = client.logout(revoke=revoke)
    ended = ", and the key ended" if result.revoked else ""
    nothing = f"There was no key stored for {result.url}."
    find_output().done(f"Logged out of {result.url}{ended}." if result.removed else nothing, result)
