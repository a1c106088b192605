"""What the cart answers when core, or the cart itself, asks the plugins."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

import click
from flask import Flask, current_app

from cart.cli import commands
from cart.config import archive_address, bytes_of
from cart.services.watching import count_waiting
from cart.sources.archive import ArchiveSource
from cart.sources.directory import DirectorySource
from core.hookspecs import hookimpl
from core.site import current_site

__all__ = ["app_ready", "cart_sources", "register_commands", "register_health_checks"]

log = logging.getLogger(__name__)

# Variables of the original service that have no meaning here.
REPLACED: Final = {
    "PEEWEE_URL": "SQLALCHEMY_DATABASE_URI",
    "BROKER_URL": "JOBS_BROKER_URL",
    "BACKEND_URL": "JOBS_BROKER_URL",
}
LATE: Final = timedelta(minutes=5)


@hookimpl
def cart_sources() -> Mapping[str, Any]:
    """The sources of the cart itself."""
    config = current_app.config
    found: dict[str, Any] = {
        "archive": ArchiveSource(
            archive_address(config["CART_ARCHIVE_URL"]),
            connect=config["CART_ARCHIVE_CONNECT_TIMEOUT"],
            read=config["CART_ARCHIVE_READ_TIMEOUT"],
            block=bytes_of(config["CART_TRANSFER_SIZE"]),
        )
    }
    if config["CART_DIRECTORY"]:
        root = current_site().instance / config["CART_DIRECTORY"]
        found["directory"] = DirectorySource(root, numbers=config["CART_DIRECTORY_SCHEME"] == "numbers")
    return found


@hookimpl
def register_commands(cli: click.Group) -> None:
    """``flask cart ...``"""
    for command in commands:
        cli.add_command(command)


@hookimpl
def app_ready(app: Flask) -> None:
    """Say what is not used, and log statements if that is wished for."""
    for name, setting in REPLACED.items():
        if os.environ.get(name):
            log.warning("%s does nothing here: see the setting %s", name, setting)
    if app.config["CART_DATABASE_LOGGING"]:
        logging.getLogger("sqlalchemy.engine").setLevel(logging.INFO)


@hookimpl
def register_health_checks() -> Iterable[tuple[str, Callable[[], str], bool]]:
    """Whether somebody works on carts."""

    def workers() -> str:
        late = count_waiting(LATE)
        return "ok" if not late else f"{late} carts have waited for a worker for more than five minutes"

    return [("cart workers", workers, False)]
