"""``GET /plugins``, and what ``flask plugin list`` shows: every plugin and what is known of it."""

from typing import Any

from flask import Response
from marshmallow import Schema, fields

from core.blueprint import Blueprint
from core.permissions import CorePermissions as P
from core.plugins import Plugin, find_plugins
from core.requests import require_permission, returns
from core.responses import json_response
from core.site import Site, current_site

__all__ = ["bp", "overview"]

bp = Blueprint("plugins", __name__, url_prefix="/plugins")


class PluginSchema(Schema):
    """A plugin, as callers see it."""

    name = fields.String()
    version = fields.String()
    description = fields.String()
    state = fields.String(metadata={"enum": ["enabled", "disabled", "failed"]})
    failure = fields.String(allow_none=True)
    requires = fields.List(fields.String())
    permissions = fields.List(fields.String())
    hooks = fields.List(fields.String())
    paths = fields.List(fields.String())


@bp.get("")
@require_permission(P.SITE_VIEW_PLUGINS)
@returns(200, PluginSchema(many=True))
def list_plugins() -> Response:
    """The installed plugins, and the enabled ones that are missing."""
    site = current_site()
    rows = overview(site)
    for name, found in site.plugins.items():
        # Paths and foreign messages are for the log and for `flask plugin list`.
        rows[name]["failure"] = found.failure.summary if found.failure else None
    return json_response(PluginSchema(many=True).dump(rows.values()))


def overview(site: Site) -> dict[str, dict[str, Any]]:
    """Every plugin by name: version, state, what it brings, what is wrong with it."""
    rows = {name: row(found, "disabled") for name, found in find_plugins().items()}
    for name, found in site.plugins.items():
        here = name in rows or found.module is not None
        rows[name] = row(found, "failed" if found.failure else "enabled", installed=here)
        if found.failure is None:
            rows[name] |= _brings(site, name)
    return rows


def row(found: Plugin, state: str, *, installed: bool = True) -> dict[str, Any]:
    """What is known of a plugin without loading it."""
    return {
        "name": found.name,
        "version": found.version,
        "description": found.description,
        "installed": installed,
        "enabled": state in ("enabled", "failed"),
        "state": state,
        "api": found.api,
        "failure": str(found.failure) if found.failure else None,
        "traceback": found.failure.traceback if found.failure else None,
        "pending": None,
        "requires": [str(need) for need in found.requires],
        "permissions": [],
        "hooks": [],
        "paths": [],
    }


def _brings(site: Site, name: str) -> dict[str, list[str]]:
    implemented = site.hooks.get_hookcallers(site.hooks.get_plugin(name)) or []
    mounts = [mount for mount in site.mounts.values() if mount.plugin == name]
    return {
        "permissions": [key for key, owner in site.permission_owners.items() if owner == name],
        "hooks": [caller.name for caller in implemented],
        "paths": sorted({path for mount in mounts for path in mount.paths or ("/",)}),
    }
