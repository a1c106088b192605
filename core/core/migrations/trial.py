"""Try the migrations of a plugin on an empty database: for its tests, and for ``flask plugin check``.

def test_migrations(migrated_app):
    try_migrations(migrated_app, "probe")
"""

from flask import Flask

from core.db import db
from core.migrations import operations
from core.migrations.comparison import differences, import_models, tables_of
from core.migrations.state import State, look

__all__ = ["try_migrations"]


def try_migrations(app: Flask, *names: str) -> None:
    """Up to the heads, compare with the models, down to nothing, and up again.

    :param app: its database must be empty and a test's: everything in it is dropped.
    :param names: plugins to look at; default: all that are enabled in ``app``.
    :raises AssertionError: if a branch has more than one head, the tables differ from the models, or
        something is left after the way down.
    """
    with app.app_context():
        names = names or look().history.enabled
        _up_and_compare(names)
        _down(names)
        _up_and_compare(names)


def _up_and_compare(names: tuple[str, ...]) -> None:
    operations.upgrade_all()
    state = look()
    for name in names:
        heads = state.history.graph.heads(name)
        assert len(heads) <= 1, f"{name} has several heads: {', '.join(heads)}"
        assert set(heads) <= state.applied, f"{name} is enabled and was not upgraded"
        import_models(state.history.plugins[name])
        with db.engine.connect() as connection:
            found = differences(connection, state.history, name)
        assert not found, f"the migrations of {name} do not make what its models say: {'; '.join(found)}"


def _down(names: tuple[str, ...]) -> None:
    for name in names:
        state = look()
        removed = state.history.graph.of(name) & state.applied
        if removed:
            operations.downgrade(removed, state, name=name, cascade=True, yes=True)
        left = _left(look(), name)
        assert not left, f"downgrading {name} to base leaves {', '.join(left)}"


def _left(state: State, name: str) -> list[str]:
    with db.engine.connect() as connection:
        return tables_of(connection, state.history, name)
