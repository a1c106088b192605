"""Migrations: one branch for each plugin in one history, in the plugin's own folder ``versions/``.

``docs/plugins/migrations.md`` is the manual. What other parts of the site use is listed here.
"""

import logging

from flask import Flask
from flask_migrate import Config, Migrate

from core.db import db
from core.migrations import commands
from core.migrations.errors import MigrationError, MigrationUsageError
from core.migrations.gate import refuse_pending
from core.migrations.history import environment_folder, load
from core.migrations.operations import after_first_install
from core.migrations.state import Pending, pending

__all__ = ["MigrationError", "MigrationUsageError", "Pending", "after_first_install", "init_app", "pending"]


def init_app(app: Flask) -> None:
    """Make ``flask db`` work for ``app``. Nothing is read before a command runs."""
    migrate = Migrate(app, db, directory=str(environment_folder()))
    app.cli.add_command(commands.db)
    app.before_request(refuse_pending)
    # The commands say what they do; Alembic would log it once more, with a page about its own parts.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("alembic.ddl").setLevel(logging.ERROR)  # indexes of expressions: see comparison.py

    def add_folders(config: Config) -> Config:
        folders = "\n".join(str(folder) for folder in load(app).folders)
        config.set_main_option("version_locations", folders.replace("%", "%%"))
        return config

    migrate.configure(add_folders)
