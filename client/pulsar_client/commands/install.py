"""pulsar install"""

import click

from pulsar_client.console import PulsarCommand, find_output, open_client, package_argument, revision_options
from pulsar_client.files import format_bytes


@click.command(cls=PulsarCommand)
@package_argument("[OWNER/NAME[/SUB]|@FILE]", required=False)
@revision_options
@click.option(
    "--where", metavar="KEY=VALUE", multiple=True, help="Only data whose metadata say so; may be repeated."
)
def command(package: str | None, where: tuple[str, ...], **revision: str | None) -> None:
    """Fetch a revision from the site.

    It becomes the latest one here once everything has arrived and was verified. With SUB only that part is
    fetched. After an interruption, install again: it goes on where it was.

    @FILE is a list of packages in YAML, by default quilt.yml.

    \b
    Examples:
      pulsar install demo/flights
      pulsar install demo/flights -x 2a0c44
      pulsar install demo/flights -v 1.0
      pulsar install demo/survey/2013/january.csv -t reviewed
      pulsar install demo/survey --where site=JFK
      pulsar install @quilt.yml
    """
    is_list = package is None or package.startswith("@") or "\n" in package
    if is_list and (where or any(revision.values())):
        raise click.UsageError("A list says itself which revisions it wants, and all of them.")
    with open_client() as client:
        if package is None or not (where or any(revision.values())):
            results = client.install_all(package)
        else:
            results = [client.install(package, where=dict(map(_split, where)), **revision)]
    output = find_output()
    for result in results:
        output.say(
            f"Installed {result.package}: {result.fetched} blobs, "
            f"{format_bytes(result.fetched_bytes)} fetched."
        )
    output.show(results if is_list else results[0], lambda: (result.digest for result in results))


def _split(condition: str) -> tuple[str, str]:
    key, equals, value = condition.partition("=")
    if not key or not equals:
        raise click.UsageError(f"{condition!r} is not KEY=VALUE.")
    return key, value
