"""``flask plugin``: what is installed, what is enabled, what is wrong. Works when a plugin is broken."""

import json
from typing import Any

import click

from core.app import create_app
from core.cli import plugin_migrations
from core.cli.groups import CommandGroup
from core.config import ConfigError
from core.migrations import pending
from core.plugins import Plugin, find_plugins
from core.site import Site, site_of

__all__ = ["plugin"]


@click.group(cls=CommandGroup)
def plugin() -> None:
    """Show, migrate and remove plugins."""


for command in plugin_migrations.commands:
    plugin.add_command(command)


@plugin.command("list")
@click.option("--json", "as_json", is_flag=True, help="As a JSON list.")
def list_(as_json: bool) -> None:
    """List the installed plugins, and the enabled ones that are missing."""
    rows = list(describe().values())
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        waiting = f"migrations pending: {row['pending']}" if row["pending"] else ""
        said = row["failure"] or waiting or row["description"]
        click.echo(f"{row['name']:16} {row['version'] or '-':10} {row['state']:12} {said}")


@plugin.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
def info(name: str, as_json: bool) -> None:
    """Show all that is known of the plugin NAME."""
    rows = describe()
    if name not in rows:
        raise click.ClickException(f"there is no plugin {name}; known are {', '.join(rows)}")
    if as_json:
        click.echo(json.dumps(rows[name], indent=2))
        return
    for key, value in rows[name].items():
        click.echo(f"{key:14} {', '.join(value) if isinstance(value, list) else value or '-'}")


def describe() -> dict[str, dict[str, Any]]:
    """Every plugin by name: version, state, requirements, permissions, hooks, what is wrong with it."""
    rows = {name: _row(found, "disabled") for name, found in find_plugins().items()}
    try:
        app = create_app(PLUGIN_FAILURE="skip")
    except ConfigError as exc:
        click.echo(f"warning: {exc.format_message()}", err=True)
        return {name: row | {"state": "unknown"} for name, row in rows.items()}
    site = site_of(app)
    for name, found in site.plugins.items():
        rows[name] = _row(found, "failed" if found.failure else "enabled") | _details(site, found)
    for name, (current, head) in pending(app).items():
        rows[name]["pending"] = f"{current or 'base'} -> {head}"
    return rows


def _row(found: Plugin, state: str) -> dict[str, Any]:
    return {
        "name": found.name,
        "version": found.version,
        "description": found.description,
        "state": state,
        "failure": str(found.failure) if found.failure else None,
        "traceback": found.failure.traceback if found.failure else None,
        "pending": None,
        "requires": [str(need) for need in found.requires],
        "permissions": [],
        "hooks": [],
        "paths": [],
    }


def _details(site: Site, found: Plugin) -> dict[str, Any]:
    if found.failure:
        return {}
    implemented = site.hooks.get_hookcallers(site.hooks.get_plugin(found.name)) or []
    mounts = [mount for mount in site.mounts.values() if mount.plugin == found.name]
    return {
        "permissions": [name for name, plugin in site.permission_owners.items() if plugin == found.name],
        "hooks": [caller.name for caller in implemented],
        "paths": sorted({path for mount in mounts for path in mount.paths or ("/",)}),
    }
