"""Who may know whom, read from the imports themselves.

Arrows point one way: from routes to services to models, from plugins to core, and never from plugin to
plugin. Each rule is a function from one module to its offences, so that it can also be shown a module that
breaks it.
"""

import ast
import sys
from dataclasses import dataclass

import pytest

# What each layer of a package may not import from its own package.
FORBIDDEN = {
    "routes": {"models", "jobs", "cli"},
    "jobs": {"routes", "cli", "serializers"},
    "cli": {"routes"},
    "serializers": {"routes", "jobs", "cli", "services"},
    "services": {"routes", "jobs", "cli", "serializers"},
    "models": {"routes", "jobs", "cli", "serializers", "services"},
}
# Modules someone else could borrow: no framework, no database, nothing of core.
PURE = {"manifest", "bundle", "geometry", "dbc", "series", "chunks"}
IMPURE = {
    "flask",
    "werkzeug",
    "sqlalchemy",
    "alembic",
    "marshmallow",
    "click",
    "celery",
    "redis",
    "boto3",
    "core",
}


@dataclass(frozen=True)
class Import:
    """One imported name, written out in full: ``from core.db import db`` is ``core.db.db``."""

    target: str
    line: int
    inside_function: bool
    only_for_types: bool

    def of(self, *names: str) -> bool:
        """Whether this imports one of these modules or something in them."""
        return any(self.target == name or self.target.startswith(f"{name}.") for name in names)


def imports(module) -> list[Import]:
    """All imports of a module, those inside functions and ``if TYPE_CHECKING`` included."""
    found: list[Import] = []

    def visit(node: ast.AST, inside_function: bool, only_for_types: bool) -> None:
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = absolute(module, node)
            targets = [f"{source}.{alias.name}" for alias in node.names]
        else:
            inside_function |= isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            only_for_types |= isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
            for child in ast.iter_child_nodes(node):
                visit(child, inside_function, only_for_types)
            return
        found.extend(Import(target, node.lineno, inside_function, only_for_types) for target in targets)

    visit(module.tree, inside_function=False, only_for_types=False)
    return found


def absolute(module, node: ast.ImportFrom) -> str:
    """The module that a ``from`` names, with its leading dots resolved."""
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    up = node.level - (module.path.name == "__init__.py")
    return ".".join(parts[: len(parts) - up] + ([node.module] if node.module else []))


def layer(name: str) -> str | None:
    """The layer a dotted name belongs to, if any; core's jobs are what others stand on, not a layer."""
    package, *parts = name.split(".")
    known = set(FORBIDDEN) - ({"jobs"} if package == "core" else set())
    return next((part for part in reversed(parts) if part in known), None)


def strangers(module, plugins) -> list[str]:
    """Core knows no plugin, plugins do not know each other, client and server do not know each other."""
    banned = {"core", "pulsar_client", *plugins} - {module.package}
    if module.package in plugins:
        banned.remove("core")
    return [f"{module.name}:{i.line} imports {i.target}" for i in imports(module) if i.of(*banned)]


def private(module) -> list[str]:
    """Nobody outside core uses a name of core that starts with an underscore."""
    if module.package == "core":
        return []
    return [
        f"{module.name}:{i.line} imports {i.target}"
        for i in imports(module)
        if i.of("core") and "._" in i.target
    ]


def wrong_way(module) -> list[str]:
    """Inside a package imports go from the edges to services to models; routes touch no database."""
    mine = layer(module.name)
    offences = []
    for i in imports(module):
        if i.only_for_types or mine is None:
            continue
        if i.of(module.package) and layer(i.target) in FORBIDDEN[mine]:
            offences.append(f"{module.name}:{i.line} imports {i.target}")
        if mine == "routes" and i.of("core.db", "sqlalchemy"):
            offences.append(f"{module.name}:{i.line} imports {i.target}")
    return offences


def impure(module) -> list[str]:
    """The pure modules import no framework, no database, and no layer of their own package."""
    _, *parts = module.name.split(".")
    if len(parts) != 1 or parts[0] not in PURE:
        return []
    return [
        f"{module.name}:{i.line} imports {i.target}"
        for i in imports(module)
        if i.of(*IMPURE) or i.target.startswith("flask_") or (i.of(module.package) and layer(i.target))
    ]


def unexplained(module) -> list[str]:
    """An import inside a function has its reason on the same line, behind the exception, or right above."""
    lines = module.text.splitlines()
    offences = []
    for i in imports(module):
        if i.inside_function:
            reason = lines[i.line - 1].partition("# noqa: PLC0415")[2].strip(" -:")
            if not reason and not lines[i.line - 2].strip().startswith("#"):
                offences.append(f"{module.name}:{i.line} imports {i.target}")
    return offences


def more_than_core_app(module) -> list[str]:
    """The glue names the app factory and nothing else of the project or of anybody's."""
    return [
        f"{module.name}:{i.line} imports {i.target}"
        for i in imports(module)
        if not i.of("core.app") and i.target.partition(".")[0] not in sys.stdlib_module_names
    ]


def test_packages_know_only_whom_they_may(modules, plugins):
    assert [offence for module in modules for offence in strangers(module, plugins)] == []


@pytest.mark.parametrize("rule", [private, wrong_way, impure, unexplained])
def test_no_module_breaks(rule, modules):
    assert [offence for module in modules for offence in rule(module)] == []


def test_the_glue_imports_only_the_app_factory(root, make_module):
    glue = [path for path in root.glob("*.py") if path.name == "wsgi.py"]
    assert [
        offence for path in glue for offence in more_than_core_app(make_module("wsgi", path.read_text()))
    ] == []


def test_every_package_was_looked_at(modules, packages):
    assert {"core", "registry", "pulsar_client"} <= set(packages)
    assert {module.package for module in modules} == set(packages)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("core.app", "import registry"),
        ("core.app", "from registry.models import Package"),
        ("core.app", "def f():\n    import registry"),
        ("core.app", "import pulsar_client"),
        ("registry.models", "from cart import sources"),
        ("registry.models", "import pulsar_client.store"),
        ("pulsar_client.http", "from core.errors import NotFound"),
        ("pulsar_client.http", "if TYPE_CHECKING:\n    import registry"),
    ],
)
def test_a_stranger_is_noticed(name, text, make_module):
    assert len(strangers(make_module(name, text), {"registry", "cart"})) == 1


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [
        (private, "registry.models", "from core.db import _engine"),
        (private, "registry.models", "from core._glue import x"),
        (wrong_way, "registry.routes.packages", "from registry.models import Package"),
        (wrong_way, "registry.routes.packages", "from ..models import Package"),
        (wrong_way, "registry.routes.packages", "from core.db import db"),
        (wrong_way, "registry.routes.packages", "import sqlalchemy as sa"),
        (wrong_way, "registry.services.packages", "from registry.serializers import PackageSchema"),
        (wrong_way, "registry.services.packages", "from registry.jobs import sweep"),
        (wrong_way, "registry.models", "from . import services"),
        (wrong_way, "registry.serializers", "from registry.services import packages"),
        (wrong_way, "registry.jobs", "from registry import routes"),
        (wrong_way, "core.users.services", "from core.users.routes import bp"),
        (wrong_way, "core.users.models", "from .services import users"),
        (impure, "registry.manifest", "import flask"),
        (impure, "registry.manifest", "from flask_limiter import Limiter"),
        (impure, "registry.manifest", "from core.errors import NotFound"),
        (impure, "registry.manifest", "from .models import Package"),
        (impure, "pulsar_client.manifest", "def f():\n    from sqlalchemy import select"),
        (unexplained, "registry.jobs", "def f():\n    import os"),
        (unexplained, "registry.jobs", "def f():\n    import os  # noqa: PLC0415"),
        (
            unexplained,
            "registry.jobs",
            "class A:\n    def f(self):\n        if 1:\n            from os import path",
        ),
        (more_than_core_app, "wsgi", "from core.config import Config"),
        (more_than_core_app, "wsgi", "import flask"),
    ],
)
def test_a_breach_is_noticed(rule, name, text, make_module):
    assert len(rule(make_module(name, text))) == 1


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [
        (private, "core.app", "from core.db import _engine"),
        (wrong_way, "registry.routes.packages", "from registry.services import packages"),
        (wrong_way, "registry.routes.packages", "from registry.serializers import PackageSchema"),
        (wrong_way, "registry.routes.packages", "if TYPE_CHECKING:\n    from registry.models import Package"),
        (wrong_way, "registry.services.packages", "from registry.models import Package"),
        (wrong_way, "registry.services.packages", "from core.jobs import queue"),
        (wrong_way, "core.users.services", "from core.jobs import queue"),
        (wrong_way, "registry.hooks", "from registry.routes import bp"),
        (impure, "registry.manifest", "import hashlib, pyarrow"),
        (impure, "registry.services.manifest", "from core.db import db"),
        (unexplained, "registry.jobs", "def f():\n    import os  # noqa: PLC0415 - because it is slow"),
        (unexplained, "registry.jobs", "def f():\n    # It is slow.\n    import os  # noqa: PLC0415"),
        (more_than_core_app, "wsgi", "from pathlib import Path\nfrom core.app import create_app"),
    ],
)
def test_what_is_allowed_passes(rule, name, text, make_module):
    assert rule(make_module(name, text)) == []


def test_dots_of_a_package_itself_are_resolved(make_module):
    routes = make_module(
        "registry.routes", "from .packages import bp\nfrom ..models import A", "routes/__init__.py"
    )
    assert [i.target for i in imports(routes)] == ["registry.routes.packages.bp", "registry.models.A"]
