"""Put a loaded plugin into an app: permissions, hooks, modifications, jobs, routes.

Each stage may fail in foreign code; the answer is then a :class:`~core.plugins.Failure` that says which.
"""

import importlib
import inspect
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from types import ModuleType
from typing import Any, Final

import flask
import pluggy
from flask import Flask, request

from core.blueprint import Mount
from core.db import Base
from core.errors import MethodNotAllowed, Unavailable
from core.jobs import collect
from core.permissions import PermissionsEnum
from core.plugins import Failure, Plugin
from core.requests import public
from core.site import Site, site_of

__all__ = [
    "add_plugin",
    "check_hooks",
    "check_mounts",
    "close_failed",
    "own_segments",
    "refuse_foreign_segment",
]

PERMISSION: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
ALL_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Refused(Exception):
    """The plugin breaks a rule of the contract; the message says which."""


def add_plugin(app: Flask, plugin: Plugin) -> Failure | None:
    """Add everything ``plugin`` brings to ``app``; needs an app context."""
    site = site_of(app)
    stages = {
        "import": _import_submodules,
        "tables": _check_tables,
        "permissions": _add_permissions,
        "hooks": _add_hooks,
        "modifications": _modify,
        "jobs": _add_jobs,
        "routes": _add_routes,
    }
    for stage, add in stages.items():
        try:
            add(app, plugin)
        except Refused as exc:
            return Failure(plugin.name, stage, str(exc))
        except Exception as exc:  # foreign code: whatever it raises is reported, not propagated
            return Failure.of(plugin.name, stage, exc, plugin.package)
    site.plugins[plugin.name] = plugin
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
        if not {"tests", "conftest"} & set(info.name.split(".")):
            importlib.import_module(info.name)


def _check_tables(_app: Flask, plugin: Plugin) -> None:
    for mapper in Base.registry.mappers:
        table = str(getattr(mapper.local_table, "name", ""))
        inside = mapper.class_.__module__.partition(".")[0] == plugin.module_name.partition(".")[0]
        if inside and not table.startswith(plugin.table_prefix):
            raise Refused(f"the table {table} does not start with {plugin.table_prefix}")


def _add_permissions(app: Flask, plugin: Plugin) -> None:
    known = site_of(app).permissions
    module = plugin.submodule("permissions")
    for permission in _permissions_in(module):
        name = permission.value
        if not PERMISSION.fullmatch(name):
            raise Refused(f"{name} is not lower snake case of at most 64 characters")
        if plugin.name != "core" and not name.startswith(plugin.table_prefix):
            raise Refused(f"the permission {name} does not start with {plugin.table_prefix}")
        if name in known and known[name] is not permission:
            raise Refused(f"the permission {name} belongs to {type(known[name]).__module__} already")
        known[name] = permission


def _permissions_in(module: ModuleType | None) -> Iterator[PermissionsEnum]:
    if module is None:
        return
    for value in vars(module).values():
        own = (
            inspect.isclass(value)
            and issubclass(value, PermissionsEnum)
            and value.__module__ == module.__name__
        )
        if own:
            yield from value


def _add_hooks(app: Flask, plugin: Plugin) -> None:
    hooks = site_of(app).hooks
    if plugin.name != "core" and (specs := plugin.submodule("hookspecs")):
        hooks.add_hookspecs(specs)
    if implementations := plugin.submodule("hooks"):
        hooks.register(implementations, plugin.name)


def _modify(app: Flask, plugin: Plugin) -> None:
    if modify := getattr(_module(plugin), "modify", None):
        modify(app) if inspect.signature(modify).parameters else modify()


def _add_jobs(app: Flask, plugin: Plugin) -> None:
    """The kinds of job in ``<plugin>/jobs.py``."""
    module = plugin.submodule("jobs")
    for name, kind in (collect(module) if module else {}).items():
        if not name.startswith(plugin.name + "."):
            raise Refused(f"the kind of job {name} does not start with {plugin.name}.")
        site_of(app).job_kinds[name] = kind


def _add_routes(app: Flask, plugin: Plugin) -> None:
    module = _module(plugin)
    if init_app := getattr(module, "init_app", None):
        init_app(app)
    routes = plugin.submodule("routes")
    found = [getattr(place, name, None) for place in (module, routes) for name in ("bp", "bps") if place]
    for bp in _unique(found):
        prefix = _prefix(app, plugin, bp)
        site_of(app).mounts[bp.name] = Mount.of(plugin.name, bp, prefix, app.config)
        if bp.name not in app.blueprints:
            app.register_blueprint(bp, url_prefix=prefix or None)


def _unique(found: list[Any]) -> list[flask.Blueprint]:
    """The blueprints of ``bp`` and ``bps``, each once."""
    flat = [
        bp
        for item in found
        if item is not None
        for bp in (item if isinstance(item, list | tuple) else [item])
    ]
    return [bp for bp in dict.fromkeys(flat) if isinstance(bp, flask.Blueprint)]


def _prefix(app: Flask, plugin: Plugin, bp: flask.Blueprint) -> str:
    given: str | None = app.config["URL_PREFIXES"].get(plugin.name)
    if given is None:
        own = "" if plugin.name == "core" else f"/{plugin.name}"
        given = own if bp.url_prefix is None else bp.url_prefix
    return "/" + given.strip("/") if given.strip("/") else ""


def check_hooks(app: Flask) -> list[Failure]:
    """Find the plugins that implement hooks nobody declared; needs all plugins to be added."""
    try:
        site_of(app).hooks.check_pending()
    except pluggy.PluginValidationError as exc:
        name = site_of(app).hooks.get_name(exc.plugin) or "core"
        return [Failure(name, "hooks", str(exc), str(getattr(exc.plugin, "__file__", "")))]
    return []


def check_mounts(app: Flask) -> list[Failure]:
    """Find the plugins that claim a path which belongs to core or to a plugin before them."""
    site = site_of(app)
    rank = {name: index for index, name in enumerate(site.plugins)}
    segments = own_segments(app)
    failures = {}
    for one, other in combinations(sorted(segments, key=lambda name: rank.get(name, 0)), 2):
        if shared := sorted(segments[one] & segments[other]):
            paths = ", ".join(f"/{segment}" for segment in shared)
            reason = f"claims {paths}, as does {one}: give one of them another place in URL_PREFIXES"
            failures[other] = Failure(other, "routes", reason)
    for (pattern, method), owners in _patterns(app, site).items():
        one, *others = sorted(owners, key=lambda name: rank.get(name, 0))
        for other in others:
            reason = (
                f"claims {method} {pattern}, as does {one}: give one of them another place in URL_PREFIXES"
            )
            failures.setdefault(other, Failure(other, "routes", reason))
    return list(failures.values())


def own_segments(app: Flask) -> dict[str, set[str]]:
    """First path segments by the plugin they belong to, with all methods."""
    site = site_of(app)
    found: dict[str, set[str]] = defaultdict(set)
    for mount in site.mounts.values():
        found[mount.plugin] |= {path.split("/")[1] for path in mount.paths}
    for rule in app.url_map.iter_rules():
        owner = site.mounts.get(rule.endpoint.partition(".")[0])
        first = rule.rule.split("/")[1]
        # The description of the API lies below /api, which belongs to the registry's clients.
        if owner and first and "<" not in first and not (owner.plugin == "core" and first == "api"):
            found[owner.plugin].add(first)
    return found


def _patterns(app: Flask, site: Site) -> dict[tuple[str, str], set[str]]:
    """Owners of every rule and method; rules that differ only in the names of variables are the same."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for rule in app.url_map.iter_rules():
        owner = site.mounts.get(rule.endpoint.partition(".")[0])
        pattern = re.sub(
            r"<(?:(\w+)(?:\([^)]*\))?:)?\w+>", lambda match: f"<{match[1] or 'string'}>", rule.rule
        )
        for method in rule.methods or ():
            if owner and method != "OPTIONS":
                found[pattern.rstrip("/") or "/", method].add(owner.plugin)
    return {key: owners for key, owners in found.items() if len(owners) > 1}


def refuse_foreign_segment(mount: Mount, segments: dict[str, str]) -> None:
    """Keep a plugin that is mounted at ``/`` from answering for a path of somebody else.

    Routing falls back from ``/users`` to ``/<uid>`` when the method does not fit, but ``/users`` belongs
    to core with all methods.

    :param segments: first path segment: its owner.
    """
    owner = segments.get(request.path.split("/")[1])
    if owner is not None and owner != mount.plugin:
        raise MethodNotAllowed


def close_failed(app: Flask) -> None:
    """Answer 503 where plugins that could not be loaded would have been."""
    for plugin in site_of(app).plugins.values():
        if plugin.failure is None:
            continue
        bp = flask.Blueprint(f"failed-{plugin.name}", __name__)
        prefix = _prefix(app, plugin, bp)
        refuse = public(_refusal(plugin.name))
        for rule in ("/", "/<path:path>") if prefix else ():
            bp.add_url_rule(rule, f"refuse{len(rule)}", refuse, methods=ALL_METHODS)
        site_of(app).mounts[bp.name] = Mount(plugin.name, prefix)
        app.register_blueprint(bp, url_prefix=prefix or None)


def _refusal(name: str) -> Any:
    def refuse(path: str = "") -> None:
        raise Unavailable(f"The plugin {name} is not working at the moment.")

    return refuse
