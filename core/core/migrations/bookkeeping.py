"""The table ``pulsar_plugins``: how far each plugin is, in words that survive the plugin.

``alembic_version`` alone does not say it. It keeps no row for a branch that another branch depends on, so
when a plugin vanishes, the rows of core and of everything else it stood on are gone too. Rows here are
written in the transaction of each migration.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from core.db import UTCDateTime, exact, now
from core.migrations.graph import Graph

__all__ = ["Recorded", "Row", "create_tables", "plugins_table", "read", "synchronize", "write_heads"]

_metadata = sa.MetaData()  # not that of the models: neither create_all nor autogenerate shall see these

plugins_table = sa.Table(
    "pulsar_plugins",
    _metadata,
    sa.Column("name", exact(64), primary_key=True),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("revision", exact(64)),  # NULL: the plugin has no migrations
    sa.Column("installed_at", UTCDateTime),  # NULL: what follows a first installation is still to be done
    sa.Column("forgotten_at", UTCDateTime),  # its tables are still there, but no command minds them
)

# Alembic's own; it makes the table, here it is only read and, to forget a plugin, written.
version_table = sa.Table(
    "alembic_version", _metadata, sa.Column("version_num", sa.String(32), primary_key=True)
)


@dataclass(frozen=True)
class Row:
    """What is recorded of one plugin."""

    name: str
    version: str
    revision: str | None
    installed_at: datetime | None
    forgotten_at: datetime | None


@dataclass(frozen=True)
class Recorded:
    """What a database says of itself: the rows of both tables."""

    heads: tuple[str, ...] = ()
    rows: dict[str, Row] = field(default_factory=dict)

    def owner_of(self, revision: str) -> str | None:
        """The plugin that ``revision`` was recorded for."""
        return next((row.name for row in self.rows.values() if row.revision == revision), None)


def read(connection: Connection) -> Recorded:
    """What ``connection`` has recorded; nothing if it was never migrated."""
    inspector = sa.inspect(connection)
    heads: tuple[str, ...] = ()
    rows: dict[str, Row] = {}
    if inspector.has_table(version_table.name):
        heads = tuple(sorted(connection.scalars(sa.select(version_table.c.version_num))))
    if inspector.has_table(plugins_table.name):
        found = connection.execute(sa.select(plugins_table).order_by(plugins_table.c.name))
        rows = {row.name: Row(*row) for row in found}
    return Recorded(heads, rows)


def create_tables(connection: Connection) -> None:
    """Make both tables if they are not there."""
    _metadata.create_all(connection, checkfirst=True)


def synchronize(
    connection: Connection, graph: Graph, heads: Iterable[str], versions: dict[str, str]
) -> list[str]:
    """Bring ``pulsar_plugins`` in line with ``alembic_version``, which is what Alembic goes by.

    The two differ while a migration runs, and after one was cut on a database that cannot roll back DDL. As
    long as ``heads`` has a revision nobody knows, no plugin is set back: that revision may stand on anything.

    :param versions: the installed version of each plugin.
    :returns: the plugins whose row was changed.
    """
    heads = list(heads)
    reached = graph.reached(heads)
    all_known = all(head in graph for head in heads)
    recorded = read(connection).rows
    changed = []
    for name, revision in reached.items():
        row = recorded.get(name)
        if row is not None and not all_known and row.revision in graph.above([revision]):
            continue
        if row is None or (row.revision, row.forgotten_at) != (revision, None):
            _put(connection, name, row, version=versions.get(name, ""), revision=revision, forgotten_at=None)
            changed.append(name)
    if all_known:
        gone = [
            row.name
            for row in recorded.values()
            if row.revision in graph and row.name not in reached and row.forgotten_at is None
        ]
        if gone:
            connection.execute(plugins_table.delete().where(plugins_table.c.name.in_(gone)))
            changed += gone
    return changed


def _put(connection: Connection, name: str, row: Row | None, **values: Any) -> None:
    if row is None:
        connection.execute(plugins_table.insert().values(name=name, **values))
    else:
        if row.forgotten_at is not None:
            values["installed_at"] = None  # it comes back as a new plugin
        connection.execute(plugins_table.update().where(plugins_table.c.name == name).values(**values))


def enter(connection: Connection, name: str, version: str) -> None:
    """Note an enabled plugin that has no migrations, and the present version of one that has."""
    row = read(connection).rows.get(name)
    if row is None:
        connection.execute(plugins_table.insert().values(name=name, version=version))
    elif row.version != version and row.forgotten_at is None:
        connection.execute(plugins_table.update().where(plugins_table.c.name == name).values(version=version))


def mark_installed(connection: Connection, name: str) -> None:
    """What follows the first installation of ``name`` is done."""
    connection.execute(plugins_table.update().where(plugins_table.c.name == name).values(installed_at=now()))


def mark_forgotten(connection: Connection, name: str) -> None:
    """Keep the revision at which the tables of ``name`` were left, for the day it comes back."""
    connection.execute(plugins_table.update().where(plugins_table.c.name == name).values(forgotten_at=now()))


def write_heads(connection: Connection, heads: Iterable[str]) -> None:
    """Make ``alembic_version`` hold exactly ``heads``."""
    wanted = set(heads)
    present = set(connection.scalars(sa.select(version_table.c.version_num)))
    if gone := present - wanted:
        connection.execute(version_table.delete().where(version_table.c.version_num.in_(gone)))
    if new := wanted - present:
        connection.execute(version_table.insert(), [{"version_num": head} for head in sorted(new)])


def offline_statements(graph: Graph, revision: str, upgrade: bool, version: str) -> list[sa.Executable]:
    """What a script for later (``--sql``) must say after it went up to, or down from, ``revision``."""
    step = graph.revisions[revision]
    mine = plugins_table.c.name == step.plugin
    if upgrade and not step.parents:
        values = {"name": step.plugin, "version": version, "revision": revision}
        return [plugins_table.delete().where(mine), plugins_table.insert().values(values)]
    if upgrade:
        return [plugins_table.update().where(mine).values(version=version, revision=revision)]
    if step.parents:
        return [plugins_table.update().where(mine).values(revision=step.parents[0])]
    return [plugins_table.delete().where(mine)]
