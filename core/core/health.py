"""``GET /health``: can the site work? For load balancers, and for people who wonder why it does not."""

import logging
from collections.abc import Callable

from flask import Response, current_app
from sqlalchemy import text

from core.blueprint import Blueprint
from core.db import db
from core.errors import Unavailable
from core.migrations import pending
from core.migrations.history import load
from core.plugins import hook_calls
from core.requests import public, returns
from core.responses import json_response
from core.site import current_site
from core.storage import store

__all__ = ["bp"]

log = logging.getLogger(__name__)
bp = Blueprint("health", __name__, rate_limits=None)  # whoever looks after the site looks often


@bp.get("/health")
@public
@returns(200, {"type": "object"}, "The site can work; what each part says of itself.")
@returns(503, None, "It cannot; ``error.details`` has the parts.")
def get_health() -> Response:
    """Whether the site can work, part by part.

    A part is ``ok`` or one line that says what is wrong. The answer is 503 when a part fails without
    which nothing works: the database, the store of blobs, or what a plugin declares mandatory.
    """
    parts: dict[str, object] = {}
    failed = []
    for name, check, mandatory in _checks():
        parts[name] = said = _ask(name, check)
        if mandatory and said != "ok":
            failed.append(name)
    parts["plugins"] = {
        plugin.name: plugin.failure.summary if plugin.failure else "ok"
        for plugin in current_site().plugins.values()
    }
    if failed:
        raise Unavailable(f"The site cannot work: {', '.join(failed)} failed.", details=parts)
    return json_response(parts)


def _checks() -> list[tuple[str, Callable[[], str], bool]]:
    found: list[tuple[str, Callable[[], str], bool]] = [
        ("database", _database, True),
        ("storage", _storage, True),
        ("migrations", _migrations, False),
    ]
    if (limiter := current_site().limiter).uses_redis:
        found.append(("cache", limiter.check, False))
    for plugin, call in hook_calls(current_site().hooks, "register_health_checks"):
        try:
            found += [check for checks in call() for check in checks]
        except Exception:  # foreign code; the other parts shall still be asked
            log.exception("plugin %s: hook register_health_checks failed", plugin)
            found.append((plugin, lambda: "failed", True))
    return found


def _ask(name: str, check: Callable[[], str]) -> str:
    try:
        return check()
    except Exception:  # whatever it is, it goes to the log; the caller learns only that the part failed
        log.exception("health check %s failed", name)
        db.session.rollback()
        return "failed"


def _storage() -> str:
    store().backend.check()
    return "ok"


def _database() -> str:
    db.session.execute(text("SELECT 1"))
    return "ok"


def _migrations() -> str:
    """Plugins that wait for ``flask db upgrade``. What else may be wrong is for the log: it names files."""
    # What is installed is looked up once: this process runs the code it was started with.
    history = current_app.extensions.get("pulsar.history") or load(current_app)
    current_app.extensions["pulsar.history"] = history
    waiting = pending(current_app, history)
    if waiting.problem:
        log.warning("migrations: %s", waiting.problem)
        return "failed"
    return f"pending: {', '.join(waiting)}" if waiting else "ok"
