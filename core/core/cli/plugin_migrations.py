"""The commands of ``flask plugin`` that write, run and undo the migrations of one plugin."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import click
from flask.cli import ScriptInfo

from core.app import create_app
from core.migrations import authoring, operations, recovery
from core.migrations.errors import MigrationUsageError, one_line
from core.migrations.state import State, look
from core.plugins import BrokenPlugins

__all__ = ["commands"]

P = ParamSpec("P")
R = TypeVar("R")


def on_site(function: Callable[P, R]) -> Callable[P, R]:
    """Run a command in the context of the site; without the plugins that are broken, if some are.

    Whoever has to undo the migrations of a broken plugin must not have to mend it first.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        context = click.get_current_context()
        try:
            app = context.ensure_object(ScriptInfo).load_app()
        except BrokenPlugins as exc:
            click.echo(f"warning: {exc.format_message()}", err=True)
            app = create_app(PLUGIN_FAILURE="skip")
        context.with_resource(app.app_context())
        return function(*args, **kwargs)

    return run


_name = click.argument("name")


@click.command("revision")
@_name
@click.option("-m", "--message", required=True, help="What it does, in a few words.")
@click.option(
    "--autogenerate/--empty", default=True, help="Fill it with the difference between models and database."
)
@on_site
@one_line
def revision(name: str, message: str, autogenerate: bool) -> None:
    """Write the next migration of a plugin into its folder versions/.

    \b
        flask plugin revision notes -m "add colours"
        flask plugin revision notes -m "fill colours" --empty
    """
    path = authoring.write_revision(name, message, empty=not autogenerate)
    if path is None:
        click.echo(f"{name}: models and database agree, nothing was written.")
    else:
        click.echo(f"{name}: wrote {_short(path)}. Read it before you run it.")


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


@click.command("upgrade")
@_name
@click.option("--adopt", is_flag=True, help="Take up the tables that `flask plugin forget` kept.")
@on_site
@one_line
def upgrade(name: str, adopt: bool) -> None:
    """Bring one plugin, enabled or not, to its newest migration, and what it stands on as far as needed.

    \b
        flask plugin upgrade notes
    """
    state = look()
    state.require_installed(name)
    state.refuse_broken((name,))
    if adopt:
        recovery.adopt(name)
    elif not operations.upgrade(state.history.graph.heads(name), state):
        click.echo(f"{name}: nothing to upgrade.")
    operations.finish_installation()


@click.command("downgrade")
@_name
@click.option("--to", "target", default="base", show_default=True, help="The revision to end at.")
@click.option("--cascade", is_flag=True, help="Also undo what other plugins built on it.")
@click.option("--yes", is_flag=True, help="Together with --cascade: do not refuse.")
@on_site
@one_line
def downgrade(name: str, target: str, cascade: bool, yes: bool) -> None:
    """Undo the migrations of one plugin: all of them, with its tables and rows, or down to a revision.

    \b
        flask plugin downgrade notes --to notes_0001
        flask plugin downgrade notes
    """
    state = look()
    if name in state.history.plugins or name not in state.recorded.rows:
        state.require_installed(name)
    operations.downgrade(_above(state, name, target), state, name=name, cascade=cascade, yes=yes)


def _above(state: State, name: str, target: str) -> set[str]:
    """The revisions of ``name`` that have to go for it to end at ``target``."""
    graph = state.history.graph
    own = graph.of(name) & state.applied
    if target == "base":
        return own
    if target not in graph.of(name):
        raise MigrationUsageError(
            f"{name} has no revision {target}; it has {', '.join(sorted(graph.of(name)))}"
        )
    if own and target not in own:
        raise MigrationUsageError(f"{name} is at {state.reached.get(name)}, which is below {target}")
    return (graph.above([target]) & own) - {target}


@click.command("forget")
@_name
@on_site
@one_line
def forget(name: str) -> None:
    """Let the database go on without a plugin whose code is gone. Its tables are kept.

    \b
        flask plugin forget notes
    """
    recovery.forget(name)


commands: tuple[click.Command, ...] = (revision, upgrade, downgrade, forget)
