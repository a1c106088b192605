"""What a migration command says when it cannot do its work: one line, and what to do about it."""

import click

__all__ = ["MigrationError", "MigrationUsageError"]


class MigrationError(click.ClickException):
    """The command failed and changed nothing more than it said. Exit status 1."""

    exit_code = 1


class MigrationUsageError(MigrationError):
    """The command was called in a way that cannot work. Exit status 2."""

    exit_code = 2
