"""How far the database of a site is, per plugin, and what keeps it from going on."""

from dataclasses import asdict, dataclass
from typing import Any

from flask import Flask, current_app
from sqlalchemy.exc import SQLAlchemyError

from core.db import db
from core.migrations import bookkeeping
from core.migrations.bookkeeping import Recorded
from core.migrations.errors import MigrationError, MigrationUsageError
from core.migrations.history import History, load

__all__ = ["Pending", "PluginState", "State", "look", "pending"]


@dataclass(frozen=True)
class PluginState:
    """One line of ``flask db status``.

    :param state: ``enabled``, ``installed``, ``vanished`` (migrated, but not installed any more) or
        ``forgotten`` (the same, and the operator has said that it shall not matter).
    :param pending: revisions still to be run, oldest first.
    """

    name: str
    version: str
    state: str
    current: str | None
    head: str | None
    pending: tuple[str, ...] = ()
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """The same as a dictionary."""
        return asdict(self)


@dataclass(frozen=True)
class State:
    """The migrations that are installed, and those that the database has seen."""

    history: History
    recorded: Recorded

    @property
    def applied(self) -> set[str]:
        """Every known revision that was run."""
        return self.history.graph.below(self.recorded.heads)

    @property
    def reached(self) -> dict[str, str]:
        """How far each plugin is.

        While a revision that nobody knows hides what it stands on, what was written down last counts.
        """
        reached = self.history.graph.reached(self.recorded.heads)
        if self.unknown:
            for row in self.recorded.rows.values():
                if row.revision in self.history.graph.above([reached.get(row.name, row.revision or "")]):
                    reached[row.name] = row.revision or ""
        return reached

    @property
    def unknown(self) -> list[str]:
        """Revisions that the database mentions and no installed plugin has."""
        return [head for head in self.recorded.heads if head not in self.history.graph]

    def refuse_unknown(self) -> None:
        """:raises MigrationError: if the database mentions a revision that nobody has; says whose it is."""
        if self.unknown:
            raise MigrationError(" ".join(self.explain(head) for head in self.unknown))

    def refuse_broken(self, names: tuple[str, ...]) -> None:
        """:raises MigrationError: if migrations of one of ``names`` cannot be loaded, or fork."""
        for name in names:
            if problem := self.problem(name):
                raise MigrationError(f"{name}: {problem}")

    def require_installed(self, name: str) -> None:
        """:raises MigrationUsageError: if there is no plugin ``name``."""
        if name not in self.history.plugins:
            have = ", ".join(self.history.plugins)
            raise MigrationUsageError(f"{name} is not installed; installed are: {have}")

    def problem(self, name: str) -> str:
        """What is wrong with the migrations of ``name``, or nothing."""
        if reason := self.history.left_out.get(name):
            return f"its migrations cannot be loaded: {reason}"
        heads = self.history.graph.heads(name)
        if len(heads) > 1:
            names = ", ".join(heads)
            return f"its branch has {len(heads)} heads ({names}): make one the down_revision of the other"
        return ""

    def explain(self, revision: str) -> str:
        """Whose revision this is that nobody has, and the ways out."""
        owner = self.recorded.owner_of(revision)
        if owner is None:
            return (
                f"The database is at revision {revision}, which no installed plugin has and nobody wrote "
                "down: install the plugin it belongs to, or restore the database it came from."
            )
        row = self.recorded.rows[owner]
        if owner not in self.history.plugins:
            return (
                f"{owner} {row.version} was migrated to {revision} and is not installed any more: "
                f"install pulsar-{owner} again, or give it up with `flask plugin forget {owner}` "
                "(its tables are kept)."
            )
        if reason := self.history.left_out.get(owner):
            return f"{owner} was migrated to {revision}, but its migrations cannot be loaded: {reason}."
        installed = self.history.plugins[owner].version
        return (
            f"{owner} was migrated to {revision} by version {row.version}, and the installed version "
            f"{installed} does not have that revision: install {row.version} again, downgrade with it, "
            "and then go back."
        )

    def plugins(self) -> list[PluginState]:
        """A line for each plugin that is installed or was migrated."""
        names = dict.fromkeys([*self.history.enabled, *self.history.plugins, *self.recorded.rows])
        return [self._plugin(name) for name in names]

    def _plugin(self, name: str) -> PluginState:
        graph, row = self.history.graph, self.recorded.rows.get(name)
        heads = graph.heads(name)
        current = self.reached.get(name)
        if name in self.history.plugins:
            version = self.history.plugins[name].version
            state = "enabled" if name in self.history.enabled else "installed"
        else:
            version = row.version if row else ""
            state = "forgotten" if row and row.forgotten_at else "vanished" if row else "enabled"
            current = row.revision if row else None
        done = graph.below([current] if current else [])
        todo = graph.ordered(graph.of(name) - done)
        return PluginState(
            name, version, state, current, heads[-1] if heads else None, tuple(todo), self._trouble(name)
        )

    def _trouble(self, name: str) -> str:
        if problem := self.problem(name):
            return problem
        row = self.recorded.rows.get(name)
        if name not in self.history.plugins and row is None:
            return "not installed"
        if row and row.revision in self.unknown:
            return self.explain(row.revision)
        if row and row.forgotten_at and name in self.history.plugins:
            way = f"`flask plugin upgrade {name} --adopt`"
            return f"its tables of {row.revision} were kept: take them up with {way}"
        return ""


def look() -> State:
    """The state of the present app's database.

    :raises SQLAlchemyError: if it does not answer.
    """
    return _look_at(load(current_app))


def _look_at(history: History) -> State:
    with db.engine.connect() as connection:
        return State(history, bookkeeping.read(connection))


class Pending(dict[str, tuple[str | None, str | None]]):
    """Enabled plugins that are not at their head: ``{name: (current, head)}``. Empty: everything is migrated.

    ``problem`` is one line that says what is wrong beyond that, e.g. that the database does not answer.
    """

    problem: str = ""

    @property
    def ok(self) -> bool:
        """Nothing is pending and nothing is wrong."""
        return not self and not self.problem


def pending(app: Flask, history: History | None = None) -> Pending:
    """What ``flask db upgrade`` would still have to do. Never raises; two queries, no Alembic.

    An empty database has everything pending. One that does not answer has nothing, and a ``problem``.

    :param history: what is installed, if the caller knows it already; finding it takes some 20 ms.
    """
    found = Pending()
    try:
        with app.app_context():
            state = _look_at(history or load(app))
    except (SQLAlchemyError, OSError) as exc:
        found.problem = f"the database does not answer ({type(exc).__name__})"
        return found
    for plugin in state.plugins():
        if plugin.state == "enabled" and plugin.pending:
            found[plugin.name] = (plugin.current, plugin.head)
    troubles = [state.explain(head) for head in state.unknown]
    troubles += [f"{name}: {problem}" for name in state.history.enabled if (problem := state.problem(name))]
    found.problem = " ".join(troubles)
    return found
