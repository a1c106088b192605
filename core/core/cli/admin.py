"""``flask admin``: the accounts that make the others."""

import json
import sys
from typing import Any

import click
from flask.cli import with_appcontext
from sqlalchemy import select

from core.cli.groups import CommandGroup
from core.db import db
from core.identity import OPERATOR
from core.users import services
from core.users.models import User

__all__ = ["admin"]


@click.group(cls=CommandGroup)
def admin() -> None:
    """Make users and their keys; say what they may do."""


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
    user = services.create_user(username, password, email, class_name=class_name, verified=True)
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
    user = _find(name)
    scope = [word.strip() for word in permissions.split(",") if word.strip()]
    _, text = services.create_key(user, permissions=scope, permanent=permanent)
    db.session.commit()
    click.echo(text)


@admin.command("list")
@click.option("--json", "as_json", is_flag=True, help="As a JSON list.")
@with_appcontext
def list_(as_json: bool) -> None:
    """List all users, oldest first.

    \b
        flask admin list
    """
    found = [_row(user) for user in db.session.scalars(select(User).order_by(User.id))]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for row in found:
        click.echo(f"{row['id']:>7}  {row['username']:<32}  {row['class']:<24}  {row['state']}")


@admin.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@with_appcontext
def show(name: str, as_json: bool) -> None:
    """Show all that is known of the user NAME, and what the user may do at present.

    \b
        flask admin show ann
    """
    user = _find(name)
    found = _row(user) | {
        "email": user.email,
        "created": user.created_at.isoformat(timespec="seconds"),
        "secondary classes": [found.name for found in user.secondary_classes],
        "permissions": services.effective_permissions(user),
    }
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for key, value in found.items():
        click.echo(f"{key:<18} {', '.join(value) if isinstance(value, list) else value}".rstrip())


@admin.command()
@click.argument("name")
@click.argument("permissions", metavar="PERMISSION...", nargs=-1, required=True)
@with_appcontext
def grant(name: str, permissions: tuple[str, ...]) -> None:
    """Give permissions to the user NAME alone.

    \b
        flask admin grant ann jobs_view_others
    """
    _change(name, permissions=dict.fromkeys(permissions, True))
    click.echo(f"{name} has {', '.join(permissions)}")


@admin.command()
@click.argument("name")
@click.argument("permissions", metavar="PERMISSION...", nargs=-1, required=True)
@with_appcontext
def revoke(name: str, permissions: tuple[str, ...]) -> None:
    """Take permissions from the user NAME alone, also those that a class gives.

    \b
        flask admin revoke ann registry_push
    """
    _change(name, permissions=dict.fromkeys(permissions, False))
    click.echo(f"{name} no longer has {', '.join(permissions)}")


@admin.command()
@click.argument("name")
@with_appcontext
def lock(name: str) -> None:
    """Leave the user NAME nothing but LOCKED_ACCOUNT_PERMISSIONS.

    \b
        flask admin lock ann
    """
    _change(name, locked=True)
    click.echo(f"{name} is locked")


@admin.command()
@click.argument("name")
@with_appcontext
def unlock(name: str) -> None:
    """Give the user NAME back what locking took.

    \b
        flask admin unlock ann
    """
    _change(name, locked=False)
    click.echo(f"{name} is no longer locked")


@admin.command()
@click.argument("name")
@with_appcontext
def disable(name: str) -> None:
    """Let the user NAME in nowhere; no key and no password is good.

    \b
        flask admin disable ann
    """
    _change(name, enabled=False)
    click.echo(f"{name} is disabled")


@admin.command()
@click.argument("name")
@with_appcontext
def enable(name: str) -> None:
    """Let the user NAME in again.

    \b
        flask admin enable ann
    """
    _change(name, enabled=True)
    click.echo(f"{name} is enabled")


@admin.command()
@click.argument("name")
@click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input instead of asking."
)
@with_appcontext
def passwd(name: str, password_stdin: bool) -> None:
    """Give the user NAME another password. Every key and session of the user ends.

    \b
        flask admin passwd ann
        echo "$SECRET" | flask admin passwd ann --password-stdin
    """
    _find(name)  # before anything is asked
    _change(name, password=_password(password_stdin))
    click.echo(f"{name} has a new password; the keys are revoked")


@admin.command("class")
@click.argument("name")
@click.argument("class_name", metavar="CLASS")
@with_appcontext
def class_(name: str, class_name: str) -> None:
    """Put the user NAME into the class CLASS.

    \b
        flask admin class ann Administrator
    """
    found = services.get_class(class_name)
    _change(name, user_class_id=found.id)
    click.echo(f"{name} is in the class {found.name}")


def _find(name: str) -> User:
    user = services.find_user(name)
    if user is None:
        raise click.ClickException(f"there is no user {name}")
    return user


def _change(name: str, **changes: Any) -> None:
    services.change_user(_find(name).id, changes, OPERATOR)
    db.session.commit()


def _row(user: User) -> dict[str, Any]:
    state = "disabled" if not user.enabled else "locked" if user.locked else "enabled"
    return {"id": user.id, "username": user.username, "class": user.user_class.name, "state": state}
