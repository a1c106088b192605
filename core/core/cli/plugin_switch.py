"""``flask plugin enable`` and ``disable``: the list PLUGINS of the configuration."""

import json
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

import click

from core.cli import plugin_list
from core.cli.config import core_settings, write_file
from core.config import find_instance_path
from core.plugins import find_plugins, read_constants, what_is_missing

__all__ = ["commands"]

_name = click.argument("name")


@click.command("enable")
@_name
def enable(name: str) -> None:
    """Add the plugin NAME to PLUGINS in config.py. What it requires must be enabled before.

    \b
        flask plugin enable registry
    """
    path, enabled = _read()
    if name in map(_short, enabled):
        click.echo(f"{name} is enabled already")
        return
    if reason := what_is_missing(name, enabled):
        raise click.ClickException(f"{name} cannot be enabled: {reason}")
    _edit(path, [*enabled, name], lambda text: plugin_list.add(text, name))
    click.echo(f"{name} is enabled in {path}. Now run `flask db upgrade`, and start the site again.")


@click.command("disable")
@_name
def disable(name: str) -> None:
    """Take the plugin NAME out of PLUGINS in config.py. Its tables and rows stay.

    \b
        flask plugin disable registry
    """
    path, enabled = _read()
    if name not in map(_short, enabled):
        raise click.ClickException(f"{name} is not enabled; enabled are: {', '.join(enabled) or 'none'}")
    if users := _users_of(name, enabled):
        raise click.ClickException(f"{', '.join(users)} cannot do without {name}: disable that first")
    listed = next(other for other in enabled if _short(other) == name)
    rest = [other for other in enabled if other != listed]
    _edit(path, rest, lambda text: plugin_list.remove(text, listed))
    click.echo(f"{name} is disabled in {path}; its data stay. Now start the site again.")


def _short(name: str) -> str:
    """A plugin may be enabled by its module; it is then called by the last part."""
    return name.rpartition(".")[2]


def _read() -> tuple[Path, list[str]]:
    """The file that lists the enabled plugins, and their names."""
    path = find_instance_path() / "config.py"
    settings = core_settings()
    if (source := settings.sources["PLUGINS"]) in (".env", "environment"):
        raise click.ClickException(f"PLUGINS comes from {source}, which wins over {path}: change it there")
    return path.resolve(), list(settings.values["PLUGINS"])


def _users_of(name: str, enabled: Iterable[str]) -> list[str]:
    """The enabled plugins that require ``name``."""
    installed = find_plugins()
    others = [installed[other] for other in enabled if other in installed and other != name]
    return [
        other.name
        for other in others
        if read_constants(other) is None and name in (need.name for need in other.requires)
    ]


def _edit(path: Path, wanted: list[str], edit: Callable[[bytes], bytes]) -> None:
    """Write what ``edit`` makes of the file; if it cannot, say the line that makes it ``wanted``."""
    try:
        edited = edit(path.read_bytes())
    except (plugin_list.NotPlain, LookupError) as exc:
        raise click.ClickException(
            f"{path} is left as it is ({exc}): write PLUGINS = {json.dumps(wanted)} there yourself"
        ) from None
    write_file(path, edited, stat.S_IMODE(path.stat().st_mode))


commands: tuple[click.Command, ...] = (enable, disable)
