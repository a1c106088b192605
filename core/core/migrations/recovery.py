"""Live without a plugin that is gone, and take its tables up again when it comes back."""

import click

from core.migrations import bookkeeping
from core.migrations.comparison import tables_of
from core.migrations.environment import migration_connection, settle, versions
from core.migrations.errors import MigrationError, MigrationUsageError
from core.migrations.history import History
from core.migrations.operations import upgrade
from core.migrations.state import State, look
from core.plugins import Plugin

__all__ = ["adopt", "forget"]


def forget(name: str) -> None:
    """Let the database go on without ``name``, whose code is gone. Its tables stay.

    The row of its branch is dropped, and the rows of the branches it had absorbed are put back: they are
    known from ``pulsar_plugins``.

    :raises MigrationError: if it is installed, or an installed plugin stands on it.
    """
    state = look()
    row = state.recorded.rows.get(name)
    if name in state.history.plugins:
        raise MigrationError(f"{name} is installed: undo its migrations with `flask plugin downgrade {name}`")
    if row is None:
        raise MigrationUsageError(f"nothing is recorded of a plugin {name}")
    if row.forgotten_at is not None:
        raise MigrationError(f"{name} is forgotten already")
    if users := _users(state, name):
        raise MigrationError(f"installed plugins stand on {name}: {', '.join(users)}. Uninstall them first")
    history = state.history
    written = [row.revision for row in state.recorded.rows.values() if row.revision and not row.forgotten_at]
    others = [head for head in state.unknown if head != row.revision]
    heads = history.graph.tips([*written, *state.recorded.heads])  # leaves out what nobody knows
    with migration_connection() as connection:
        with connection.begin():
            bookkeeping.write_heads(connection, [*heads, *others])
            bookkeeping.mark_forgotten(connection, name)
            bookkeeping.synchronize(connection, history.graph, [*heads, *others], versions(history))
        kept = tables_of(connection, _with(history, name), name)
    back = [head for head in heads if head not in state.recorded.heads]
    click.echo(f"{name}: forgotten at {row.revision}; tables kept: {', '.join(kept) or 'none'}")
    click.echo(f"{name}: put back {', '.join(back) or 'nothing, no other branch was absorbed'}")


def _users(state: State, name: str) -> list[str]:
    """Installed plugins whose migrations mention one of ``name``.

    Its files are gone, so its revisions are known by the one that was written down and by their names.
    """
    prefix = Plugin(name, name).table_prefix
    row = state.recorded.rows[name]
    return sorted(
        plugin
        for plugin, missing in state.history.missing.items()
        if missing in (name, row.revision) or missing.startswith(prefix)
    )


def _with(history: History, name: str) -> History:
    """``history`` with ``name`` among its plugins, so that tables can be told by its prefix."""
    plugins = {**history.plugins, name: Plugin(name, name)}
    return History(plugins, history.enabled, history.graph, history.left_out, history.missing)


def adopt(name: str) -> None:
    """Take up the tables that ``forget`` kept: ``name`` is again where it was, and goes on from there.

    :raises MigrationError: if nothing was kept, or the installed version does not know that revision.
    """
    state = look()
    state.require_installed(name)
    state.refuse_unknown()
    state.refuse_broken((name,))
    row = state.recorded.rows.get(name)
    if row is None or row.revision is None or row.forgotten_at is None:
        raise MigrationError(f"no tables of {name} were kept by `flask plugin forget`")
    graph = state.history.graph
    if row.revision not in graph:
        raise MigrationError(
            f"the tables of {name} were kept at {row.revision}, which the installed version does not have: "
            f"install {row.version} or a later one"
        )
    below = graph.below([row.revision]) - graph.of(name)
    upgrade(below - state.applied, state)
    heads = graph.tips([*state.recorded.heads, *below, row.revision])
    with migration_connection() as connection:
        with connection.begin():
            bookkeeping.write_heads(connection, heads)
        settle(connection, state.history)
    click.echo(f"{name}: taken up again at {row.revision}")
    upgrade(graph.heads(name), look())
