"""What a migration command says when it cannot do its work: one line, and what to do about it."""

import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import click
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from flask import current_app
from flask.helpers import get_debug_flag
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from core.db import db
from core.migrations.history import load

__all__ = ["MigrationError", "MigrationUsageError", "one_line"]

P = ParamSpec("P")
R = TypeVar("R")


class MigrationError(click.ClickException):
    """The command failed and changed nothing more than it said. Exit status 1."""

    exit_code = 1


class MigrationUsageError(MigrationError):
    """The command was called in a way that cannot work. Exit status 2."""

    exit_code = 2


def one_line(function: Callable[P, R]) -> Callable[P, R]:
    """Turn whatever goes wrong into one line on standard error; ``flask --debug`` keeps the traceback."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except click.ClickException:
            raise
        except Exception as exc:  # revision files are anyone's code
            if get_debug_flag():
                raise
            raise MigrationError(_sentence(exc)) from exc

    return guarded


def _sentence(exc: Exception) -> str:
    if isinstance(exc, CommandError | RevisionError):
        return str(exc)
    reason = str(exc.orig if isinstance(exc, DBAPIError) and exc.orig else exc)
    text = f"{_where(exc)}{type(exc).__name__}: {' '.join(reason.split())}"
    if isinstance(exc, SQLAlchemyError) and db.engine.dialect.name in ("mysql", "mariadb"):
        text += (
            ". MariaDB cannot roll back DDL: the migration may be half done, see docs/plugins/migrations.md"
        )
    return text


def _where(exc: Exception) -> str:
    """File and line in the revision that failed, if it was one."""
    folders = [folder.resolve() for folder in load(current_app).folders]
    frames = traceback.extract_tb(exc.__traceback__)
    inside = [frame for frame in frames if Path(frame.filename).resolve().parent in folders]
    return f"{inside[-1].filename}:{inside[-1].lineno}: " if inside else ""
