"""What the files of a plugin say: its metadata, its documentation, and what its code mentions."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import Distribution, PackageNotFoundError, distribution, entry_points
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import core
from core.contract.findings import Finding, find_line, shown
from core.plugins import GROUP, Plugin

__all__ = ["Sources"]


@dataclass
class Sources:
    """The files of ``plugin``, read when they are asked for."""

    plugin: Plugin

    @property
    def project(self) -> Path:
        """The folder of the distribution; for an installed wheel the one of all packages."""
        return self.plugin.package.parent

    @property
    def init(self) -> Path:
        return self.plugin.package / "__init__.py"

    @cached_property
    def distribution(self) -> Distribution | None:
        """What announces the plugin."""
        if self.plugin.name == "core":
            try:
                return distribution("pulsar-core")
            except PackageNotFoundError:
                return None
        return next((entry.dist for entry in entry_points(group=GROUP, name=self.plugin.name)), None)

    @cached_property
    def documentation(self) -> str:
        """README.md and docs/ of the plugin, and the docs/ of core's checkout if the plugin lies in it."""
        checkout = Path(core.__file__).parents[2]
        folders = [self.project / "docs"]
        if self.project.is_relative_to(checkout):
            folders.append(checkout / "docs")
        pages = [self.project / "README.md", *(page for folder in folders for page in folder.rglob("*.md"))]
        texts = [page.read_text(encoding="utf-8", errors="replace") for page in pages if page.is_file()]
        if not (self.project / "README.md").is_file() and self.distribution is not None:
            texts.append(str(self.distribution.metadata.json.get("description", "")))
        return "\n".join(texts)

    def documents(self, name: str) -> bool:
        """Whether the documentation mentions ``name`` as a whole word."""
        pattern = rf"(?<![\w.]){re.escape(name)}(?!\w|\.\w)"
        return re.search(pattern, self.documentation) is not None

    @cached_property
    def trees(self) -> dict[Path, ast.Module]:
        """The syntax of every module of the package."""
        paths = sorted(self.plugin.package.rglob("*.py"))
        return {path: ast.parse(path.read_bytes(), str(path)) for path in paths}

    @cached_property
    def mentioned(self) -> set[tuple[str, str]]:
        """What the code says: ``(class, member)`` of each attribute of a name, ``("", text)`` of each text.

        Aliases of imports are resolved. Classes that declare settings, permissions or events do not count.
        """
        found: set[tuple[str, str]] = set()
        for tree in self.trees.values():
            aliases = {
                alias.asname: alias.name
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom)
                for alias in node.names
                if alias.asname
            }
            for node in _outside_of_declarations(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(("", node.value))
                elif isinstance(node, ast.Attribute):
                    owner = node.value.attr if isinstance(node.value, ast.Attribute) else ""
                    if isinstance(node.value, ast.Name):
                        owner = aliases.get(node.value.id, node.value.id)
                    found.add((owner, node.attr))
        return found

    def check_syntax(self) -> Iterator[Finding]:
        """Every file of the package and of its migrations can be read as Python."""
        for path in [*self.plugin.package.rglob("*.py"), *self.plugin.versions.glob("*.py")]:
            try:
                ast.parse(path.read_bytes(), str(path))
            except (SyntaxError, ValueError) as exc:
                line = getattr(exc, "lineno", None) or 1
                yield Finding(shown(f"{path}:{line}"), f"it is not Python: {getattr(exc, 'msg', exc)}")

    def check_metadata(self) -> Iterator[Finding]:
        """Name, description and requirement of the distribution; a README."""
        name, dist, path = self.plugin.name, self.distribution, self.project / "pyproject.toml"
        path = path if path.is_file() else self.init
        if dist is None:
            yield Finding(find_line(path, "[project]"), f"no entry point of {GROUP} announces it")
            return
        if canonicalize_name(dist.name) != f"pulsar-{name}":
            message = f"the distribution {dist.name} is not called pulsar-{name}"
            yield Finding(find_line(path, "name ="), message)
        if not dist.metadata.json.get("summary"):
            yield Finding(find_line(path, "[project]"), "there is no description")
        needs = {canonicalize_name(Requirement(need).name) for need in dist.requires or ()}
        if name != "core" and "pulsar-core" not in needs:
            yield Finding(find_line(path, "dependencies"), "pulsar-core is not among the dependencies")
        if path != self.init and not (self.project / "README.md").is_file():
            yield Finding(find_line(path, "readme"), "there is no README.md beside it")

    def check_revisions(self) -> Iterator[Finding]:
        """Names of revisions, and that they stay what they are whatever becomes of the package."""
        prefix = self.plugin.table_prefix
        for path in sorted(self.plugin.versions.glob("*.py")):
            for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                for module in modules:
                    if module.partition(".")[0] in ("core", self.plugin.module_name):
                        message = f"a revision must not import {module}: write out what it needs"
                        yield Finding(shown(f"{path}:{getattr(node, 'lineno', 1)}"), message)
            if not path.name.startswith(prefix):
                yield Finding(find_line(path, "revision"), f"the file does not start with {prefix}")


def _outside_of_declarations(tree: ast.Module) -> Iterator[ast.AST]:
    """Every node, but for the bodies of the classes that declare names."""
    declaring = ("Config", "PermissionsEnum", "EventsEnum")
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        bases = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
        if not (isinstance(node, ast.ClassDef) and (node.name in declaring or set(bases) & set(declaring))):
            todo += ast.iter_child_nodes(node)
