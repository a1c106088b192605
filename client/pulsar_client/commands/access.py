"""pulsar access list|add|remove"""

import click

from pulsar_client.console import PulsarCommand, find_output, open_client, package_argument


@click.group()
def command() -> None:
    """Show and change who may read a package.

    USER is the name of a user, `public` for everyone, or `team` for everyone who is logged in.

    \b
    Examples:
      pulsar access list demo/flights
      pulsar access add demo/flights bob
      pulsar access remove demo/flights public
    """


@command.command("list", cls=PulsarCommand)
@package_argument()
def list_access(package: str) -> None:
    """Show who may read a package."""
    with open_client() as client:
        users = client.access.list(package)
    find_output().show({"users": users}, lambda: iter(users))


@command.command("add", cls=PulsarCommand)
@package_argument()
@click.argument("user")
def add_access(package: str, user: str) -> None:
    """Let USER read a package."""
    with open_client() as client:
        client.access.add(package, user)
    find_output().done(f"{user} may read {package}.", {"package": package, "user": user})


@command.command("remove", cls=PulsarCommand)
@package_argument()
@click.argument("user")
def remove_access(package: str, user: str) -> None:
    """Let USER no longer read a package."""
    with open_client() as client:
        client.access.remove(package, user)
    find_output().done(f"{user} may no longer read {package}.", {"package": package, "user": user})
