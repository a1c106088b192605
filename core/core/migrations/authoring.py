"""Write the next revision of one plugin."""

import re
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import render_python_code
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from core.db import Base, db
from core.migrations.comparison import flat, import_models, options, produce
from core.migrations.errors import MigrationError
from core.migrations.graph import Graph
from core.migrations.history import History
from core.migrations.operations import alembic_config
from core.migrations.origin import made_by
from core.migrations.rendering import dialect_imports, quote, render_item
from core.migrations.state import State, look
from core.plugins import Plugin

__all__ = ["write_revision"]

_LONGEST_ID = 32  # characters; the width of alembic_version.version_num


def write_revision(name: str, message: str, *, empty: bool = False) -> Path | None:
    """Write the next revision of ``name`` into its folder ``versions/``.

    Its operations are the difference between the models and the database, for tables of that plugin alone;
    with ``empty`` there are none. Foreign keys to another plugin's table become ``depends_on``.

    :returns: the file, or None if there is no difference.
    :raises MigrationError: if the plugin is behind its head, so that the difference would be more than the
        new revision, or if it cannot be loaded.
    """
    state = look()
    state.require_installed(name)
    state.refuse_broken((name,))
    upgrades = downgrades = ""
    needs: list[str] = []
    if not empty:
        _refuse_behind(state, name)
        import_models(state.history.plugins[name])
        with db.engine.connect() as connection:
            upgrades, downgrades, needs = _autogenerate(connection, state.history, name)
        if not upgrades:
            return None
    return _write(state.history, name, message, upgrades, downgrades, needs)


def _refuse_behind(state: State, name: str) -> None:
    state.refuse_unknown()
    for head in state.history.graph.heads(name):
        if head not in state.applied:
            raise MigrationError(
                f"the database is not at {head} yet: run `flask plugin upgrade {name}` first"
            )


def _autogenerate(connection: Connection, history: History, name: str) -> tuple[str, str, list[str]]:
    script = produce(connection, history, name)
    up, down = script.upgrade_ops, script.downgrade_ops
    assert up is not None
    assert down is not None
    if up.is_empty():
        return "", "", []
    _add_indexes_of_expressions(up)
    context = MigrationContext.configure(connection, opts=options(history, name))
    return _source(up, context), _source(down, context), _needs(history, name, up)


def _add_indexes_of_expressions(operations: ops.UpgradeOps) -> None:
    """Give new tables the indexes that Alembic left out because SQLite could not compare them."""
    named = {item.index_name for item in flat(operations) if isinstance(item, ops.CreateIndexOp)}
    for table in [item.table_name for item in operations.ops if isinstance(item, ops.CreateTableOp)]:
        for index in sorted(Base.metadata.tables[table].indexes, key=lambda index: str(index.name)):
            if index.name not in named:
                operations.ops.append(ops.CreateIndexOp.from_index(index))


def _source(operations: ops.UpgradeOps | ops.DowngradeOps, context: MigrationContext) -> str:
    """The body of ``upgrade()`` or ``downgrade()``, without the comments that Alembic puts around it."""
    _let_indexes_go_with_their_table(operations)
    code = render_python_code(
        operations, render_as_batch=True, render_item=render_item, migration_context=context
    )
    return "\n".join(line for line in code.splitlines() if not line.lstrip().startswith("#")).strip()


def _let_indexes_go_with_their_table(operations: ops.OpContainer) -> None:
    """Take out what is done to a table that is dropped anyway.

    MariaDB refuses to drop an index that a foreign key needs, while the table with both goes without a word.
    """
    dropped = {item.table_name for item in operations.ops if isinstance(item, ops.DropTableOp)}
    operations.ops = [
        item
        for item in operations.ops
        if isinstance(item, ops.DropTableOp) or getattr(item, "table_name", None) not in dropped
    ]


def _write(
    history: History, name: str, message: str, upgrades: str, downgrades: str, needs: list[str]
) -> Path:
    plugin, graph = history.plugins[name], history.graph
    folder = _folder(plugin)
    id_ = _next_id(graph, plugin.table_prefix)
    config = alembic_config(history)
    config.cmd_opts.quiet = True  # type: ignore[union-attr]
    heads = graph.heads(name)
    script = ScriptDirectory.from_config(config).generate_revision(
        id_,
        message,
        head=heads[0] if heads else "base",
        branch_labels=None if heads else name,
        version_path=folder,
        depends_on=needs,
        upgrades=upgrades,
        downgrades=downgrades,
        imports=dialect_imports(upgrades + downgrades),
        needs_sa="sa." in upgrades + downgrades,
        needs_op="op." in upgrades + downgrades,
        quote=quote,
    )
    assert script is not None
    return Path(script.path)


def _folder(plugin: Plugin) -> Path:
    """The folder for revisions of ``plugin``; the first makes it, in a checkout beside the package."""
    folder = plugin.versions
    if not folder.is_dir() and (plugin.package.parent / "pyproject.toml").is_file():
        folder = plugin.package.parent / "versions"
    folder.mkdir(exist_ok=True)
    return folder


def _next_id(graph: Graph, prefix: str) -> str:
    """``<plugin>_0007``: names that sort, and that say whose they are after the plugin is gone."""
    numbers = [
        int(found.group(1)) for id_ in graph.revisions if (found := re.fullmatch(rf"{prefix}(\d+)", id_))
    ]
    id_ = f"{prefix}{max(numbers, default=0) + 1:04d}"
    if len(id_) > _LONGEST_ID:
        raise MigrationError(
            f"the revision id {id_} is longer than {_LONGEST_ID} characters; shorten the plugin's name"
        )
    return id_


def _needs(history: History, name: str, operations: ops.UpgradeOps) -> list[str]:
    """The revisions of other plugins that made the columns to which new foreign keys refer."""
    found = set()
    for table, column in _referred(operations):
        owner = history.owner_of(table)
        if owner in (None, name):
            continue
        if not history.graph.heads(owner):
            raise MigrationError(f"{name} refers to {table} of {owner}, which has no migrations yet")
        found.add(made_by(history.graph, owner, table, column))
    return history.graph.tips(found)


def _referred(operations: ops.OpContainer) -> Iterator[tuple[str, str]]:
    """Table and column of every foreign key that ``operations`` make."""
    for operation in flat(operations):
        if isinstance(operation, ops.CreateForeignKeyOp):
            yield from ((operation.referent_table, column) for column in operation.remote_cols)
        else:
            for key in _keys(operation):
                table, _, column = key.target_fullname.rpartition(".")
                yield table, column


def _keys(operation: ops.MigrateOperation) -> Iterator[sa.ForeignKey]:
    items = operation.columns if isinstance(operation, ops.CreateTableOp) else ()
    if isinstance(operation, ops.AddColumnOp):
        items = (operation.column,)
    for item in items:
        if isinstance(item, sa.Column):
            yield from item.foreign_keys
        elif isinstance(item, sa.ForeignKeyConstraint):
            yield from item.elements
