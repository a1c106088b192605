"""``flask plugin``: what is installed, what is enabled, what is wrong. Works when a plugin is broken."""

import json
from typing import Any

import click

from core.app import create_app
from core.cli import plugin_migrations, plugin_switch
from core.cli.groups import CommandGroup, in_columns
from core.cli.plugin_new import new
from core.config import ConfigError
from core.contract import check_plugin_called
from core.migrations import pending
from core.overview import overview, row
from core.plugins import find_plugins, read_constants
from core.site import site_of

__all__ = ["plugin"]


@click.group(cls=CommandGroup)
def plugin() -> None:
    """Write, check, switch and migrate plugins."""


for command in (new, *plugin_switch.commands, *plugin_migrations.commands):
    plugin.add_command(command)


@plugin.command("list")
@click.option("--json", "as_json", is_flag=True, help="As a JSON list.")
def list_(as_json: bool) -> None:
    """List the installed plugins, and the enabled ones that are missing.

    API is the versions of the plugin contract that a plugin was written for; of core, the one it offers.

    \b
        flask plugin list
        flask plugin list --json
    """
    rows = list(describe().values())
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    cells = [_cells(found) for found in rows]
    head = ("NAME", "VERSION", "INSTALLED", "ENABLED", "STATE", "API", "REQUIRES", "PENDING")
    for line, found in zip(in_columns([head, *cells]), [None, *rows], strict=True):
        click.echo(line)
        if found and found["failure"]:
            click.echo(f"  ! {found['failure']}")


def _cells(found: dict[str, Any]) -> list[str]:
    keys = ("name", "version", "installed", "enabled", "state", "api", "requires", "pending")
    return [_shown(found[key]) for key in keys]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (", ".join(value) if isinstance(value, list) else value) or "-"


@plugin.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
def info(name: str, as_json: bool) -> None:
    """Show all that is known of the plugin NAME.

    \b
        flask plugin info registry
        flask plugin info registry --json
    """
    rows = describe()
    if name not in rows:
        raise click.ClickException(f"there is no plugin {name}; known are {', '.join(rows)}")
    if as_json:
        click.echo(json.dumps(rows[name], indent=2))
        return
    for key, value in rows[name].items():
        click.echo(f"{key:14} {_shown(value)}")


@plugin.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def check(names: tuple[str, ...]) -> None:
    """Say where the plugins NAME break the contract for plugins: a line each, with file and line.

    They need not be enabled, only installed. The site's own database and configuration are not used.

    \b
        flask plugin check notes
    """
    installed = find_plugins()
    if unknown := [name for name in names if name not in installed]:
        have = ", ".join(installed)
        raise click.ClickException(f"not installed: {', '.join(unknown)}; installed are: {have}")
    found = {name: check_plugin_called(name) for name in names}
    for name, findings in found.items():
        for finding in findings:
            click.echo(str(finding))
        if not findings:
            click.echo(f"{name} keeps the contract")
    if count := sum(map(len, found.values())):
        raise click.ClickException(f"{count} {'breach' if count == 1 else 'breaches'} of the contract")


def describe() -> dict[str, dict[str, Any]]:
    """Every plugin by name, installed or only enabled, with all that is known of it."""
    try:
        app = create_app(PLUGIN_FAILURE="skip")
    except ConfigError as exc:
        click.echo(f"warning: {exc.format_message()}", err=True)
        rows = {name: row(found, "unknown") for name, found in find_plugins().items()}
    else:
        rows = overview(site_of(app))
        for name, (current, head) in pending(app).items():
            rows[name]["pending"] = f"{current or 'base'} -> {head}"
    for name, found in find_plugins().items():
        if not rows[name]["enabled"]:
            failure = read_constants(found)
            rows[name] |= row(found, rows[name]["state"]) | {"failure": str(failure) if failure else None}
    return rows
