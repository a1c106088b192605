"""``flask plugin``: what is installed, what is enabled, what is wrong. Works when a plugin is broken."""

import json
from typing import Any

import click

from core.app import create_app
from core.cli import plugin_migrations
from core.cli.groups import CommandGroup
from core.config import ConfigError
from core.migrations import pending
from core.overview import overview, row
from core.plugins import find_plugins
from core.site import site_of

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
    for found in rows:
        waiting = f"migrations pending: {found['pending']}" if found["pending"] else ""
        said = found["failure"] or waiting or found["description"]
        click.echo(f"{found['name']:16} {found['version'] or '-':10} {found['state']:12} {said}")


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
    """Every plugin by name, installed or only enabled, with all that is known of it."""
    try:
        app = create_app(PLUGIN_FAILURE="skip")
    except ConfigError as exc:
        click.echo(f"warning: {exc.format_message()}", err=True)
        return {name: row(found, "unknown") for name, found in find_plugins().items()}
    rows = overview(site_of(app))
    for name, (current, head) in pending(app).items():
        rows[name]["pending"] = f"{current or 'base'} -> {head}"
    return rows
