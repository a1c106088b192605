"""What ``migrations/env.py`` does: run migrations on the database of the present app.

Each migration is a transaction of its own, together with its row in ``pulsar_plugins``. On SQLite and
PostgreSQL that includes the DDL; MariaDB commits at every DDL statement, so there a migration that fails
may be half done.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from flask import current_app
from sqlalchemy import Connection
from sqlalchemy.schema import CreateTable

from core.db import db
from core.migrations import bookkeeping
from core.migrations.comparison import options
from core.migrations.errors import MigrationError
from core.migrations.history import History, load

__all__ = ["migration_connection", "run", "settle"]


def run() -> None:
    """Run the command that Alembic was given. Called by ``env.py``, in the context of an app."""
    history = context.config.attributes.get("history") or load(current_app)
    report = context.config.attributes.get("report", lambda line: None)
    settings = options(history, context.config.attributes.get("plugin"))
    settings |= {"transaction_per_migration": True, "on_version_apply": _recorder(history, report)}
    if context.is_offline_mode():
        _run_offline(settings)
    else:
        _run_online(history, settings)


def _run_offline(settings: Mapping[str, Any]) -> None:
    context.configure(
        dialect_name=db.engine.dialect.name,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
        **settings,
    )
    migration = context.get_context()
    migration.execute(CreateTable(bookkeeping.plugins_table, if_not_exists=True))
    with context.begin_transaction():
        context.run_migrations()


def _run_online(history: History, settings: Mapping[str, Any]) -> None:
    with migration_connection() as connection:
        # Alembic commits only if it finds no transaction begun, so everything before has its own.
        context.configure(connection=connection, **settings)
        changes = not context.get_context().opts.get("dont_mutate")
        if changes:
            settle(connection, history)
        with context.begin_transaction():
            context.run_migrations()
        connection.rollback()  # ends the reading transaction of a command that changed nothing
        if changes:
            settle(connection, history)


@contextmanager
def migration_connection() -> Iterator[Connection]:
    """A connection to migrate on, for one process at a time.

    On SQLite it does not enforce foreign keys; :func:`check_foreign_keys` does instead.
    """
    with db.engine.connect() as connection:
        if connection.dialect.name != "sqlite":
            with _alone(connection):
                yield connection
            return
        # SQLite changes a table by making a new one and dropping the old: with the keys enforced, that
        # deletes every row that refers to it. Inside a transaction the switch does nothing, hence raw.
        raw: Any = connection.connection.dbapi_connection
        raw.execute("PRAGMA foreign_keys=OFF").close()
        try:
            yield connection
        finally:
            connection.rollback()
            raw.execute("PRAGMA foreign_keys=ON").close()


# Two that upgrade at once would both make the same table. SQLite has no such lock; there the second of two
# fails at its first statement, changes nothing, and finds everything done when it is started again.
_LOCKS = {
    "postgresql": ("SELECT pg_advisory_lock(7856)", "SELECT pg_advisory_unlock(7856)"),
    "mysql": ("SELECT GET_LOCK(CONCAT(DATABASE(), '.migrations'), 86400)",
              "SELECT RELEASE_LOCK(CONCAT(DATABASE(), '.migrations'))"),
}  # fmt: skip


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Wait until nobody else migrates this database. A connection that breaks gives its lock back."""
    lock, unlock = _LOCKS["mysql" if connection.dialect.name == "mariadb" else connection.dialect.name]
    connection.exec_driver_sql(lock)
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        if not connection.invalidated:
            connection.exec_driver_sql(unlock)
            connection.commit()


def check_foreign_keys(connection: Connection) -> None:
    """Refuse what a migration did to SQLite if a row now refers to nothing.

    :raises MigrationError: naming the table and row; raised before the commit, so that nothing of it stays.
    """
    if connection.dialect.name != "sqlite":
        return
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        table, rowid, parent, _ = broken[0]
        raise MigrationError(
            f"the migration leaves rows that refer to nothing: {len(broken)}, the first is row {rowid} of "
            f"{table}, which refers to {parent}; it was rolled back"
        )


def settle(connection: Connection, history: History) -> None:
    """Bring both tables into the shape that every command relies on.

    ``alembic_version`` loses rows that others imply (``stamp`` leaves such rows, and Alembic then refuses to
    go on); ``pulsar_plugins`` is repaired from it.
    """
    with connection.begin():
        bookkeeping.create_tables(connection)
        heads = bookkeeping.read(connection).heads
        unknown = [head for head in heads if head not in history.graph]
        tips = [*history.graph.tips(heads), *unknown]
        if set(tips) != set(heads):
            bookkeeping.write_heads(connection, tips)
        bookkeeping.synchronize(connection, history.graph, tips, versions(history))


def versions(history: History) -> dict[str, str]:
    """The installed version of each plugin."""
    return {name: plugin.version for name, plugin in history.plugins.items()}


def _recorder(history: History, report: Callable[[str], None]) -> Callable[..., None]:
    """Write down and tell each step while its transaction is still open."""

    def record(ctx: MigrationContext, step: MigrationInfo, heads: set[str], run_args: Any) -> None:
        if ctx.as_sql:
            _record_offline(ctx, history, step)
        else:
            assert ctx.connection is not None
            check_foreign_keys(ctx.connection)
            bookkeeping.synchronize(ctx.connection, history.graph, heads, versions(history))
            report(_describe(history, step))

    return record


def _record_offline(ctx: MigrationContext, history: History, step: MigrationInfo) -> None:
    for id_ in step.up_revision_ids:
        plugin = history.graph.revisions[id_].plugin
        version = versions(history).get(plugin, "")
        for statement in bookkeeping.offline_statements(history.graph, id_, step.is_upgrade, version):
            ctx.execute(statement)


def _describe(history: History, step: MigrationInfo) -> str:
    revision = history.graph.revisions[step.up_revision_ids[0]]
    below = ", ".join(revision.parents) or "base"
    arrow = f"{below} -> {revision.id}" if step.is_upgrade else f"{revision.id} -> {below}"
    verb = "stamped" if step.is_stamp else "upgraded" if step.is_upgrade else "downgraded"
    return f"{revision.plugin}: {verb} {arrow}" + (f"  {revision.title}" if revision.title else "")
