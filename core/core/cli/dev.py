"""``flask dev``: for those who work on the site or on a plugin."""

import json
import subprocess
import sys
from collections.abc import Iterator

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy import func, inspect, select, update

from core.cli.config import core_settings
from core.cli.groups import CommandGroup, in_columns
from core.db import db
from core.migrations.creation import create_all, drop_all
from core.migrations.errors import one_line
from core.permissions import GOD_MODE
from core.plugins import Plugin, find_plugins
from core.site import current_site
from core.test_data import KEY_OF_USER_1, KEY_OF_USER_2, PASSWORD, CorePopulator, TestDataPopulator
from core.users import services
from core.users.models import ApiKey, User, UserPermission

__all__ = ["dev"]

MOST_USERS = 10  # a database with more is not one to try things with

READY = f"""
user_one, who may do everything:  {KEY_OF_USER_1}
user_two, an ordinary user:       {KEY_OF_USER_2}

  curl -H "Authorization: Token {KEY_OF_USER_1}" http://127.0.0.1:5000/users/me

The password of both is {PASSWORD}. Everybody knows these keys: not for a site that others can reach."""


@click.group(cls=CommandGroup)
def dev() -> None:
    """Fill, test and look into a site while working on it."""


@dev.command()
@with_appcontext
@one_line
def createdb() -> None:
    """Make all tables from the models, and stamp the migrations of every enabled plugin.

    Quicker than running them. The database must be empty; the file of SQLite need not be there.

    \b
        flask dev createdb
    """
    create_all()


@dev.command()
@click.option("--yes-i-know", "agreed", is_flag=True, help="Everything that is stored may go.")
@with_appcontext
@one_line
def insertdata(agreed: bool) -> None:
    """Drop everything that is stored, and fill the site with data to try it with.

    Refused unless DEBUG is on or you say --yes-i-know; and if user 1 is not user_one, or there are more
    than 10 users. Prints two API keys; user 1 may do everything.

    \b
        flask --debug dev insertdata
        flask dev insertdata --yes-i-know
    """
    # The flask command has set the app's own DEBUG to what --debug says.
    if not (agreed or current_app.debug or current_site().settings.values["DEBUG"]):
        raise click.ClickException("this deletes everything that is stored: say --yes-i-know, or set DEBUG")
    populators = list(_populators())
    if inspect(db.engine).has_table(User.__tablename__):
        _refuse_if_in_use()
        for _, populator in reversed(populators):
            populator.unpopulate()
            db.session.commit()
    db.session.close()
    drop_all()
    create_all()
    for name, populator in populators:
        populator.populate()
        db.session.commit()
        click.echo(f"{name}: wrote its data")
    _open_everything_to_user_1()
    db.session.commit()
    click.echo(READY)


def _populators() -> Iterator[tuple[str, type[TestDataPopulator]]]:
    """Of core, then of the enabled plugins, each after those it requires."""
    yield "core", CorePopulator
    for name, plugin in current_site().plugins.items():
        for populator in getattr(plugin.module, "POPULATORS", ()):
            yield name, populator


def _refuse_if_in_use() -> None:
    """:raises click.ClickException: if the users are not those of this command."""
    count = db.session.scalar(select(func.count()).select_from(User)) or 0
    first = db.session.scalar(select(User.username).where(User.id == 1))
    if count > MOST_USERS:
        raise click.ClickException(f"there are {count} users: this site is in use, nothing was changed")
    if count and first != "user_one":
        who = f"called {first}" if first else "missing"
        raise click.ClickException(f"user 1 is {who}, not user_one: this site is in use, nothing was changed")


def _open_everything_to_user_1() -> None:
    db.session.add(UserPermission(user_id=1, permission=str(GOD_MODE), granted=True))
    hashes = [key[:10] for key in (KEY_OF_USER_1, KEY_OF_USER_2)]
    db.session.execute(update(ApiKey).where(ApiKey.hash.in_(hashes)).values(permanent=True))
    services.touch(1, 2)


@dev.command()
@click.argument("names", metavar="[PLUGIN]...", nargs=-1)
@click.option("--databases", help="sqlite, postgresql, mariadb, a comma-separated list of them, or all.")
def tests(names: tuple[str, ...], databases: str | None) -> None:
    """Run the tests of core and of every enabled plugin, or of those named, each in its own process.

    Exit status 1 if any failed, or has none. More options for pytest go into PYTEST_ADDOPTS.

    \b
        flask dev tests
        flask dev tests registry --databases all
        PYTEST_ADDOPTS="-x -k push" flask dev tests registry
    """
    installed = find_plugins()
    wanted = names or ("core", *core_settings().values["PLUGINS"])
    if unknown := [name for name in wanted if name not in installed]:
        raise click.ClickException(
            f"not installed: {', '.join(unknown)}; installed are {', '.join(installed)}"
        )
    said = {}
    for name in dict.fromkeys(wanted):
        click.echo(f"== {name}")
        sys.stdout.flush()
        said[name] = _run_tests(installed[name], databases)
    for line in in_columns(list(said.items())):
        click.echo(line)
    if failed := [name for name, result in said.items() if result != "passed"]:
        raise click.ClickException(f"failed: {', '.join(failed)}")


def _run_tests(plugin: Plugin, databases: str | None) -> str:
    folder = plugin.package.parent / "tests"
    if not folder.is_dir():
        return "no tests"
    options = ["--databases", databases] if databases else []
    command = [sys.executable, "-m", "pytest", "-q", str(folder), *options]
    status = subprocess.run(command).returncode  # noqa: S603 - Python itself, with a folder of a plugin
    return "passed" if status == 0 else "no tests" if status == 5 else f"failed with status {status}"


@dev.command()
@click.option("--orphans", is_flag=True, help="Only those that somebody has and no enabled plugin declares.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON list.")
@with_appcontext
def listperms(orphans: bool, as_json: bool) -> None:
    """List every permission with its plugin, and whether ordinary users have it from the beginning.

    \b
        flask dev listperms
        flask dev listperms --orphans --json
    """
    if orphans:
        names = services.list_orphans()
        click.echo(json.dumps(names, indent=2) if as_json else "\n".join(names) or "There are none.")
        return
    found = services.describe_permissions()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = [
        (row["name"], row["plugin"], "yes" if row["for_users"] else "no", row["description"]) for row in found
    ]
    for line in in_columns([("NAME", "PLUGIN", "USERS", "ALLOWS"), *rows]):
        click.echo(line)
