"""pulsar version list|add"""

import click

from pulsar_client.console import PulsarCommand, find_output, format_table, open_client, package_argument


@click.group()
def command() -> None:
    """Show and add the versions of a package on the site.

    A version, such as 1.0 or 2.0rc1 (PEP 440), names a revision for good. REVISION is a digest, of which 6
    characters are enough, a tag or a version; without one it is latest.

    \b
    Examples:
      pulsar version list demo/flights
      pulsar version add demo/flights 1.0 2a0c44
    """


@command.command("list", cls=PulsarCommand)
@package_argument()
def list_versions(package: str) -> None:
    """Show the versions of a package, the oldest first.

    \b
    Example:
      pulsar version list demo/flights
    """
    with open_client() as client:
        versions = client.versions.list(package)
    rows = [{"version": version, "digest": digest} for version, digest in versions.items()]
    find_output().show({"versions": rows}, lambda: format_table(rows))


@command.command("add", cls=PulsarCommand)
@package_argument()
@click.argument("version")
@click.argument("revision", metavar="[REVISION]", default="latest")
def add_version(package: str, version: str, revision: str) -> None:
    """Let a version name a revision for good.

    \b
    Examples:
      pulsar version add demo/flights 1.0
      pulsar version add demo/flights 1.0 2a0c44
    """
    with open_client() as client:
        digest = client.versions.add(package, version, revision)
    data = {"package": package, "version": version, "digest": digest}
    find_output().done(f"The version {version} of {package} names {digest[:12]}.", data)
