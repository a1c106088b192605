"""Compare the tables of one plugin with its models, and nothing else."""

import importlib
import pkgutil
import warnings
from collections.abc import Collection, Iterator
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import produce_migrations
from alembic.operations.ops import (
    CreateIndexOp,
    DropIndexOp,
    MigrateOperation,
    MigrationScript,
    OpContainer,
    UpgradeOps,
)
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData
from sqlalchemy.types import TypeEngine

from core.db import Base
from core.migrations.errors import MigrationError
from core.migrations.history import History
from core.plugins import Plugin

__all__ = ["differences", "flat", "import_models", "options", "produce", "tables_of"]


def options(history: History, plugin: str | None, metadata: MetaData = Base.metadata) -> dict[str, Any]:
    """Settings of a migration context: how to compare, and that only tables of ``plugin`` are looked at.

    :param plugin: None looks at the tables of every enabled plugin.
    """
    wanted = (plugin,) if plugin else history.enabled

    def include_name(name: str | None, type_: str, parents: dict[str, str | None]) -> bool:
        # By name and not by model: a table whose model is gone must still be seen, to be dropped.
        return type_ != "table" or (name is not None and history.owner_of(name) in wanted)

    def include_object(item: Any, name: str | None, type_: str, reflected: bool, other: Any) -> bool:
        return type_ != "table" or (name is not None and history.owner_of(name) in wanted)

    return {
        "target_metadata": metadata,
        "include_name": include_name,
        "include_object": include_object,
        "compare_type": compare_type,
        "render_as_batch": True,
    }


def compare_type(
    context: MigrationContext,
    inspected: Any,
    declared: Any,
    inspected_type: TypeEngine[Any],
    type_: TypeEngine[Any],
) -> bool | None:
    """Whether a column changed its type; None leaves the answer to Alembic.

    MariaDB has no JSON of its own: what is declared so reads back as LONGTEXT.
    """
    if context.dialect.name in ("mysql", "mariadb"):
        here = type_.dialect_impl(context.dialect)
        if isinstance(here, sa.JSON) and isinstance(inspected_type, sa.Text):
            return False
    return None


def produce(connection: Connection, history: History, plugin: str | None = None) -> MigrationScript:
    """The operations that would turn the tables of ``plugin`` into what its models say."""
    context = MigrationContext.configure(connection, opts=options(history, plugin))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "autogenerate skipping metadata-specified expression", UserWarning)
        script = produce_migrations(context, Base.metadata)
    if connection.dialect.name != "postgresql":
        for operations in (script.upgrade_ops, script.downgrade_ops):
            assert operations is not None
            _compare_expressions_by_name(operations)
    return script


def _compare_expressions_by_name(operations: OpContainer) -> None:
    """Take out indexes of expressions that would be dropped and made again under the same name.

    Only PostgreSQL tells of which expressions an index is made; elsewhere it always seems to differ.
    """
    made = {item.index_name for item in flat(operations) if isinstance(item, CreateIndexOp)}
    dropped = {item.index_name for item in flat(operations) if isinstance(item, DropIndexOp)}
    same = {
        index.name
        for table in Base.metadata.tables.values()
        for index in table.indexes
        if index.name in made & dropped and not all(isinstance(part, sa.Column) for part in index.expressions)
    }
    _remove(operations, same)


def _remove(operations: OpContainer, names: Collection[object]) -> None:
    for item in operations.ops:
        if isinstance(item, OpContainer):
            _remove(item, names)
    operations.ops = [
        item
        for item in operations.ops
        if getattr(item, "index_name", None) not in names
        and not (isinstance(item, OpContainer) and item.is_empty())
    ]


def flat(operations: OpContainer) -> Iterator[MigrateOperation]:
    """The single operations of ``operations``, also those that are grouped by table."""
    for operation in operations.ops:
        if isinstance(operation, OpContainer):
            yield from flat(operation)
        else:
            yield operation


def differences(connection: Connection, history: History, plugin: str | None = None) -> list[str]:
    """What differs between the database and the models of ``plugin``, a line for each thing."""
    script = produce(connection, history, plugin)
    assert isinstance(script.upgrade_ops, UpgradeOps)
    return [_describe(diff) for diff in _flat(script.upgrade_ops.as_diffs())]


def _flat(diffs: Any) -> Iterator[tuple[Any, ...]]:
    for diff in diffs:
        if isinstance(diff, list):
            yield from _flat(diff)
        else:
            yield diff


def _describe(diff: tuple[Any, ...]) -> str:
    what, *rest = diff
    words = what.replace("_", " ")
    if what.startswith("modify_"):
        _, table, column, _, before, after = rest
        return f"{words} of {table}.{column}: {before!r} -> {after!r}"
    if what in ("add_column", "remove_column"):
        return f"{words} {rest[1]}.{rest[2].name}"
    table = getattr(getattr(rest[0], "table", None), "name", None)
    return f"{words} {rest[0].name}" + (f" of {table}" if table else "")


def tables_of(connection: Connection, history: History, plugin: str) -> list[str]:
    """Names of the tables in the database that wear the prefix of ``plugin``."""
    return sorted(
        name for name in sa.inspect(connection).get_table_names() if history.owner_of(name) == plugin
    )


def import_models(plugin: Plugin) -> None:
    """Import the modules ``models`` of ``plugin`` and of its subpackages, so that its tables are declared.

    :raises MigrationError: if one cannot be imported.
    """
    folder = str(plugin.package)
    inside = [f"{found.name}.models" for found in pkgutil.iter_modules([folder]) if found.ispkg]
    try:
        if plugin.module is None:
            importlib.import_module(plugin.module_name)
        for name in ("models", *inside):
            plugin.submodule(name)
    except Exception as exc:  # anything can happen in a plugin that is being written
        raise MigrationError(
            f"the models of {plugin.name} cannot be imported: {type(exc).__name__}: {exc}"
        ) from exc
