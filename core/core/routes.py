"""Core's own blueprints."""

from core import health, openapi
from core.users import routes as users

__all__ = ["bps"]

bps = [health.bp, openapi.bp, users.bp]
