"""Core's own blueprints."""

from core import health, openapi, overview
from core.audit.routes import bp as audit
from core.jobs import routes as jobs
from core.notifications import routes as notifications
from core.storage import routes as storage
from core.users.routes import (
    api_keys,
    invites,
    moderation,
    passwords,
    permissions,
    settings,
    sign_in,
    user_classes,
    users,
)

__all__ = ["bps"]

bps = [
    health.bp,
    openapi.bp,
    overview.bp,
    storage.bp,
    users.bp,
    moderation.bp,
    user_classes.bp,
    permissions.bp,
    settings.bp,
    api_keys.bp,
    invites.bp,
    notifications.bp,
    sign_in.bp,
    passwords.bp,
    jobs.bp,
    audit,
]
