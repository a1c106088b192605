"""``flask cart``: look after carts. The names and options are those of the original service."""

import json
import os
import time
from datetime import timedelta
from typing import Any, Final

import click
from flask import Flask, current_app
from sqlalchemy.exc import OperationalError

from cart.models import BUSY, Cart
from cart.services import upkeep
from cart.services.carts import restart
from cart.services.staging import Staging
from core.cli.jobs import work_until_stopped
from core.cli.plugin_migrations import upgrade
from core.db import db
from core.errors import NotFound
from core.jobs.worker import Worker
from core.migrations import pending
from core.migrations.commands import check

__all__ = ["commands"]

OLD: Final = "180 days ago"


def _app() -> Flask:
    return current_app._get_current_object()  # type: ignore[attr-defined, no-any-return]


def _reach_database() -> None:
    """Wait for a database that is still starting.

    :raises ClickException: it does not answer.
    """
    attempts: int = current_app.config["CART_DATABASE_ATTEMPTS"]
    for attempt in range(1, attempts + 1):
        try:
            with db.engine.connect():
                return
        except OperationalError:
            if attempt == attempts:
                raise click.ClickException(f"the database did not answer {attempts} times") from None
            time.sleep(current_app.config["CART_DATABASE_WAIT"])


@click.command("dbsync")
@click.pass_context
def dbsync_command(context: click.Context) -> None:
    """Make the tables of the cart, or bring them to what this version needs.

    \b
        flask cart dbsync
    """
    _reach_database()
    context.invoke(upgrade, name="cart", adopt=False)


@click.command("dbchk")
@click.option("--equal", is_flag=True, help="They must be just what this version makes.")
@click.pass_context
def dbchk_command(context: click.Context, equal: bool) -> None:
    """Say whether this version can work with the tables of the cart; exit status 1 if not.

    \b
        flask cart dbchk
        flask cart dbchk --equal
    """
    _reach_database()
    behind = pending(_app())
    if behind.problem or "cart" in behind:
        raise click.ClickException(
            behind.problem or "the tables of the cart are not up to date: flask cart dbsync"
        )
    if equal:
        context.invoke(check, names=("cart",))
    else:
        click.echo("The tables of the cart can be used.")


@click.command("fixit")
@click.option("--cartid", "first", metavar="UID", required=True, help="The cart; further ones may follow.")
@click.argument("others", nargs=-1)
def fixit_command(first: str, others: tuple[str, ...]) -> None:
    """Fetch what is missing in carts, here and now, and finish them.

    Of each UID it is the newest cart. What is there already is left alone. Exit status 1 if there is no such
    cart, or one has failed again.

    \b
        flask cart fixit --cartid 36a
        flask cart fixit --cartid 36a 36b
    """
    failed = False
    for uid in (first, *others):
        try:
            cart = upkeep.find_newest(uid)
        except NotFound as exc:
            raise click.ClickException(exc.message) from None
        restart(cart)
        db.session.commit()
        _work_on(cart.id)
        db.session.rollback()
        cart = db.session.get_one(Cart, cart.id)
        click.echo(f"{uid}: {cart.state}" + (f": {cart.message}" if cart.message else ""))
        failed |= cart.state != "ready"
    if failed:
        raise SystemExit(1)


def _work_on(cart_id: int) -> None:
    cart = db.session.get_one(Cart, cart_id)
    if cart.state not in BUSY:
        return
    with click.progressbar(length=cart.files, label=cart.uid, show_pos=True) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        staging = Staging(cart_id, f"fixit {os.getpid()}", db.session.commit, progress)
        while (pause := staging.turn()) is not None:
            time.sleep(pause)


@click.command("dump")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array instead of YAML.")
def dump_command(as_json: bool) -> None:
    """Print all carts that are not deleted, newest first, with their files.

    \b
        flask cart dump
        flask cart dump --json
    """
    separator = "["
    for cart, files in upkeep.iter_all():
        if as_json:
            click.echo(f'{separator}{json.dumps(cart)[:-1]}, "files": [', nl=False)
            for number, file in enumerate(files):
                click.echo(f"{',' if number else ''}\n {json.dumps(file)}", nl=False)
            click.echo("]}", nl=False)
            separator = ",\n"
            continue
        _print_yaml(cart, "- ", "  ")
        lines = iter(files)
        first = next(lines, None)
        click.echo("  files:" + ("" if first else " []"))
        for file in [first] if first else []:
            _print_yaml(file, "  - ", "    ")
        for file in lines:
            _print_yaml(file, "  - ", "    ")
        separator = ""
    if as_json:
        click.echo("[]" if separator == "[" else "]")
    elif separator == "[":
        click.echo("[]")


def _print_yaml(values: dict[str, str], first: str, other: str) -> None:
    # A text in JSON is one in YAML too.
    for number, (name, value) in enumerate(values.items()):
        click.echo(f"{other if number else first}{name}: {json.dumps(value)}")


def _age(_context: Any, _option: Any, value: str) -> timedelta:
    try:
        return upkeep.parse_age(value)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from None


@click.command("purge")
@click.option("--time-ago", default=OLD, show_default=True, callback=_age, help="NUMBER UNIT ago.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
def purge_command(time_ago: timedelta, dry_run: bool) -> None:
    """Delete carts to which nothing has happened since, and free their space.

    \b
        flask cart purge --time-ago "7 days ago" --dry-run
        flask cart purge
    """
    for cart in upkeep.list_old(time_ago):
        cart_id, line = cart.id, f"{cart.uid} (updated {cart.updated_at:%Y-%m-%d %H:%M})"
        if not dry_run:
            try:
                upkeep.remove(cart_id)
            except NotFound:
                continue  # somebody else was faster
        click.echo(f"{'would delete' if dry_run else 'deleted'} {line}")


@click.command("gc")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def gc_command(as_json: bool) -> None:
    """Remove fetched files that no cart has, and what interrupted transfers left.

    \b
        flask cart gc
        flask cart gc --json
    """
    done = upkeep.clear_up()
    if as_json:
        click.echo(json.dumps(done.as_dict()))
    else:
        click.echo(f"removed {done.files} fetched files, {done.parts} parts; swept {done.swept} bytes")


@click.command("worker")
@click.option("--threads", type=click.IntRange(1, 256), help="Jobs at a time. Default: JOBS_THREADS.")
@click.option("--drain", is_flag=True, help="End when nothing is due.")
def worker_command(threads: int | None, drain: bool) -> None:
    """Fetch files for carts, and do other jobs of the site, until told to stop: `flask jobs work`.

    \b
        flask cart worker --threads 4
    """
    _reach_database()
    work_until_stopped(Worker(_app(), threads=threads, drain=drain))


commands: Final = (
    dbsync_command,
    dbchk_command,
    fixit_command,
    dump_command,
    purge_command,
    gc_command,
    worker_command,
)
