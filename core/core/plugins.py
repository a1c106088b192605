"""Find the plugins that the configuration names, put them in order, say everything that is wrong.

A plugin is a package announced by an entry point of the group ``pulsar.plugins``. Nothing of it is
imported before it is enabled, and plugins are imported in the order of their requirements.
"""

import importlib
import importlib.util
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution, entry_points
from pathlib import Path
from types import ModuleType

import pluggy
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet

import core
from core import hookspecs
from core.config import ConfigError

__all__ = [
    "GROUP",
    "PLUGIN_API",
    "BrokenPlugins",
    "Failure",
    "Plugin",
    "find_plugins",
    "hook_manager",
    "load_plugins",
]

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
        return cls(plugin, stage, f"{type(exc).__name__}: {exc}", where, text)

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
    return Plugin(name="core", module_name="core", version=_version("pulsar-core"), module=core)


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
    names: Iterable[str], excluded: Mapping[str, Failure]
) -> tuple[dict[str, Plugin], list[Failure]]:
    """Import the plugins called ``names`` and put them in the order of their requirements.

    :param excluded: plugins known to be broken, with the reason; whoever needs one is broken too.
    :returns: the loaded plugins, core first, and what is wrong with the others.
    """
    installed = find_plugins()
    failures: dict[str, Failure] = dict(excluded)
    wanted: dict[str, Plugin] = {}
    for name in dict.fromkeys(names):
        if name == "core" or name in failures:
            continue
        plugin = installed.get(name) or (Plugin(name.rpartition(".")[2], name) if "." in name else None)
        if plugin is None:
            have = ", ".join(other for other in installed if other != "core") or "none"
            failures[name] = Failure(name, "discovery", f"not installed; installed are: {have}")
        else:
            wanted[plugin.name] = plugin
    for plugin in wanted.values():
        if failure := _import(plugin):
            failures[plugin.name] = failure
    _check_requirements(wanted, installed, failures)
    order = _in_order({name: plugin for name, plugin in wanted.items() if name not in failures}, failures)
    loaded = {"core": installed["core"]} | {name: wanted[name] for name in order}
    return loaded, [failures[name] for name in failures if name not in excluded]


def _import(plugin: Plugin) -> Failure | None:
    near = None
    try:
        near = plugin.package
        plugin.module = importlib.import_module(plugin.module_name)
        plugin.version = plugin.version or getattr(plugin.module, "__version__", "")
        plugin.requires = tuple(Requirement(text) for text in getattr(plugin.module, "REQUIRES", ()))
        api = SpecifierSet(getattr(plugin.module, "PLUGIN_API", ""))
    except InvalidRequirement as exc:
        return Failure(plugin.name, "requirements", f"REQUIRES: {exc}")
    except Exception as exc:  # anything can happen in foreign code; it must not take the site with it
        return Failure.of(plugin.name, "import", exc, near)
    if PLUGIN_API not in api:
        return Failure(plugin.name, "requirements", f"written for plugin API {api}, this is {PLUGIN_API}")
    return None


def _check_requirements(
    wanted: Mapping[str, Plugin], installed: Mapping[str, Plugin], failures: dict[str, Failure]
) -> None:
    """Find the plugins that lack what they need, and then those that need one of these."""
    for name, plugin in wanted.items():
        known = name in failures or any(need.name in failures for need in plugin.requires)
        if not known and (reason := _lacks(plugin, wanted, installed)):
            failures[name] = Failure(name, "requirements", reason)
    changed = True
    while changed:
        changed = False
        for name, plugin in wanted.items():
            broken = next((r.name for r in plugin.requires if r.name in failures), None)
            if broken and name not in failures:
                failures[name] = Failure(name, "requirements", f"needs {broken}, which is broken")
                changed = True


def _lacks(plugin: Plugin, wanted: Mapping[str, Plugin], installed: Mapping[str, Plugin]) -> str | None:
    for need in plugin.requires:
        other = installed["core"] if need.name == "core" else wanted.get(need.name)
        if other is None:
            state = "installed but not enabled" if need.name in installed else "not installed"
            return f"needs {need}, which is {state}: add '{need.name}' to PLUGINS"
        if other.version and other.version not in need.specifier:
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
    """A fresh manager that knows core's hooks."""
    hooks = pluggy.PluginManager("pulsar")
    hooks.add_hookspecs(hookspecs)
    return hooks
