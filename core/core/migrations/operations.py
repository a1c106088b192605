"""Move a database: up to heads, down to a revision, or by decree. What can be refused is refused first."""

import sys
from collections.abc import Callable, Iterable
from typing import Any, cast

import click
from alembic import command
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory
from flask import current_app
from sqlalchemy import Connection

from core.db import db
from core.migrations import bookkeeping
from core.migrations.comparison import tables_of
from core.migrations.environment import migration_connection, settle
from core.migrations.errors import MigrationError, MigrationUsageError
from core.migrations.history import History
from core.migrations.state import State, look
from core.users.services import grant_defaults

__all__ = [
    "after_first_install",
    "alembic_config",
    "downgrade",
    "finish_installation",
    "refuse_missing",
    "stamp",
    "upgrade",
    "upgrade_all",
]

# The steps to run, given the heads the database is at and, unless SQL is only written, a connection to it.
Plan = Callable[[Iterable[str], ScriptDirectory, Connection | None], list[MigrationStep]]

# Called with the name of an enabled plugin after it has come to its head for the first time: in an app
# context, when the migrations are stored. What a callback does with db.session is committed. If it was cut
# or raised, the next upgrade calls it again, so it must be able to run twice.
after_first_install: list[Callable[[str], object]] = [grant_defaults]


def alembic_config(history: History | None = None, report: Callable[[str], None] = click.echo) -> Config:
    """Alembic's configuration for the present app, with the folders of all installed plugins."""
    config = cast(Config, current_app.extensions["migrate"].migrate.get_config())
    config.stdout = sys.stdout  # Alembic keeps the one of the time it was imported
    config.attributes["report"] = report
    if history is not None:
        config.attributes["history"] = history
    return config


def upgrade_all(*, sql: bool = False) -> None:
    """Bring every enabled plugin to its head; plugins that are only installed stay as they are.

    Where an enabled plugin stands on one that is not enabled, that one goes as far as needed.

    :param sql: write the statements for an empty database to standard output instead of running them.
    :raises MigrationError: if the database or a plugin is in a state that must be mended first.
    """
    state = look()
    refuse_missing(state)
    state.refuse_broken(state.history.enabled)
    heads = [head for name in state.history.enabled for head in state.history.graph.heads(name)]
    if sql:
        _run(state.history, _upwards(state, heads), sql=True)
        return
    if not upgrade(heads, state):
        click.echo("Every enabled plugin is at its head.")
    finish_installation()


def refuse_missing(state: State) -> None:
    missing = [name for name in state.history.enabled if name not in state.history.plugins]
    if missing:
        raise MigrationUsageError(f"enabled in PLUGINS but not installed: {', '.join(missing)}")


def upgrade(targets: Iterable[str], state: State) -> bool:
    """Run ``targets`` (revision ids) and everything they stand on, as far as it was not run yet.

    :returns: whether there was anything to run.
    :raises MigrationError: before anything is run, if tables are in the way.
    """
    state.refuse_unknown()
    graph = state.history.graph
    targets = list(targets)
    steps = graph.below(targets) - state.applied
    _run(state.history, _upwards(state, targets))  # also with nothing to run: it repairs the tables
    return bool(steps)


def _refuse_kept_tables(connection: Connection, state: State, steps: set[str]) -> None:
    """A branch that begins must not find its tables: it would fail half-way, or worse, not fail."""
    graph = state.history.graph
    beginning = [graph.revisions[id_].plugin for id_ in steps if not graph.revisions[id_].parents]
    for name in sorted(beginning):
        if tables := tables_of(connection, state.history, name):
            raise MigrationError(_about_kept(state, name, tables))


def _about_kept(state: State, name: str, tables: list[str]) -> str:
    row = state.recorded.rows.get(name)
    text = f"{name} has no migrations recorded, but its tables are there ({', '.join(tables)}). "
    if row and row.forgotten_at:
        return text + (
            f"They were kept at {row.revision} by `flask plugin forget`: take them up with "
            f"`flask plugin upgrade {name} --adopt`, or drop them."
        )
    return text + (
        "They are from an interrupted migration, a restored dump or create_all: drop them, or, if they are "
        f"complete, say at which revision they are with `flask db stamp {name}@head`."
    )


def downgrade(removed: set[str], state: State, *, name: str | None, cascade: bool, yes: bool) -> None:
    """Undo the revisions ``removed`` and everything that stands on them.

    :param name: the plugin that the caller named; anything of another one needs ``cascade`` and ``yes``.
    :raises MigrationError: if other plugins would lose something and the caller has not agreed to it.
    """
    state.refuse_unknown()
    steps = state.history.graph.above(removed) & state.applied
    if not steps:
        click.echo("Nothing to downgrade.")
        return
    _refuse_others(state, steps, name, agreed=cascade and yes)
    _run(state.history, lambda _heads, script, _connection: _steps(state.history, script, steps, up=False))


def _refuse_others(state: State, steps: set[str], name: str | None, agreed: bool) -> None:
    graph = state.history.graph
    others = {graph.revisions[id_].plugin for id_ in steps} - {name}
    if agreed or not others or (name is None and len(others) == 1):
        return
    with db.engine.connect() as connection:
        losses = [_loss(state, connection, other, steps) for other in sorted(others)]
    raise MigrationError(
        f"this would also undo {'; '.join(losses)}. Say --cascade --yes if that is what you want."
    )


def _loss(state: State, connection: Connection, name: str, steps: set[str]) -> str:
    graph = state.history.graph
    own = graph.of(name)
    text = f"{name} ({', '.join(graph.ordered(steps & own))})"
    tables = tables_of(connection, state.history, name)
    if tables and state.applied & own <= steps:
        text += f" with all its tables ({', '.join(tables)})"
    return text


def _upwards(state: State, targets: list[str]) -> Plan:
    graph = state.history.graph

    def plan(
        heads: Iterable[str], script: ScriptDirectory, connection: Connection | None
    ) -> list[MigrationStep]:
        todo = graph.below(targets) - graph.below(heads)
        if connection is not None:
            _refuse_kept_tables(connection, state, todo)
        return _steps(state.history, script, todo, up=True)

    return plan


def _steps(history: History, script: ScriptDirectory, ids: set[str], *, up: bool) -> list[MigrationStep]:
    make = MigrationStep.upgrade_from_script if up else MigrationStep.downgrade_from_script
    order = history.graph.ordered(ids)
    steps = []
    for id_ in order if up else reversed(order):
        revision = script.get_revision(id_)
        assert revision is not None
        steps.append(make(script.revision_map, revision))
    return cast(list[MigrationStep], steps)


def _run(history: History, plan: Plan, *, sql: bool = False) -> None:
    """Run ``plan`` in Alembic's environment, where it is given the heads as they are then."""
    config = alembic_config(history)
    script = ScriptDirectory.from_config(config)

    def steps(heads: Any, migration: MigrationContext) -> Any:
        return plan(heads, script, None if sql else migration.connection)

    with EnvironmentContext(config, script, fn=steps, as_sql=sql, destination_rev="heads"):
        script.run_env()


def finish_installation() -> None:
    """Do what follows the first installation of each enabled plugin that is at its head."""
    with migration_connection():
        state = look()
        for name in state.history.enabled:
            heads: list[str | None] = [*state.history.graph.heads(name)] or [None]
            plugin = state.history.plugins.get(name)
            if plugin is None or state.reached.get(name) not in heads:
                continue
            with db.engine.begin() as connection:
                bookkeeping.enter(connection, name, plugin.version)
                row = bookkeeping.read(connection).rows[name]
            if row.installed_at is None:
                _run_callbacks(name)
                with db.engine.begin() as connection:
                    bookkeeping.mark_installed(connection, name)


def _run_callbacks(name: str) -> None:
    for callback in after_first_install:
        try:
            callback(name)
            db.session.commit()
        except Exception as exc:  # it is another module's, and the plugin is migrated already
            db.session.rollback()
            raise MigrationError(
                f"{name} is migrated, but what follows its first installation failed "
                f"({type(exc).__name__}: {exc}); `flask db upgrade` tries it again"
            ) from exc


def stamp(targets: Iterable[str], state: State, *, purge: bool = False) -> None:
    """Say that the database is at ``targets`` (ids, or ``name@base``) without running anything.

    Plugins that are not named stay where they are.

    :raises MigrationError: if a plugin that stays stands on more than the target says.
    """
    if not purge:
        state.refuse_unknown()
    graph = state.history.graph
    places = {} if purge else dict(state.reached)
    asked: dict[str, str | None] = {}
    for target in targets:
        name, at, _ = target.partition("@")
        asked |= {name: None} if at else {graph.revisions[target].plugin: target}
    for name, revision in asked.items():
        places.pop(name, None)
        places |= {name: revision} if revision else {}
    reached = graph.reached(places.values())
    for name, revision in asked.items():
        if reached.get(name) != revision:
            raise MigrationError(f"other plugins stand on {name} at {reached[name]}: stamp them first")
    with migration_connection() as connection:
        with connection.begin():
            bookkeeping.create_tables(connection)
            bookkeeping.write_heads(connection, graph.tips(reached.values()))
        settle(connection, state.history)
    for name, revision in asked.items():
        click.echo(f"{name}: stamped {revision or 'base'}")


def stamp_sql(target: str) -> None:
    """Write the statements of a stamp to standard output."""
    command.stamp(alembic_config(), target, sql=True)
