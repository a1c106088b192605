"""pulsar rm"""

import sys

import click

from pulsar_client.console import PulsarCommand, confirm, find_output, open_client, package_argument


@click.command(cls=PulsarCommand)
@package_argument()
@click.option("-x", "--digest", metavar="HASH", help="Only this older revision; 6 characters are enough.")
@click.option("-f", "--force", is_flag=True, help="Do not ask, on a terminal either.")
def command(package: str, digest: str | None, force: bool) -> None:
    """Remove a package from the local store.

    All its revisions here, or one that is not the latest. What is on the site stays there. The room on the
    disk is free after `pulsar gc`. On a terminal it asks first.

    \b
    Examples:
      pulsar rm demo/flights
      pulsar rm demo/flights -x 2a0c44
    """
    with open_client() as client:
        what = f"revision {digest} of {package}" if digest else f"all local revisions of {package}"
        confirm(f"Remove {what}? Type yes:", "yes", sure=force or not sys.stdin.isatty())
        result = client.rm(package, digest=digest)
    removed = len(result.revisions)
    find_output().done(f"Removed {removed} revisions of {package}; `pulsar gc` frees their room.", result)
