"""pulsar delete"""

import click

from pulsar_client.console import PulsarCommand, confirm, find_output, open_client, package_argument


@click.command(cls=PulsarCommand)
@package_argument()
@click.option("-y", "--yes", is_flag=True, help="Do not ask for the name once more.")
def command(package: str, yes: bool) -> None:
    """Delete a package on the site.

    All of it: revisions, log, tags, versions, and who may read it. You have to type its name once more.
    What is in the local store stays.

    \b
    Examples:
      pulsar delete demo/flights
      pulsar delete demo/flights --yes
    """
    with open_client() as client:
        question = f"Type {package} to delete it from {client.settings.url} for good:"
        confirm(question, package, sure=yes)
        client.delete(package)
    find_output().done(f"Deleted {package} on the site.", {"package": package})
