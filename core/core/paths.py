"""Which path belongs to whom, and what happens when two want the same."""

import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Final

import flask
from flask import Flask, Request, current_app
from werkzeug.exceptions import MethodNotAllowed as NoSuchMethod
from werkzeug.routing import IntegerConverter, Rule

from core.blueprint import Mount
from core.errors import MethodNotAllowed, NotFound, PulsarError, Unavailable
from core.plugins import Failure, Plugin, source_of
from core.requests import public, route_info
from core.site import Site, site_of

__all__ = [
    "PlainInteger",
    "blueprints_of",
    "check_mounts",
    "close_failed",
    "find_taker",
    "first_segments",
    "misrouted",
    "prefix_of",
]

ALL_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
VARIABLE: Final = re.compile(r"<(?:(\w+)(?:\([^)]*\))?:)?\w+>")


class PlainInteger(IntegerConverter):
    """``<int:id>`` of a rule: the digits 0 to 9, and not those of other scripts, which Python reads too."""

    regex = "[0-9]+"


@dataclass
class Claims:
    """What one plugin wants for itself alone."""

    segments: set[str] = field(default_factory=set)  # first path segments of what is mounted at /
    prefixes: set[str] = field(default_factory=set)  # whole prefixes, "/lab/cart"

    def shared_with(self, other: "Claims") -> set[str]:
        """Paths that both claim. Two prefixes may begin alike: /lab/cart and /lab/registry."""
        both = {f"/{segment}" for segment in self.segments & (other.segments | _firsts(other.prefixes))}
        both |= {f"/{segment}" for segment in other.segments & _firsts(self.prefixes)}
        return both | (self.prefixes & other.prefixes)


def _firsts(prefixes: set[str]) -> set[str]:
    return {prefix.split("/")[1] for prefix in prefixes}


def blueprints_of(*modules: Any) -> list[flask.Blueprint]:
    """The blueprints that ``bp`` and ``bps`` of these modules name, each once."""
    found: dict[flask.Blueprint, None] = {}
    for module in modules:
        for name in ("bp", "bps"):
            item = getattr(module, name, None)
            for bp in item if isinstance(item, list | tuple) else [item]:
                if isinstance(bp, flask.Blueprint):
                    found[bp] = None
    return list(found)


def prefix_of(app: Flask, plugin: Plugin, bp: flask.Blueprint | None) -> str:
    """Where ``bp`` is mounted: as configured, as it asks itself, else at the plugin's name."""
    given: str | None = app.config["URL_PREFIXES"].get(plugin.name)
    if given is None:
        own = "" if plugin.name == "core" else f"/{plugin.name}"
        given = own if bp is None or bp.url_prefix is None else bp.url_prefix
    return "/" + given.strip("/") if given.strip("/") else ""


def check_mounts(app: Flask) -> list[Failure]:
    """Find the plugins that claim a path which belongs to core or to a plugin before them."""
    rank = {name: index for index, name in enumerate(site_of(app).plugins)}
    claims = _claims(app)
    found = {}
    advice = "give one of them another place in URL_PREFIXES"
    for (pattern, method), rules in _patterns(app).items():
        one, *others = sorted(rules, key=lambda name: rank.get(name, 0))
        for other in others:
            where = source_of(app.view_functions[rules[other]])
            reason = f"claims {method} {pattern}, as does {one}: {advice}"
            found[other] = Failure(other, "routes", reason, where)
    for one, other in combinations(sorted(claims, key=lambda name: rank.get(name, 0)), 2):
        if shared := claims[one].shared_with(claims[other]):
            reason = f"claims {', '.join(sorted(shared))}, as does {one}: {advice}"
            found.setdefault(other, Failure(other, "routes", reason))
    return list(found.values())


def _claims(app: Flask) -> dict[str, Claims]:
    found: dict[str, Claims] = defaultdict(Claims)
    for mount in site_of(app).mounts.values():
        for path in mount.paths:
            if mount.prefix and mount.plugin != "core":
                found[mount.plugin].prefixes.add(path)
            else:
                found[mount.plugin].segments.add(path.split("/")[1])
    for owner, first in _literal_segments(app):
        if owner.plugin == "core" or not owner.prefix:
            found[owner.plugin].segments.add(first)
    return found


def _literal_segments(app: Flask) -> Iterator[tuple[Mount, str]]:
    """The first segment of each rule that begins with a literal one, with its owner."""
    for rule in app.url_map.iter_rules():
        owner = site_of(app).mounts.get(rule.endpoint.partition(".")[0])
        first = rule.rule.split("/")[1]
        # The description of the API lies below /api, which belongs to the registry's clients.
        if owner and first and "<" not in first and not (owner.plugin == "core" and first == "api"):
            yield owner, first


def first_segments(app: Flask) -> dict[str, str]:
    """First path segment: the plugin that it belongs to, with all methods."""
    found = {
        path.split("/")[1]: mount.plugin for mount in site_of(app).mounts.values() for path in mount.paths
    }
    return found | {first: owner.plugin for owner, first in _literal_segments(app)}


def find_taker(app: Flask) -> str | None:
    """The plugin with a rule at ``/`` that takes any first segment, as ``/<uid>`` does."""
    for rule in app.url_map.iter_rules():
        owner = site_of(app).mounts.get(rule.endpoint.partition(".")[0])
        if owner and not owner.prefix and rule.rule.startswith("/<"):
            return owner.plugin
    return None


def _patterns(app: Flask) -> dict[tuple[str, str], dict[str, str]]:
    """Rules and methods with several owners, each with its endpoint; names of variables do not matter."""
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for rule in app.url_map.iter_rules():
        owner = site_of(app).mounts.get(rule.endpoint.partition(".")[0])
        pattern = VARIABLE.sub(lambda match: f"<{match[1] or 'string'}>", rule.rule).rstrip("/") or "/"
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}:
            if owner:
                found[pattern, method].setdefault(owner.plugin, rule.endpoint)
    return {key: owners for key, owners in found.items() if len(owners) > 1}


def misrouted(site: Site, mount: Mount, request: Request) -> PulsarError | None:
    """What to answer when routing chose, or offers, a rule that has no right to the path.

    Routing falls back from ``/users`` to ``/<uid>`` of a plugin at ``/`` when the method does not fit,
    but ``/users`` belongs to core with all methods.

    :param mount: the owner of the path.
    """
    if request.routing_exception is None:
        chosen = site.mounts.get((request.blueprint or "").partition(".")[0])
        if chosen is None or chosen.plugin in (mount.plugin, "core"):
            return None
    elif not isinstance(request.routing_exception, NoSuchMethod):
        return None
    rules = _rules_by_method(site, mount.plugin, request)
    if not rules:
        return NotFound()
    error = MethodNotAllowed(headers={"Allow": ", ".join(sorted(rules))})
    views = (current_app.view_functions[rule.endpoint] for rule in rules.values())
    error.hidden = not any(route_info(view).public for view in views)
    return error


def _rules_by_method(site: Site, plugin: str, request: Request) -> dict[str, Rule]:
    """The rules of ``plugin`` that match the path of the present request, by method."""
    adapter = current_app.create_url_adapter(request)
    assert adapter is not None, "there is a request"
    found = {}
    for method in adapter.allowed_methods():
        rule, _ = adapter.match(method=method, return_rule=True)
        owner = site.mounts.get(rule.endpoint.partition(".")[0])
        if (owner.plugin if owner else "core") == plugin:
            found[method] = rule
    return found


def close_failed(app: Flask) -> None:
    """Answer 503 where plugins that could not be loaded would have been."""
    site = site_of(app)
    taken = first_segments(app)
    for plugin in [plugin for plugin in site.plugins.values() if plugin.failure]:
        bp = flask.Blueprint(f"failed-{plugin.name}", __name__)
        refuse = public(_refusal(plugin.name))
        paths = [path for path in _places(app, plugin) if path.split("/")[1] not in taken]
        for number, path in enumerate(paths):
            bp.add_url_rule(path, f"at{number}", refuse, methods=ALL_METHODS)
            bp.add_url_rule(f"{path}/<path:path>", f"below{number}", refuse, methods=ALL_METHODS)
        owns = tuple(path.lstrip("/") for path in paths)
        site.mounts[bp.name] = Mount(plugin.name, "", owns)
        app.register_blueprint(bp)


def _places(app: Flask, plugin: Plugin) -> list[str]:
    """Paths of a failed plugin: those of its blueprints if it came so far, else the one of its name."""
    modules = [sys.modules.get(name) for name in (plugin.module_name, f"{plugin.module_name}.routes")]
    found: dict[str, None] = {}
    for bp in blueprints_of(*modules):
        found |= dict.fromkeys(Mount.of(plugin.name, bp, prefix_of(app, plugin, bp), app.config).paths)
    if not found and (prefix := prefix_of(app, plugin, None)):
        found[prefix] = None
    return list(found)


def _refusal(name: str) -> Any:
    def refuse(path: str = "") -> None:
        raise Unavailable(f"The plugin {name} is not working at the moment.")

    return refuse
