"""Make a database from the models at once, without running a revision; and drop one."""

import warnings

import sqlalchemy as sa

from core.db import Base, db
from core.migrations import bookkeeping
from core.migrations.comparison import import_models
from core.migrations.environment import migration_connection
from core.migrations.errors import MigrationError
from core.migrations.operations import finish_installation, refuse_missing, stamp
from core.migrations.state import State, look

__all__ = ["create_all", "drop_all"]


def create_all() -> None:
    """Make the tables of every enabled plugin, and of what these stand on, and stamp their heads.

    So `flask db upgrade` goes on from here.

    :raises MigrationError: if the database has tables.
    """
    state = look()
    refuse_missing(state)
    if tables := _tables():
        raise MigrationError(f"the database is not empty, it has {len(tables)} tables: {tables[0]}, ...")
    names = _needed(state)
    state.refuse_broken(names)
    for name in names:
        import_models(state.history.plugins[name])
    wanted = [t for t in Base.metadata.sorted_tables if state.history.owner_of(t.name) in names]
    with migration_connection() as connection, connection.begin():
        Base.metadata.create_all(connection, wanted)
    stamp([head for name in names for head in state.history.graph.heads(name)], look())
    finish_installation()


def _needed(state: State) -> tuple[str, ...]:
    """The enabled plugins, and those whose revisions theirs stand on."""
    graph, enabled = state.history.graph, state.history.enabled
    below = graph.below(head for name in enabled for head in graph.heads(name))
    return tuple(dict.fromkeys([*enabled, *sorted(graph.revisions[id_].plugin for id_ in below)]))


def drop_all() -> None:
    """Drop every table with all its rows, and what is recorded of migrations.

    :raises MigrationError: before anything is dropped, if there are tables of no installed plugin.
    """
    history = look().history
    ours = {bookkeeping.plugins_table.name, bookkeeping.version_table.name}
    if strange := [name for name in _tables() if name not in ours and history.owner_of(name) is None]:
        raise MigrationError(f"the database has tables that are no installed plugin's: {', '.join(strange)}")
    metadata = sa.MetaData()
    with migration_connection() as connection, connection.begin():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Skipped unsupported reflection", sa.exc.SAWarning)
            metadata.reflect(connection)
        metadata.drop_all(connection)


def _tables() -> list[str]:
    with db.engine.connect() as connection:
        return sorted(sa.inspect(connection).get_table_names())
