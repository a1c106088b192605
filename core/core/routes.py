"""Core's own blueprints."""

from core import health, openapi, overview
from core.jobs import routes as jobs
from core.storage import routes as storage
from core.users import routes as users

__all__ = ["bps"]

bps = [health.bp, openapi.bp, overview.bp, storage.bp, users.bp, jobs.bp]
