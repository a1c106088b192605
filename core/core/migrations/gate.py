"""What a site does with requests while a migration is pending: warn, or refuse to serve."""

import logging

from flask import current_app, request

from core.errors import Unavailable
from core.migrations.state import pending

__all__ = ["refuse_pending"]

log = logging.getLogger(__name__)
CHECKED = "pulsar.migrations_checked"


def refuse_pending() -> None:
    """Before the first request of a process: compare the database with what is installed.

    What is pending is logged once. With ``REQUIRE_MIGRATED`` every request but that of ``/health`` is
    refused until nothing is; then this is not looked at again.

    :raises Unavailable: a migration is pending and ``REQUIRE_MIGRATED`` is set.
    """
    if current_app.extensions.get(CHECKED):
        return
    found = pending(current_app)
    required = bool(current_app.config.get("REQUIRE_MIGRATED"))
    if not found.ok:
        log.warning("run `flask db upgrade`: %s", found.problem or f"pending for {', '.join(found)}")
    current_app.extensions[CHECKED] = found.ok or not required
    if required and not found.ok and request.endpoint != "health.get_health":
        raise Unavailable("A migration of the database is pending.")
