"""pulsar access list|add|remove"""

from typing import Any

import click

from pulsar_client.console import PulsarCommand, find_output, format_table, open_client, package_argument


@click.group()
def command() -> None:
    """Show and change who may read a package.

    USER is the name of a user, `public` for everyone, `team` for everyone who is logged in, or `class:NAME`
    or `secondary_class:NAME` for the users of a class.

    \b
    Examples:
      pulsar access list demo/flights
      pulsar access add demo/flights bob
      pulsar access add demo/flights class:Lab --role write
      pulsar access remove demo/flights public
    """


@command.command("list", cls=PulsarCommand)
@package_argument()
@click.option("--roles", is_flag=True, help="Also classes, and what everybody may; for who manages it.")
def list_access(package: str, roles: bool) -> None:
    """Show who may read a package."""
    output = find_output()
    with open_client() as client:
        if roles:
            found = client.access.list_roles(package)
            output.show({"roles": found}, lambda: format_table([_describe(role) for role in found]))
        else:
            users = client.access.list(package)
            output.show({"users": users}, lambda: iter(users))


def _describe(role: dict[str, Any]) -> dict[str, str]:
    audience, name = role["audience"], role.get("name")
    return {"role": role["role"], "who": audience if name is None else f"{audience}:{name}"}


@command.command("add", cls=PulsarCommand)
@package_argument()
@click.argument("user")
@click.option(
    "--role",
    type=click.Choice(["read", "write", "manage"]),
    help="What USER may from now on: only read; also push and tag; all that the owner may.",
)
def add_access(package: str, user: str, role: str | None) -> None:
    """Let USER read a package, or more."""
    with open_client() as client:
        client.access.add(package, user, role)
    verb = {"write": "push", "manage": "manage"}.get(role or "", "read")
    find_output().done(f"{user} may {verb} {package}.", {"package": package, "user": user, "role": role})


@command.command("remove", cls=PulsarCommand)
@package_argument()
@click.argument("user")
def remove_access(package: str, user: str) -> None:
    """Let USER no longer read a package."""
    with open_client() as client:
        client.access.remove(package, user)
    find_output().done(f"{user} may no longer read {package}.", {"package": package, "user": user})
