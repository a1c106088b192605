"""Commands that end with one line on standard error, whatever goes wrong in them, and tables of text."""

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import click
from click.exceptions import NoArgsIsHelpError
from flask.cli import AppGroup, NoAppException
from flask.helpers import get_debug_flag

from core.errors import PulsarError

__all__ = ["Command", "CommandGroup", "PluginGroup", "in_columns"]


class UsageLine(click.UsageError):
    """The command was typed in a way that cannot work: one line where click writes four. Exit status 2."""

    def show(self, file: Any = None) -> None:
        path = self.ctx.command_path if self.ctx else "flask"
        said = self.format_message().rstrip(".")
        click.echo(f"Error: {said}. See `{path} --help`.", err=True, file=file)


def _refuse(exc: click.UsageError) -> NoReturn:
    if isinstance(exc, NoArgsIsHelpError | NoAppException | UsageLine):
        raise exc  # help, the configuration, and what is one line already
    raise UsageLine(" ".join(exc.format_message().split()), exc.ctx) from None


class Command(click.Command):
    """A command that refuses what was typed in one line."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as exc:
            _refuse(exc)


class CommandGroup(click.Group):
    """A group whose commands fail with exit status 1 and one line; ``flask --debug`` shows the traceback."""

    command_class = Command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as exc:
            _refuse(exc)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as exc:
            if get_debug_flag():
                raise
            raise click.ClickException(_sentence(exc)) from None


class PluginGroup(CommandGroup, AppGroup):
    """The group ``flask <plugin>``; its commands run in an app context."""


def in_columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table; each column is as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _sentence(exc: Exception) -> str:
    if isinstance(exc, PulsarError):
        return exc.message
    return f"{type(exc).__name__}: {next(iter(str(exc).splitlines()), '')}"
