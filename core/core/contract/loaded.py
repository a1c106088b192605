"""What a site with the plugin says: names, guards of routes, what is used and documented, migrations."""

import contextlib
import inspect
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import flask
from flask import Flask

from core.contract.findings import Finding, find_line, shown
from core.contract.sources import Sources
from core.events import EventsEnum
from core.migrations.trial import try_migrations
from core.permissions import PermissionsEnum
from core.plugins import Failure, Plugin, source_of
from core.requests import route_info
from core.settings import Config
from core.site import site_of
from core.test_data import TestDataPopulator

__all__ = ["check_loaded", "list_unguarded"]


def check_loaded(app: Flask, sources: Sources) -> Iterator[Finding]:
    """Everything that can be seen once ``app`` is made. Its database must be empty and a test's."""
    plugin = site_of(app).plugins[sources.plugin.name]
    yield from _check_exports(plugin, sources)
    yield from _check_names(app, plugin)
    for text, where in list_unguarded(app, plugin.name):
        yield Finding(shown(where), f"{text} says neither a permission, nor login_required, nor public")
    yield from _check_declared(app, sources)
    yield from _check_migrations(app, plugin)


def _check_exports(plugin: Plugin, sources: Sources) -> Iterator[Finding]:
    module, init = plugin.module, sources.init
    if plugin.name != "core" and not plugin.api:
        yield Finding(find_line(init, ""), "it does not say PLUGIN_API, such as '>=1,<2'")
    for name in getattr(module, "__all__", ()):
        if not hasattr(module, name):
            yield Finding(find_line(init, "__all__"), f"__all__ names {name}, which is not there")
    for name in ("modify", "init_app"):
        if not callable(getattr(module, name, print)):
            yield Finding(find_line(init, name), f"{name} is not a function")
    if not inspect.isclass(getattr(module, "Config", Sources)):
        yield Finding(find_line(init, "Config"), "Config is not a class")
    bps = [*getattr(module, "bps", ()), getattr(module, "bp", None)]
    if not all(bp is None or isinstance(bp, flask.Blueprint) for bp in bps):
        yield Finding(find_line(init, "bp"), "bp is not a Blueprint, or bps not a list of them")
    for populator in getattr(module, "POPULATORS", ()):
        if not (inspect.isclass(populator) and issubclass(populator, TestDataPopulator)):
            yield Finding(find_line(init, "POPULATORS"), f"{populator!r} is not a TestDataPopulator")


def _check_names(app: Flask, plugin: Plugin) -> Iterator[Finding]:
    """What the loader lets pass: tables, permissions, events, jobs and settings it has looked at."""
    if plugin.name == "core":
        return
    prefix = plugin.table_prefix
    if specs := plugin.submodule("hookspecs"):
        for name, function in vars(specs).items():
            if hasattr(function, "pulsar_spec") and not name.startswith(prefix):
                yield Finding(shown(source_of(function)), f"the hook {name} does not start with {prefix}")
    for cls, attributes in site_of(app).attributes.items():
        for name, (owner, _) in attributes.items():
            if owner == plugin.name and not name.startswith(prefix):
                where = source_of(getattr(plugin.module, "modify", None)) or str(plugin.package)
                yield Finding(shown(where), f"{name}, added to {cls.__name__}, does not start with {prefix}")


def list_unguarded(app: Flask, plugin: str | None = None) -> list[tuple[str, str]]:
    """Routes that do not say who may call them, each with file and line of its function.

    :param plugin: look at this plugin alone.
    """
    found = []
    for rule in app.url_map.iter_rules():
        mount = site_of(app).mounts.get(rule.endpoint.partition(".")[0])
        if plugin is not None and (mount is None or mount.plugin != plugin):
            continue
        view = app.view_functions[rule.endpoint]
        info = route_info(view)
        if not (info.public or info.login or info.permission):
            methods = ",".join(sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}))
            found.append((f"{methods} {rule.rule} ({rule.endpoint})", source_of(view)))
    return sorted(found)


def _check_declared(app: Flask, sources: Sources) -> Iterator[Finding]:
    """Permissions, events and settings: each is used, and each is explained."""
    site, name = site_of(app), sources.plugin.name
    permissions = [found for key, found in site.permissions.items() if site.permission_owners[key] == name]
    events = [event for key, event in site.events.items() if key.partition(".")[0] == name]
    yield from _check_members("permission", "asked for", permissions, sources)
    yield from _check_members("event", "announced", events, sources)
    for pattern, family in site.permissions.families.items():
        if site.permission_owners[pattern] == name and not sources.documents(family.pattern):
            where = find_line(sources.plugin.package / "permissions.py", pattern)
            yield Finding(where, f"the permissions {pattern} are not documented")
    config = Config if name == "core" else site.plugins[name].config
    for key, (owner, _) in site.settings.declared.items():
        if owner == name:
            where = find_line(Path(inspect.getsourcefile(config) or ""), key)  # type: ignore[arg-type]
            if ("", key) not in sources.mentioned and key not in Flask.default_config:
                yield Finding(where, f"the setting {key} is read nowhere")
            if not sources.documents(key):
                yield Finding(where, f"the setting {key} is not documented")


def _check_members(
    kind: str, used: str, members: Iterable[PermissionsEnum | EventsEnum], sources: Sources
) -> Iterator[Finding]:
    for member in members:
        path = Path(source_of(type(member)).rpartition(":")[0])
        where = find_line(path, f'"{member.value}"')
        if not {(type(member).__name__, member.name), ("", member.value)} & sources.mentioned:
            yield Finding(where, f"the {kind} {member.value} is {used} nowhere")
        if not sources.documents(member.value):
            yield Finding(where, f"the {kind} {member.value} is not documented")


def _check_migrations(app: Flask, plugin: Plugin) -> Iterator[Finding]:
    """One head; up, equal to the models, down to nothing, and up again."""
    place = shown(f"{plugin.versions if plugin.versions.is_dir() else plugin.package / '__init__.py'}:1")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the steps are not what was asked for
            try_migrations(app, plugin.name)
    except click.ClickException as exc:
        yield Finding(place, exc.format_message())
    except AssertionError as exc:
        yield Finding(place, str(exc).partition("\n")[0])
    except Exception as exc:  # a revision is anyone's code
        failure = Failure.of(plugin.name, "migrations", exc, plugin.versions)
        yield Finding(shown(failure.where), failure.reason)
