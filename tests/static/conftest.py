"""The tree as these tests see it: files and syntax trees; only test_docs.py imports the packages."""

import ast
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Module:
    """A Python file of one of the packages: its dotted name, where it is, and its text."""

    name: str
    path: Path
    text: str

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def packages() -> dict[str, Path]:
    """Import name and folder of every package: core, the plugins, the client."""
    folders = [ROOT / "core" / "core", ROOT / "client" / "pulsar_client"]
    for plugin in (ROOT / "plugins").iterdir():
        folders += [path.parent for path in plugin.glob("*/__init__.py") if path.parent.name != "tests"]
    return {folder.name: folder for folder in sorted(folders)}


@pytest.fixture(scope="session")
def plugins(packages: dict[str, Path]) -> set[str]:
    """Import names of the plugins."""
    return set(packages) - {"core", "pulsar_client"}


@pytest.fixture(scope="session")
def modules(packages: dict[str, Path]) -> list[Module]:
    """Every module of every package."""
    found = []
    for folder in packages.values():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            found.append(Module(".".join(parts).removesuffix(".__init__"), path, path.read_text()))
    return found


@pytest.fixture(scope="session")
def tracked(root: Path) -> list[Path]:
    """Every file that is or would be committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode().split("\0")
    return [root / name for name in sorted(set(names)) if name and (root / name).is_file()]


@pytest.fixture
def make_module() -> Callable[..., Module]:
    """Make a module out of a text, to show a rule what it refuses."""

    def make(name: str, text: str, filename: str | None = None) -> Module:
        return Module(name, Path(filename or name.replace(".", "/") + ".py"), text)

    return make
