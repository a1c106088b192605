"""``flask admin``: the accounts that make the others."""

import sys

import click
from flask.cli import with_appcontext

from core.cli.groups import CommandGroup
from core.db import db
from core.users import services

__all__ = ["admin"]


@click.group(cls=CommandGroup)
def admin() -> None:
    """Make users and their keys."""


@admin.command()
@click.option("--username", required=True)
@click.option("--email", required=True)
@click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input instead of asking."
)
@click.option("--class", "class_name", help="Class of the user; without it, an administrator is made.")
@with_appcontext
def create(username: str, email: str, password_stdin: bool, class_name: str | None) -> None:
    """Make a user: an administrator, or with --class an ordinary one.

    \b
        flask admin create --username ann --email ann@example.org
        echo "$SECRET" | flask admin create --username bob --email b@example.org --password-stdin --class User
    """
    password = _password(password_stdin)
    class_name = class_name or services.administrators().name
    user = services.create_user(username, password, email, class_name=class_name)
    db.session.commit()
    click.echo(f"created {user.username} ({class_name})")


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    answer: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return answer


@admin.command()
@click.argument("name")
@click.option(
    "--permissions",
    default="",
    help="Comma-separated scope of the key; without it, whatever the user may do.",
)
@click.option("--permanent", is_flag=True, help="The key does not expire when it is not used.")
@with_appcontext
def key(name: str, permissions: str, permanent: bool) -> None:
    """Make an API key for the user NAME and print it, alone, on standard output.

    \b
        flask admin key ann --permanent
        flask admin key ann --permissions registry_read,registry_push
    """
    user = services.find_user(name)
    if user is None:
        raise click.ClickException(f"there is no user {name}")
    scope = [word.strip() for word in permissions.split(",") if word.strip()]
    _, text = services.create_key(user, permissions=scope, permanent=permanent)
    db.session.commit()
    click.echo(text)
