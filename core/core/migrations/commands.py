"""``flask db ...``: the group of Flask-Migrate with commands that know of plugins."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import click
from alembic import command
from alembic.script import ScriptDirectory
from flask import current_app
from flask.cli import with_appcontext
from flask_migrate.cli import db as db

from core.cli.groups import Command, in_columns
from core.db import db as database
from core.migrations import operations
from core.migrations.comparison import differences, import_models
from core.migrations.errors import MigrationError, MigrationUsageError, one_line
from core.migrations.history import load
from core.migrations.state import PluginState, State, look

__all__ = ["db"]


def _command(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """A command of ``flask db``, in place of Flask-Migrate's if it has one of that name."""

    def register(function: Callable[..., Any]) -> click.Command:
        made: click.Command = db.command(name, cls=Command)(with_appcontext(one_line(function)))
        return made

    return register


@_command("upgrade")
@click.argument("revision", required=False)
@click.option("--sql", is_flag=True, help="Write the SQL for an empty database instead of running it.")
def upgrade(revision: str | None, sql: bool) -> None:
    """Bring every enabled plugin to its newest revision, or the site to REVISION.

    \b
        flask db upgrade
        flask db upgrade registry@head
    """
    if revision is None or (sql and revision in ("head", "heads")):
        operations.upgrade_all(sql=sql)
    elif sql:
        command.upgrade(operations.alembic_config(report=lambda line: None), revision, sql=True)
    else:
        state = look()
        state.refuse_unknown()
        if not operations.upgrade(_above(state, revision), state):
            click.echo("Nothing to upgrade.")


def _above(state: State, revision: str) -> set[str]:
    """The revisions that lie between the database and ``revision``, which may be relative or a label."""
    script = ScriptDirectory.from_config(operations.alembic_config())
    heads = state.recorded.heads
    found = {item.revision for item in script.iterate_revisions(revision, heads, implicit_base=True)}
    return found or {item.revision for item in script.get_revisions(revision) if item}


@_command("downgrade")
@click.argument("revision", required=False)
@click.option("--sql", is_flag=True, help="Write the SQL for FROM:TO instead of running it.")
@click.option("--cascade", is_flag=True, help="Also undo what other plugins built on it.")
@click.option("--yes", is_flag=True, help="Together with --cascade: do not refuse.")
def downgrade(revision: str | None, sql: bool, cascade: bool, yes: bool) -> None:
    """Go back to REVISION, e.g. cart@base or cart_0002; refused if other plugins would lose something.

    \b
        flask db downgrade registry_0001
    """
    if revision is None:
        raise MigrationUsageError(
            "say how far: a revision such as cart_0002, or `flask plugin downgrade NAME`"
        )
    if sql:
        command.downgrade(operations.alembic_config(report=lambda line: None), revision, sql=True)
        return
    state = look()
    state.refuse_unknown()
    removed = _below(state, revision)
    operations.downgrade(removed, state, name=_named(state, revision), cascade=cascade, yes=yes)


def _below(state: State, revision: str) -> set[str]:
    script = ScriptDirectory.from_config(operations.alembic_config())
    found = script.iterate_revisions(state.recorded.heads, revision, select_for_downgrade=True)
    return {item.revision for item in found}


def _named(state: State, revision: str) -> str | None:
    """The plugin whose revision the caller wrote."""
    known = state.history.graph.revisions.get(revision)
    return known.plugin if known else revision.partition("@")[0] if "@" in revision else None


@_command("migrate")
@click.option("-m", "--message", help="Ignored.")
@click.argument("rest", nargs=-1, type=click.UNPROCESSED)
def migrate(**_ignored: Any) -> None:
    """Revisions belong to a plugin: use `flask plugin revision NAME -m MESSAGE`.

    \b
        flask plugin revision notes -m "add colours"
    """
    raise MigrationUsageError("a revision belongs to a plugin: use `flask plugin revision NAME -m MESSAGE`")


for _name in ("migrate", "revision"):
    # Whatever options Flask-Migrate's command of that name took, the answer is the same line.
    _refusing = click.Command(
        _name, {"ignore_unknown_options": True}, migrate.callback, migrate.params, help=migrate.help
    )
    db.add_command(_refusing)


@_command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON array on standard output.")
def status(as_json: bool) -> None:
    """Show for each plugin how far the database is and what is pending.

    \b
        flask db status
        flask db status --json
    """
    lines = look().plugins()
    if as_json:
        click.echo(json.dumps([line.as_json() for line in lines]))
        return
    for line, text in zip(lines, in_columns([_cells(line) for line in lines]), strict=True):
        click.echo(text)
        if line.problem:
            click.echo(f"  ! {line.problem}")


def _cells(line: PluginState) -> tuple[str, ...]:
    where = (
        f"{line.current or 'base'} -> {line.head or 'base'}"
        if line.pending
        else line.current or "no migrations"
    )
    todo = f"pending: {', '.join(line.pending)}" if line.pending else "up to date" if line.head else ""
    return line.name, line.version, line.state, where, todo


@_command("current")
@click.option("-v", "--verbose", is_flag=True, help="Show the file of each revision too.")
def current(verbose: bool) -> None:
    """Show the rows of alembic_version. `flask db status` is easier to read.

    \b
        flask db current
    """
    look().refuse_unknown()
    command.current(operations.alembic_config(), verbose=verbose)


@_command("heads")
@click.option("-v", "--verbose", is_flag=True)
@click.option("--resolve-dependencies", is_flag=True, help="Leave out heads that another one depends on.")
def heads(verbose: bool, resolve_dependencies: bool) -> None:
    """Show the newest revisions of all installed plugins.

    \b
        flask db heads
    """
    command.heads(operations.alembic_config(), verbose=verbose, resolve_dependencies=resolve_dependencies)


@_command("branches")
@click.option("-v", "--verbose", is_flag=True)
@click.option("--plugins", is_flag=True, help="Of each plugin its head, what it stands on, its folder.")
def branches(verbose: bool, plugins: bool) -> None:
    """Show where a branch forks, or with --plugins the branch of each plugin.

    \b
        flask db branches --plugins
    """
    if not plugins:
        command.branches(operations.alembic_config(), verbose=verbose)
        return
    history = load(current_app)
    rows = [("PLUGIN", "REVISIONS", "HEAD", "STANDS ON", "FOLDER")]
    for name, plugin in history.plugins.items():
        own, heads = history.graph.of(name), history.graph.heads(name)
        below = {history.graph.revisions[id_].plugin for id_ in history.graph.below(own)} - {name}
        head, others = ", ".join(heads) or "-", ", ".join(sorted(below)) or "-"
        rows.append((name, str(len(own)), head, others, str(plugin.versions)))
    for line in in_columns(rows):
        click.echo(line)


@_command("history")
@click.option("-r", "--rev-range", help="FROM:TO")
@click.option("-v", "--verbose", is_flag=True)
@click.option("-i", "--indicate-current", is_flag=True, help="Mark the revisions the database is at.")
def history(rev_range: str | None, verbose: bool, indicate_current: bool) -> None:
    """List all revisions, newest first.

    \b
        flask db history -i
    """
    if indicate_current:
        look().refuse_unknown()
    command.history(
        operations.alembic_config(), rev_range, verbose=verbose, indicate_current=indicate_current
    )


@_command("show")
@click.argument("revision", default="heads")
def show(revision: str) -> None:
    """Show one revision.

    \b
        flask db show registry@head
    """
    command.show(operations.alembic_config(), cast(Any, revision))


@_command("stamp")
@click.argument("revisions", nargs=-1)
@click.option("--sql", is_flag=True, help="Write the SQL instead of running it.")
@click.option("--purge", is_flag=True, help="Forget first what the database says of itself.")
def stamp(revisions: tuple[str, ...], sql: bool, purge: bool) -> None:
    """Say that the database is at REVISIONS (default: heads of enabled plugins) without running anything.

    \b
        flask db stamp registry@head
    """
    if sql:
        for revision in revisions or ("heads",):
            command.stamp(operations.alembic_config(report=lambda line: None), revision, sql=True)
        return
    state = look()
    operations.stamp(_targets(state, revisions), state, purge=purge)


def _targets(state: State, revisions: tuple[str, ...]) -> list[str]:
    graph, found = state.history.graph, []
    script = ScriptDirectory.from_config(operations.alembic_config())
    for revision in revisions or ("heads",):
        if revision in ("head", "heads"):
            found += [head for name in state.history.enabled for head in graph.heads(name)]
        elif revision == "base":
            found += [f"{name}@base" for name in state.reached]
        elif revision.endswith("@base"):
            found.append(revision)
        else:
            found += [item.revision for item in script.get_revisions(revision) if item]
    return found


@_command("check")
@click.argument("names", nargs=-1)
def check(names: tuple[str, ...]) -> None:
    """Compare tables with models, of the plugins NAMES or of all enabled; exit status 1 if they differ.

    \b
        flask db check
        flask db check registry
    """
    state = look()
    state.refuse_unknown()
    names = names or state.history.enabled
    for name in names:
        state.require_installed(name)
    behind = [line.name for line in state.plugins() if line.name in names and line.pending]
    if behind:
        raise MigrationError(f"not at the newest revision: {', '.join(behind)}. Run `flask db upgrade` first")
    if found := list(_differences(state, names)):
        raise MigrationError("models and database differ: " + "; ".join(found))
    click.echo("Models and database agree.")


def _differences(state: State, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        import_models(state.history.plugins[name])
        with database.engine.connect() as connection:
            yield from (f"{name}: {line}" for line in differences(connection, state.history, name))
