"""The history of all plugins as plain data: who owns a revision, what depends on what, how far a database is.

Nothing here touches a database, Flask or Alembic. Alembic runs the migrations, but it cannot load a
history in which one plugin's folder is missing; this module can, and so can say what is wrong.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from threading import Lock

__all__ = ["BadRevision", "Graph", "Revision", "read_folder"]


class BadRevision(ValueError):
    """A revision file cannot be read; the message names it and the reason."""


@dataclass(frozen=True)
class Revision:
    """One migration: a step in the branch of one plugin."""

    id: str
    plugin: str
    parents: tuple[str, ...] = ()  # down_revision: empty for the first of a branch
    needs: tuple[str, ...] = ()  # depends_on: revisions of other branches, or labels
    labels: tuple[str, ...] = ()
    path: Path = Path()
    title: str = ""


def read_folder(plugin: str, folder: Path) -> list[Revision]:
    """The revisions of ``plugin`` in ``folder``, in the order of their file names; none if it is missing.

    The files are parsed, not run: a state page must not execute the code of a plugin that is switched off.

    :raises BadRevision: if a file is not Python or its identifiers are not plain text.
    """
    if not folder.is_dir():
        return []
    files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    return [_read(plugin, path) for path in files]


def _read(plugin: str, path: Path) -> Revision:
    try:
        with _parsing:
            tree = ast.parse(path.read_text("utf-8"), str(path))
        values = {name: ast.literal_eval(node) for name, node in _assignments(tree) if name in _NAMES}
        words = {name: _words(values.get(name)) for name in _NAMES}
    except (OSError, SyntaxError, ValueError, TypeError) as exc:
        raise BadRevision(f"{path} cannot be read as a migration: {exc}") from exc
    if len(words["revision"]) != 1:
        raise BadRevision(f"{path} does not say which revision it is")
    title = (ast.get_docstring(tree) or "").partition("\n")[0]
    return Revision(
        id=words["revision"][0],
        plugin=plugin,
        parents=words["down_revision"],
        needs=words["depends_on"],
        labels=words["branch_labels"],
        path=path,
        title=title,
    )


# The first requests of a process come together, and Python 3.11 may fail in two threads that parse at once.
_parsing = Lock()
_NAMES = ("revision", "down_revision", "branch_labels", "depends_on")


def _assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value
        elif isinstance(node, ast.Assign):
            yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))


def _words(value: object) -> tuple[str, ...]:
    """Alembic's "one, several or none" as a tuple."""
    if value is None:
        return ()
    several = (value,) if isinstance(value, str) else value
    if not isinstance(several, tuple | list) or not all(isinstance(word, str) for word in several):
        raise TypeError(f"{value!r} is not text")
    return tuple(several)


class Graph:
    """Revisions and what they stand on. Every method takes and gives revision ids."""

    def __init__(self, revisions: Iterable[Revision]) -> None:
        self.revisions: dict[str, Revision] = {revision.id: revision for revision in revisions}
        self._labels = {
            label: revision.id for revision in self.revisions.values() for label in revision.labels
        }
        self._below = {id_: self._edges(revision) for id_, revision in self.revisions.items()}
        self._above: dict[str, set[str]] = {}
        for id_, below in self._below.items():
            for other in below:
                self._above.setdefault(other, set()).add(id_)

    def _edges(self, revision: Revision) -> tuple[str, ...]:
        # A label in depends_on means the revision that carries it, not the head of its branch.
        return (*revision.parents, *(self._labels.get(need, need) for need in revision.needs))

    def __contains__(self, id_: object) -> bool:
        return id_ in self.revisions

    def dangling(self) -> dict[str, str]:
        """Revisions that stand on one which nobody has: the id, and the id or label that is missing."""
        return {
            id_: other for id_, below in self._below.items() for other in below if other not in self.revisions
        }

    def ring(self) -> list[str]:
        """Revisions that stand on each other in a ring, the first one again at the end; empty if none do."""
        try:
            TopologicalSorter(self._below).prepare()
        except CycleError as exc:
            return list(reversed(exc.args[1]))
        return []

    def below(self, ids: Iterable[str]) -> set[str]:
        """``ids`` and everything they stand on, through any branch. Unknown ids are left out."""
        return self._walk(ids, self._below)

    def above(self, ids: Iterable[str]) -> set[str]:
        """``ids`` and everything that stands on them, in any branch."""
        return self._walk(ids, self._above)

    def _walk(self, ids: Iterable[str], edges: Mapping[str, Iterable[str]]) -> set[str]:
        found: set[str] = set()
        todo = [id_ for id_ in ids if id_ in self.revisions]
        while todo:
            id_ = todo.pop()
            if id_ not in found:
                found.add(id_)
                todo += [other for other in edges.get(id_, ()) if other in self.revisions]
        return found

    def tips(self, ids: Iterable[str]) -> list[str]:
        """Those of ``ids`` that no other of them stands on: what ``alembic_version`` holds for them."""
        known = {id_ for id_ in ids if id_ in self.revisions}
        implied = {other for id_ in known for other in self.below(self._below[id_])}
        return sorted(known - implied)

    def heads(self, plugin: str) -> list[str]:
        """The newest revisions of ``plugin``; more than one is a mistake in the plugin."""
        return self._newest(plugin, self.revisions)

    def reached(self, rows: Iterable[str]) -> dict[str, str]:
        """How far each plugin is in a database whose ``alembic_version`` holds ``rows``.

        The rows are walked down, because Alembic keeps no row for a branch that another one depends on.
        """
        applied = self.below(rows)
        plugins = {self.revisions[id_].plugin for id_ in applied}
        return {plugin: self._newest(plugin, applied)[-1] for plugin in sorted(plugins)}

    def _newest(self, plugin: str, among: Iterable[str]) -> list[str]:
        own = {id_ for id_ in among if self.revisions[id_].plugin == plugin}
        return sorted(own - {parent for id_ in own for parent in self.revisions[id_].parents})

    def of(self, plugin: str) -> set[str]:
        """All revisions of ``plugin``."""
        return {id_ for id_, revision in self.revisions.items() if revision.plugin == plugin}

    def dependents(self, plugin: str) -> set[str]:
        """The other plugins with a revision that stands on one of ``plugin``."""
        return {self.revisions[id_].plugin for id_ in self.above(self.of(plugin))} - {plugin}

    def ordered(self, ids: Iterable[str]) -> list[str]:
        """``ids`` so that each comes after what it stands on. There must be no ring."""
        wanted = {id_ for id_ in ids if id_ in self.revisions}
        sorter = TopologicalSorter({id_: self.below(self._below[id_]) & wanted for id_ in sorted(wanted)})
        return list(sorter.static_order())
