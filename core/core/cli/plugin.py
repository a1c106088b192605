"""``flask plugin``: what is installed, what is enabled, what is wrong. Works when a plugin is broken."""

import json
from typing import Any

import click
from flask import Flask

from core.app import create_app
from core.cli import plugin_migrations
from core.config import ConfigError
from core.migrations import Pending, pending
from core.plugins import BrokenPlugins, Failure, Plugin, find_plugins

__all__ = ["plugin"]


@click.group()
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
        click.echo(f"{key:14} {', '.join(value) if isinstance(value, list) else value}")


def describe() -> dict[str, dict[str, Any]]:
    """Every plugin by name: version, state, requirements, permissions, hooks, what is wrong with it."""
    rows = {name: _row(found) for name, found in find_plugins().items()}
    app, states = _states()
    for name, found, failure in states:
        rows.setdefault(name, _row(found))
        rows[name] |= _loaded(found) if failure is None else {"state": "failed", "failure": str(failure)}
    for name, (current, head) in (pending(app) if app else Pending()).items():
        rows[name]["pending"] = f"{current or 'base'} -> {head}"
    return rows


def _row(found: Plugin) -> dict[str, Any]:
    return {
        "name": found.name,
        "version": found.version,
        "description": found.description,
        "state": "disabled",
        "failure": None,
        "pending": None,
        "requires": [],
    }


def _loaded(found: Plugin) -> dict[str, Any]:
    return {"state": "enabled", "version": found.version, "requires": [str(need) for need in found.requires]}


def _states() -> tuple[Flask | None, list[tuple[str, Plugin, Failure | None]]]:
    """The site, if it can be made, and the enabled plugins, each with what is wrong with it."""
    try:
        app = create_app(PLUGIN_FAILURE="skip")
    except BrokenPlugins as exc:
        return None, [
            (failure.plugin, Plugin(failure.plugin, failure.plugin), failure) for failure in exc.failures
        ]
    except ConfigError as exc:
        click.echo(f"warning: {exc.format_message()}", err=True)
        return None, []
    return app, [(name, found, found.failure) for name, found in app.extensions["pulsar"].plugins.items()]
