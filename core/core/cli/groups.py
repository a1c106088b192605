"""Groups of commands that end with one line on standard error, whatever goes wrong in them."""

from typing import Any

import click
from flask.cli import AppGroup
from flask.helpers import get_debug_flag

from core.errors import PulsarError

__all__ = ["CommandGroup", "PluginGroup"]


class CommandGroup(click.Group):
    """A group whose commands fail with exit status 1 and one line; ``flask --debug`` shows the traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as exc:
            if get_debug_flag():
                raise
            raise click.ClickException(_sentence(exc)) from None


class PluginGroup(CommandGroup, AppGroup):
    """The group ``flask <plugin>``; its commands run in an app context."""


def _sentence(exc: Exception) -> str:
    if isinstance(exc, PulsarError):
        return exc.message
    return f"{type(exc).__name__}: {next(iter(str(exc).splitlines()), '')}"
