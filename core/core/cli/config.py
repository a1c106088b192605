"""``flask config``: write, check and show the configuration."""

import json
import os
import secrets
from pathlib import Path
from typing import Any

import click

from core.cli.groups import CommandGroup
from core.config import (
    EXAMPLE_SECRET,
    Settings,
    find_instance_path,
    read_sources,
    resolve,
)
from core.plugins import find_plugins, load_plugins
from core.settings import Config

__all__ = ["config"]


@click.group(cls=CommandGroup)
def config() -> None:
    """Write, check and show the configuration of the instance."""


@config.command()
@click.option("--force", is_flag=True, help="Overwrite an existing config.py.")
def init(force: bool) -> None:
    """Write config.py with fresh secrets into the instance folder.

    \b
        flask config init
        PULSAR_INSTANCE_PATH=/srv/lab flask config init
    """
    instance = find_instance_path()
    path = instance / "config.py"
    if path.exists() and not force:
        raise click.ClickException(f"{path} exists. Use --force to overwrite it.")
    write_config(path)
    click.echo(f"wrote {path}")


def write_config(path: Path) -> None:
    """Write a configuration with fresh secrets to ``path``, readable by its owner alone."""
    text = example_path().read_text(encoding="utf-8").replace(EXAMPLE_SECRET, secrets.token_urlsafe(32))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text.encode())


def write_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Put ``content`` in the place of ``path``, at once: nobody ever reads half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)  # the umask has taken from it
        file.write(content)
    temporary.replace(path)


def example_path() -> Path:
    """The example that documents every setting; it lies beside core in the checkout."""
    return Path(__file__).resolve().parents[3] / "instance" / "config.py.example"


@config.command()
def check() -> None:
    """Check every setting and say everything that is wrong. Exit status 2 if something is.

    \b
        flask config check
    """
    settings = load_settings()
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    settings.raise_errors()
    click.echo("The configuration is fine.")


@config.command()
@click.option("--plugin", help="Only the settings of this plugin.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def show(plugin: str | None, as_json: bool) -> None:
    """Show every setting, its unit and where its value comes from. Secrets are masked.

    \b
        flask config show --plugin registry
        flask config show --json
    """
    settings = load_settings()
    if plugin and plugin not in find_plugins():
        raise click.BadParameter(f"there is no plugin {plugin}", param_hint="--plugin")
    rows = {
        key: {
            "value": _shown(settings, key),
            "unit": setting.unit,
            "source": settings.sources[key],
            "plugin": owner,
            "aliases": list(setting.aliases),
            "help": setting.doc,
        }
        for key, (owner, setting) in settings.declared.items()
        if plugin in (None, owner)
    }
    if as_json:
        click.echo(json.dumps(rows, indent=2, default=str))
    for key, row in ({} if as_json else rows).items():
        also = f"; also {', '.join(row['aliases'])}" if row["aliases"] else ""
        click.echo(f"{key} = {row['value']!r} {row['unit']}".rstrip() + f"  # {row['source']}{also}")
    for error in settings.errors:
        click.echo(f"error: {error}", err=True)


def _shown(settings: Settings, key: str) -> Any:
    value = settings.values[key]
    return "********" if settings.declared[key][1].secret and value else value


def core_settings() -> Settings:
    """The settings of core alone; no plugin is imported."""
    instance = find_instance_path()
    return resolve(read_sources(instance, {}), {"core": Config}, instance, tuple(find_plugins()))


def load_settings() -> Settings:
    """The settings of core and of the plugins that can be loaded, without making an app.

    What keeps a plugin from being loaded is among the errors.
    """
    instance = find_instance_path()
    sources = read_sources(instance, {})
    installed = find_plugins()
    core_only = resolve(sources, {"core": Config}, instance, tuple(installed))
    loaded, failures = load_plugins(core_only.values["PLUGINS"], installed, {})
    configs = {name: plugin.config for name, plugin in loaded.items() if plugin.config}
    settings = resolve(sources, {"core": Config, **configs}, instance, tuple(installed))
    broken = settings.errors if core_only.values["PLUGIN_FAILURE"] == "abort" else settings.warnings
    broken += [f"plugin {failure}" for failure in failures]
    return settings
