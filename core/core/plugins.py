"""Find the plugins that the configuration names, put them in order, say everything that is wrong.

A plugin is a package announced by an entry point of the group ``pulsar.plugins``. Nothing of it is
imported before it is enabled, and plugins are imported in the order of their requirements.
"""

import ast
import importlib
import importlib.util
import inspect
import logging
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

import core
from core import hookspecs
from core.config import ConfigError, Setting, declare
from core.settings import Config

__all__ = [
    "GROUP",
    "PLUGIN_API",
    "BrokenPlugins",
    "Failure",
    "Plugin",
    "find_plugins",
    "hook_calls",
    "hook_manager",
    "load_plugins",
    "needed",
    "one_line",
    "read_constants",
    "source_of",
    "what_is_missing",
]

log = logging.getLogger(__name__)

GROUP = "pulsar.plugins"
PLUGIN_API = "1.0"  # version of the contract that docs/plugins describes


@dataclass(frozen=True)
class Failure:
    """What kept a plugin out: at which stage, why, and where in its code."""

    plugin: str
    stage: str
    reason: str
    where: str = ""
    traceback: str = ""

    @property
    def summary(self) -> str:
        """What may be told to a caller: no path, no text of a foreign exception."""
        kind = self.reason.partition(":")[0] if self.traceback else self.reason
        return f"failed at {self.stage}: {kind}"

    @classmethod
    def of(cls, plugin: str, stage: str, exc: BaseException, near: Path | None = None) -> "Failure":
        """:param near: folder of the plugin; the deepest frame in it is where the mistake is looked for."""
        frames = traceback.extract_tb(exc.__traceback__)
        inside = [frame for frame in frames if near and Path(frame.filename).is_relative_to(near)]
        if isinstance(exc, SyntaxError) and exc.filename:
            where = f"{exc.filename}:{exc.lineno}"
        else:
            where = "".join(f"{frame.filename}:{frame.lineno}" for frame in (inside or frames)[-1:])
        text = "".join(traceback.format_exception(exc))
        return cls(plugin, stage, f"{type(exc).__name__}: {one_line(exc)}", where, text)

    def __str__(self) -> str:
        return f"{self.plugin} ({self.stage}): {self.reason}" + (f" [{self.where}]" if self.where else "")


class BrokenPlugins(ConfigError):
    """One report of every plugin that cannot be loaded."""

    def __init__(self, failures: Iterable[Failure]) -> None:
        self.failures = list(failures)
        super().__init__("broken plugins: " + "; ".join(map(str, self.failures)))


@dataclass
class Plugin:
    """An installed plugin. ``module`` is there once it is loaded."""

    name: str
    module_name: str
    version: str = ""
    description: str = ""
    module: ModuleType | None = None
    failure: Failure | None = None
    requires: tuple[Requirement, ...] = field(default=())
    api: str = ""  # versions of the contract that it was written for; empty: it does not say

    @property
    def config(self) -> type | None:
        """The class that declares the plugin's settings, if it is loaded and has any."""
        return getattr(self.module, "Config", None)

    @property
    def package(self) -> Path:
        """Folder of the importable package; found without importing it."""
        spec = importlib.util.find_spec(self.module_name)
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(f"{self.module_name} is not a package", name=self.module_name)
        return Path(next(iter(spec.submodule_search_locations)))

    @property
    def versions(self) -> Path:
        """Folder of the plugin's migrations: beside the package in a checkout, inside it otherwise."""
        beside = self.package.parent / "versions"
        return beside if beside.is_dir() else self.package / "versions"

    @property
    def table_prefix(self) -> str:
        """What the names of the plugin's tables start with."""
        return self.name.replace("-", "_") + "_"

    def submodule(self, name: str) -> ModuleType | None:
        """Import ``<package>.<name>`` if the plugin has such a module."""
        full = f"{self.module_name}.{name}"
        return importlib.import_module(full) if importlib.util.find_spec(full) else None


def core_plugin() -> Plugin:
    """Core, seen as the plugin that is always loaded first."""
    version = _version("pulsar-core")
    return Plugin(name="core", module_name="core", version=version, module=core, api=PLUGIN_API)


def find_plugins() -> dict[str, Plugin]:
    """Every installed plugin by name, core first; none is imported."""
    found = {"core": core_plugin()}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        found[entry.name] = _from_entry(entry)
    return found


def _from_entry(entry: EntryPoint) -> Plugin:
    dist: Distribution | None = entry.dist
    summary = str(dist.metadata["Summary"] or "") if dist else ""
    return Plugin(entry.name, entry.module, dist.version if dist else "", summary)


def _version(name: str) -> str:
    try:
        return distribution(name).version
    except PackageNotFoundError:  # run from a bare source tree
        return core.__version__


def load_plugins(
    names: Iterable[str], installed: Mapping[str, Plugin], excluded: Mapping[str, Failure]
) -> tuple[dict[str, Plugin], list[Failure]]:
    """Import the plugins called ``names``, each after what it requires.

    :param installed: what :func:`find_plugins` gave.
    :param excluded: plugins known to be broken, with the reason; whoever needs one is broken too.
    :returns: the loaded plugins, core first, and what is wrong with the others.
    """
    failures: dict[str, Failure] = dict(excluded)
    wanted: dict[str, Plugin] = {}
    for name in dict.fromkeys(names):
        if name == "core" or name in failures:
            continue
        plugin = installed.get(name) or (Plugin(name.rpartition(".")[2], name) if "." in name else None)
        if plugin is None:
            reason = f"not installed; installed are: {_names_of(installed)}"
            failures[name] = Failure(name, "discovery", reason)
        elif plugin.name not in failures:
            wanted[plugin.name] = plugin
    for plugin in wanted.values():
        if failure := read_constants(plugin):
            failures[plugin.name] = failure
    _check_requirements(wanted, installed, failures)
    order = _in_order({name: plugin for name, plugin in wanted.items() if name not in failures}, failures)
    loaded = {"core": installed["core"]}
    declared = declare("core", Config, {})
    for name in order:
        failure = _needs_broken(wanted[name], failures) or _import(wanted[name], declared)
        if failure:
            failures[name] = failure
        else:
            loaded[name] = wanted[name]
    return loaded, [failures[name] for name in failures if name not in excluded]


def read_constants(plugin: Plugin) -> Failure | None:
    """Read ``REQUIRES``, ``PLUGIN_API`` and ``__version__`` without importing the plugin.

    So a plugin is imported after what it needs, and one written for another contract not at all.

    :returns: why the plugin cannot be used, if they say so.
    """
    if plugin.name == "core":
        return None
    found: dict[str, Any] = {}
    try:
        path = plugin.package / "__init__.py"
        for node in ast.parse(path.read_bytes(), str(path)).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                if name in ("REQUIRES", "PLUGIN_API", "__version__"):
                    found[name] = ast.literal_eval(node.value)
        plugin.version = plugin.version or found.get("__version__", "")
        plugin.requires = tuple(Requirement(text) for text in found.get("REQUIRES", ()))
        plugin.api = found.get("PLUGIN_API", "")
        api = SpecifierSet(plugin.api)
    except InvalidRequirement as exc:
        return Failure(plugin.name, "requirements", f"REQUIRES: {one_line(exc)}", str(path))
    except InvalidSpecifier as exc:
        return Failure(plugin.name, "requirements", f"PLUGIN_API: {one_line(exc)}", str(path))
    except Exception as exc:  # a syntax error, or values that are not written out
        return Failure.of(plugin.name, "import", exc)
    if PLUGIN_API not in api:
        return Failure(
            plugin.name, "requirements", f"written for plugin API {api}, this is {PLUGIN_API}", str(path)
        )
    return None


def needed(names: Iterable[str]) -> list[str]:
    """``names`` and the names of all that these plugins require, core left out; none is imported."""
    installed = find_plugins()
    found: dict[str, None] = {}
    todo = list(names)
    while todo:
        name = todo.pop(0)
        if name != "core" and name not in found:
            found[name] = None
            plugin = installed.get(name)
            if plugin is not None and read_constants(plugin) is None:
                todo += [need.name for need in plugin.requires]
    return list(found)


def what_is_missing(name: str, enabled: Iterable[str]) -> str | None:
    """Why the plugin ``name`` could not be used if ``enabled`` were the others; None if it could."""
    installed = find_plugins()
    plugin = installed.get(name)
    if plugin is None:
        return f"not installed; installed are: {_names_of(installed)}"
    if failure := read_constants(plugin):
        return str(failure.reason)
    return _lacks(plugin, {other: installed[other] for other in enabled if other in installed}, installed)


def _names_of(installed: Mapping[str, Plugin]) -> str:
    return ", ".join(other for other in installed if other != "core") or "none"


def _import(plugin: Plugin, declared: dict[str, tuple[str, Setting]]) -> Failure | None:
    """Import the package and take its settings into ``declared``."""
    try:
        plugin.module = importlib.import_module(plugin.module_name)
    except (Exception, SystemExit) as exc:  # anything can happen in foreign code; the site must live on
        return Failure.of(plugin.name, "import", exc, plugin.package)
    if plugin.config is not None:
        try:
            declared |= declare(plugin.name, plugin.config, declared)
        except ConfigError as exc:
            return Failure(plugin.name, "config", exc.message, source_of(plugin.config))
    return None


def _check_requirements(
    wanted: Mapping[str, Plugin], installed: Mapping[str, Plugin], failures: dict[str, Failure]
) -> None:
    """Find the plugins that lack what they need, and then those that need one of these."""
    for name, plugin in wanted.items():
        known = name in failures or _needs_broken(plugin, failures)
        if not known and (reason := _lacks(plugin, wanted, installed)):
            failures[name] = Failure(name, "requirements", reason)
    changed = True
    while changed:
        changed = False
        for name, plugin in wanted.items():
            if name not in failures and (failure := _needs_broken(plugin, failures)):
                failures[name] = failure
                changed = True


def _needs_broken(plugin: Plugin, failures: Mapping[str, Failure]) -> Failure | None:
    broken = next((need.name for need in plugin.requires if need.name in failures), None)
    return Failure(plugin.name, "requirements", f"needs {broken}, which is broken") if broken else None


def _lacks(plugin: Plugin, wanted: Mapping[str, Plugin], installed: Mapping[str, Plugin]) -> str | None:
    for need in plugin.requires:
        other = installed["core"] if need.name == "core" else wanted.get(need.name)
        if other is None:
            state = "installed but not enabled" if need.name in installed else "not installed"
            return f"needs {need}, which is {state}: add '{need.name}' to PLUGINS"
        if other.version and not need.specifier.contains(other.version, prereleases=True):
            return f"needs {need}, but version {other.version} is installed"
    return None


def _in_order(plugins: Mapping[str, Plugin], failures: dict[str, Failure]) -> list[str]:
    """Names so that each comes after what it requires; ties keep the order of PLUGINS."""
    graph = {
        name: [need.name for need in plugin.requires if need.name in plugins]
        for name, plugin in plugins.items()
    }
    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError as exc:
        cycle = list(reversed(exc.args[1]))
        for name in set(cycle):
            failures[name] = Failure(name, "requirements", "needs itself in a ring: " + " -> ".join(cycle))
        rest = {name: plugin for name, plugin in plugins.items() if name not in cycle}
        _check_requirements(rest, {"core": core_plugin(), **plugins}, failures)
        return _in_order({name: plugin for name, plugin in rest.items() if name not in failures}, failures)
    order: list[str] = []
    rank = {name: index for index, name in enumerate(plugins)}
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=rank.__getitem__)
        order += ready
        sorter.done(*ready)
    return order


def hook_manager() -> pluggy.PluginManager:
    """A fresh manager that knows core's hooks. ``PULSAR_TRACE_HOOKS=1`` logs every call."""
    hooks = pluggy.PluginManager("pulsar")
    hooks.add_hookspecs(hookspecs)
    if os.environ.get("PULSAR_TRACE_HOOKS") == "1":
        hooks.trace.root.setwriter(lambda text: log.warning("%s", text.rstrip()))
        hooks.enable_tracing()
    return hooks


def hook_calls(hooks: pluggy.PluginManager, name: str) -> Iterator[tuple[str, Callable[..., list[Any]]]]:
    """Each plugin that implements the hook ``name``, with a call of that implementation alone.

    For callers to whom the failure of one plugin must not be the failure of all.
    """
    everyone = hooks.get_plugins()
    for implementation in reversed(getattr(hooks.hook, name).get_hookimpls()):
        others = [other for other in everyone if other is not implementation.plugin]
        yield implementation.plugin_name, hooks.subset_hook_caller(name, others)


def source_of(found: object) -> str:
    """File and line of a class or function; empty if it has none."""
    try:
        target = inspect.unwrap(found) if callable(found) else found
        return f"{inspect.getsourcefile(target)}:{inspect.getsourcelines(target)[1]}"  # type: ignore[arg-type]
    except (OSError, TypeError):
        return ""


def one_line(exc: BaseException) -> str:
    """The message of ``exc`` for a report that has one line a plugin."""
    return " ".join(str(exc).split())
