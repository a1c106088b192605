"""Put a loaded plugin into an app: permissions, hooks, modifications, jobs, routes.

Each stage may fail in foreign code; the answer is then a :class:`~core.plugins.Failure` that says which.
"""

import difflib
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, Final, TypeVar

import pluggy
from flask import Blueprint, Flask
from sqlalchemy import Table

from core.blueprint import Mount
from core.cli.groups import PluginGroup
from core.db import Base
from core.events import EventsEnum
from core.jobs import collect
from core.paths import blueprints_of, prefix_of
from core.permissions import PERMISSION, PermissionFamily, PermissionsEnum
from core.plugins import Failure, Plugin, hook_calls, one_line, source_of
from core.site import site_of

__all__ = [
    "add_commands",
    "add_plugins",
]

EVENT: Final = re.compile(r"(?=.{1,64}\Z)[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_]*)+")
# core.jobs is what jobs stand on.
CORE_JOBS: Final = (
    *("jobs", "listeners", "webhooks", "mail"),
    *("audit.retention", "notifications.retention", "users.mails"),
)
Declared = TypeVar("Declared", PermissionsEnum, EventsEnum)
FLASK_COMMANDS: Final = {"routes", "run", "shell"}


class Refused(Exception):
    """The plugin breaks a rule of the contract; the message says which, ``where`` the file and line.

    :param found: the class or function that does.
    """

    def __init__(self, message: str, found: object = None) -> None:
        super().__init__(message)
        self.where = source_of(found)


def add_plugins(app: Flask, plugins: Iterable[Plugin]) -> list[Failure]:
    """Add everything that ``plugins`` bring to ``app``, in this order; needs an app context.

    :returns: what is wrong with those that could not be added.
    """
    failures = [failure for plugin in plugins if (failure := _add_plugin(app, plugin))]
    added = list(site_of(app).plugins.values())
    failures += _run_stage(app, "hooks", _add_hookspecs, added)
    # pluggy calls the last one first, and hooks shall run in the order of loading.
    failures += _run_stage(app, "hooks", _add_hooks, reversed(added))
    return failures + _check_hooks(app)


def _run_stage(
    app: Flask, stage: str, add: Callable[[Flask, Plugin], None], plugins: Iterable[Plugin]
) -> list[Failure]:
    return [failure for plugin in plugins if (failure := _try(app, stage, add, plugin))]


def _add_plugin(app: Flask, plugin: Plugin) -> Failure | None:
    site = site_of(app)
    site.adding = plugin.name
    stages = {
        "import": _import_submodules,
        "tables": _check_tables,
        "permissions": _add_permissions,
        "events": _add_events,
        "modifications": _modify,
        "jobs": _add_jobs,
        "routes": _add_routes,
    }
    for stage, add in stages.items():
        if failure := _try(app, stage, add, plugin):
            return failure
    site.plugins[plugin.name] = plugin
    return None


def _try(app: Flask, stage: str, add: Callable[[Flask, Plugin], None], plugin: Plugin) -> Failure | None:
    try:
        add(app, plugin)
    except Refused as exc:
        return Failure(plugin.name, stage, str(exc), exc.where)
    except (Exception, SystemExit) as exc:  # foreign code: whatever it raises is reported, not propagated
        return Failure.of(plugin.name, stage, exc, plugin.package)
    return None


def _module(plugin: Plugin) -> ModuleType:
    assert plugin.module is not None, "only loaded plugins are added"
    return plugin.module


def _import_submodules(_app: Flask, plugin: Plugin) -> None:
    """A plugin without ``init_app`` has all its modules imported, so that tables and routes are known."""
    if plugin.name == "core":
        plugin.submodule("models")
        return
    if hasattr(_module(plugin), "init_app"):
        return
    for info in pkgutil.walk_packages(_module(plugin).__path__, plugin.module_name + "."):
        if not _is_test(info.name):
            importlib.import_module(info.name)


def _is_test(name: str) -> bool:
    return bool({"tests", "conftest"} & set(name.split(".")))


def _check_tables(_app: Flask, plugin: Plugin) -> None:
    # Not by way of SQLAlchemy's registry: a class whose mapping failed makes it fail for everyone.
    for name, module in list(sys.modules.items()):
        if f"{name}.".startswith(f"{plugin.module_name}.") and not _is_test(name):
            for value in list(vars(module).values()):
                own = inspect.isclass(value) and issubclass(value, Base) and value.__module__ == name
                table = getattr(value, "__table__", None) if own else value
                if not isinstance(table, Table) or table.metadata is not Base.metadata:
                    continue
                if not table.name.startswith(plugin.table_prefix):
                    raise Refused(f"the table {table.name} does not start with {plugin.table_prefix}", value)


def _add_permissions(app: Flask, plugin: Plugin) -> None:
    known, owners = site_of(app).permissions, site_of(app).permission_owners
    module = plugin.submodule("permissions")
    for permission in _members(module, PermissionsEnum):
        name, kind = permission.value, type(permission)
        if not PERMISSION.fullmatch(name):
            raise Refused(f"{name} is not lower snake case of at most 64 characters", kind)
        if plugin.name != "core" and not name.startswith(plugin.table_prefix):
            raise Refused(f"the permission {name} does not start with {plugin.table_prefix}", kind)
        if known.get(name, permission) is not permission:
            raise Refused(f"the permission {name} belongs to {owners[name]} already", kind)
        known[name], owners[name] = permission, plugin.name
    for family in _families_in(module):
        if not family.pattern.startswith(plugin.table_prefix):
            raise Refused(f"the permissions {family.pattern} do not start with {plugin.table_prefix}")
        known.add_family(family, plugin.table_prefix)
        owners[family.pattern] = plugin.name


def _add_events(app: Flask, plugin: Plugin) -> None:
    known = site_of(app).events
    for event in _members(plugin.submodule("events"), EventsEnum):
        name, kind = event.value, type(event)
        if not EVENT.fullmatch(name):
            raise Refused(f"{name} is not words with dots between them, of at most 64 characters", kind)
        if not name.startswith(plugin.name + "."):
            raise Refused(f"the event {name} does not start with {plugin.name}.", kind)
        if name in known:
            raise Refused(f"there are two events called {name}", kind)
        known[name] = event


def _members(module: ModuleType | None, kind: type[Declared]) -> Iterator[Declared]:
    """The members of every enumeration of this ``kind`` that ``module`` itself has."""
    if module is None:
        return
    for value in vars(module).values():
        own = inspect.isclass(value) and issubclass(value, kind) and value.__module__ == module.__name__
        if own:
            yield from value


def _families_in(module: ModuleType | None) -> list[PermissionFamily]:
    values = vars(module).values() if module else ()
    return [value for value in values if isinstance(value, PermissionFamily)]


def _add_hookspecs(app: Flask, plugin: Plugin) -> None:
    if plugin.name != "core" and (specs := plugin.submodule("hookspecs")):
        site_of(app).hooks.add_hookspecs(specs)


def _add_hooks(app: Flask, plugin: Plugin) -> None:
    implementations = plugin.submodule("hooks")
    if implementations is None:
        return
    try:
        site_of(app).hooks.register(implementations, plugin.name)
    except pluggy.PluginValidationError as exc:
        name = re.search(r"for hook '(\w+)'", str(exc))
        found = getattr(implementations, name[1], None) if name else None
        raise Refused(one_line(exc), found) from None


def _check_hooks(app: Flask) -> list[Failure]:
    """Find the plugins that implement hooks nobody declared."""
    hooks = site_of(app).hooks
    known = [name for name in vars(hooks.hook) if not name.startswith("_")]
    found: dict[str, Failure] = {}
    for caller in [getattr(hooks.hook, name) for name in known]:
        for implementation in [] if caller.has_spec() else caller.get_hookimpls():
            if implementation.optionalhook:
                continue
            declared = [name for name in known if getattr(hooks.hook, name).has_spec()]
            close = difflib.get_close_matches(caller.name, declared, n=1)
            hint = f", did you mean {close[0]}?" if close else ""
            where = source_of(implementation.function)
            found.setdefault(
                implementation.plugin_name,
                Failure(implementation.plugin_name, "hooks", f"unknown hook {caller.name}{hint}", where),
            )
    return list(found.values())


def _modify(app: Flask, plugin: Plugin) -> None:
    if modify := getattr(_module(plugin), "modify", None):
        modify(app) if inspect.signature(modify).parameters else modify()


def _add_jobs(app: Flask, plugin: Plugin) -> None:
    """The kinds of job in ``<plugin>/jobs.py``."""
    for module in map(plugin.submodule, CORE_JOBS if plugin.name == "core" else ("jobs",)):
        for name, kind in (collect(module) if module else {}).items():
            if not name.startswith(plugin.name + "."):
                raise Refused(f"the kind of job {name} does not start with {plugin.name}.")
            site_of(app).job_kinds[name] = kind


def _add_routes(app: Flask, plugin: Plugin) -> None:
    module, site = _module(plugin), site_of(app)
    endpoints, blueprints = set(app.view_functions), set(app.blueprints)
    if init_app := getattr(module, "init_app", None):
        init_app(app)
    found = blueprints_of(module, plugin.submodule("routes"))
    added = [bp for name, bp in app.blueprints.items() if name not in blueprints and "." not in name]
    found += [bp for bp in added if isinstance(bp, Blueprint)]
    for bp in dict.fromkeys(found):
        for setting in getattr(bp, "setting_names", ()):
            if setting not in app.config:
                raise Refused(f"its blueprint {bp.name} names the setting {setting}, which does not exist")
        prefix = prefix_of(app, plugin, bp)
        if bp.name in site.mounts:
            other = site.mounts[bp.name].plugin
            raise Refused(f"its blueprint {bp.name} has the name of one of {other}")
        if bp.name not in app.blueprints:
            app.register_blueprint(bp, url_prefix=prefix or None)
        elif plugin.name in app.config["URL_PREFIXES"]:
            raise Refused(f"its init_app mounts {bp.name} itself, so URL_PREFIXES cannot move it")
        site.mounts[bp.name] = Mount.of(plugin.name, bp, prefix, app.config)
    for endpoint in app.view_functions.keys() - endpoints:
        if "." not in endpoint:
            raise Refused(f"the route {endpoint} has no blueprint", app.view_functions[endpoint])


def add_commands(app: Flask, plugins: Iterable[Plugin]) -> list[Failure]:
    """Put the commands of each plugin below ``flask <plugin>``."""
    taken = {entry.name for entry in entry_points(group="flask.commands")} | FLASK_COMMANDS
    by_name = {plugin.name: plugin for plugin in plugins}
    failures = []
    for name, call in hook_calls(site_of(app).hooks, "register_commands"):
        group = PluginGroup(name, help=by_name[name].description or None)

        def add(_app: Flask, _plugin: Plugin, call: Any = call, group: PluginGroup = group) -> None:
            call(cli=group)

        if failure := _try(app, "commands", add, by_name[name]):
            failures.append(failure)
        elif name in taken:
            failures.append(Failure(name, "commands", f"flask {name} is a command of the site itself"))
        elif group.commands:
            app.cli.add_command(group)
    return failures
