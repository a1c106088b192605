"""The migrations of one site: of every *installed* plugin, found when asked.

Installed and not enabled, because Alembic needs each revision that the database mentions: once a plugin was
migrated, no command works without its folder, not even for another plugin.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from flask import Flask

import core
from core.migrations.graph import BadRevision, Graph, Revision, read_folder
from core.plugins import Plugin, find_plugins

__all__ = ["History", "environment_folder", "load", "owner_of_table"]


@dataclass(frozen=True)
class History:
    """Installed plugins and their revisions, and what had to be left out.

    :param enabled: names of core and of the plugins that the configuration names, installed or not.
    :param left_out: plugins whose migrations cannot be loaded, with one line that says why.
    :param missing: those of them that stand on a revision nobody has, with its id.
    """

    plugins: Mapping[str, Plugin]
    enabled: tuple[str, ...]
    graph: Graph
    left_out: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def folders(self) -> list[Path]:
        """Folders to hand to Alembic: together they have every revision they mention."""
        return [plugin.versions for plugin in self.plugins.values() if plugin.name not in self.left_out]

    def owner_of(self, table: str) -> str | None:
        """The installed plugin that ``table`` belongs to by its name."""
        return owner_of_table(table, self.plugins.values())


def load(app: Flask) -> History:
    """The history as it is installed now. Cheap: files are read again only when they changed."""
    site = app.extensions.get("pulsar")
    plugins = dict(find_plugins())
    for name, plugin in getattr(site, "plugins", {}).items():
        if plugin.module is not None:  # enabled by its module, without an entry point
            plugins.setdefault(name, plugin)
    named = [_short(name, plugins) for name in app.config.get("PLUGINS", ())]
    graph, left_out, missing = _assemble(plugins)
    return History(plugins, tuple(dict.fromkeys(["core", *named])), graph, left_out, missing)


def _short(name: str, plugins: Mapping[str, Plugin]) -> str:
    """A plugin may be enabled by its module; it is then called by the last part."""
    return name if name in plugins else name.rpartition(".")[2]


def _assemble(plugins: Mapping[str, Plugin]) -> tuple[Graph, dict[str, str], dict[str, str]]:
    """Load what fits together. A plugin that does not is left out, and then those that stand on it."""
    found, left_out = _read_all(plugins)
    missing: dict[str, str] = {}
    while True:
        graph = Graph(revision for revisions in found.values() for revision in revisions)
        dangling, ring = graph.dangling(), graph.ring()
        if not dangling and not ring:
            return graph, left_out, missing
        for id_, other in dangling.items():
            name = graph.revisions[id_].plugin
            found.pop(name, None)
            if missing.setdefault(name, other) == other:
                left_out[name] = f"{id_} depends on {other}, which no installed plugin has"
        for id_ in ring:
            name = graph.revisions[id_].plugin
            found.pop(name, None)
            left_out.setdefault(name, f"its revisions stand on each other in a ring: {' -> '.join(ring)}")


def _read_all(plugins: Mapping[str, Plugin]) -> tuple[dict[str, tuple[Revision, ...]], dict[str, str]]:
    left_out: dict[str, str] = {}
    found: dict[str, tuple[Revision, ...]] = {}
    owners: dict[str, str] = {}
    for name, plugin in plugins.items():
        try:
            revisions = _read_cached(name, plugin.versions)
        except (BadRevision, ImportError) as exc:
            left_out[name] = str(exc)
            continue
        if reason := _misplaced(name, revisions, owners):
            left_out[name] = reason
            continue
        found[name] = revisions
        owners |= {revision.id: name for revision in revisions}
    return found, left_out


def _misplaced(name: str, revisions: Iterable[Revision], owners: Mapping[str, str]) -> str | None:
    for revision in revisions:
        if revision.id in owners:
            return f"{owners[revision.id]} has a revision {revision.id} too"
        if not revision.parents and name not in revision.labels:
            return f"{revision.path} starts a branch without branch_labels = ('{name}',)"
        if strange := [label for label in revision.labels if label != name]:
            return f"{revision.path} carries the label {strange[0]}, only {name} is its own"
    return None


def _read_cached(name: str, folder: Path) -> tuple[Revision, ...]:
    stamp = tuple(
        (path.name, stat.st_mtime_ns, stat.st_size)
        for path in (sorted(folder.glob("*.py")) if folder.is_dir() else ())
        for stat in [path.stat()]
    )
    return _read_stamped(name, folder, stamp)


@lru_cache(maxsize=256)
def _read_stamped(name: str, folder: Path, _stamp: tuple[object, ...]) -> tuple[Revision, ...]:
    return tuple(read_folder(name, folder))


def owner_of_table(table: str, plugins: Iterable[Plugin]) -> str | None:
    """The plugin whose prefix ``table`` wears; with ``data`` and ``data-viewer`` the longer one."""
    wearers = [plugin for plugin in plugins if table.startswith(plugin.table_prefix)]
    return max(wearers, key=lambda plugin: len(plugin.table_prefix)).name if wearers else None


def environment_folder() -> Path:
    """The folder ``migrations/`` of the checkout that core runs from; of the working directory otherwise."""
    checkout = Path(core.__file__).parents[2] / "migrations"
    return checkout if checkout.is_dir() else Path("migrations").resolve()
