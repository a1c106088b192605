"""``flask plugin new``: the beginning of a plugin, complete down to its tests and its first migration."""

import importlib.util
import keyword
import re
from collections.abc import Iterable
from importlib.metadata import entry_points
from itertools import groupby
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Final

import click

from core.db import now
from core.mounting import FLASK_COMMANDS
from core.paths import blueprints_of
from core.plugins import find_plugins

__all__ = ["new", "render"]

NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", re.ASCII)
LONGEST: Final = 27  # characters of a name: those of a revision, notes_0001, fill alembic_version
FILES: Final = Path(__file__).parent / "template"

NEXT: Final = """\
wrote {folder}

To try it:
  pip install -e {folder}
  flask plugin enable {name}
  flask db upgrade
  flask plugin check {name}
  pytest {folder}/tests

To have it installed with the site, add this below [packages] in Pipfile, and run make lock:
  pulsar-{name} = {{path = "{folder}", editable = true}}"""


@click.command("new")
@click.argument("name")
@click.option("--no-models", is_flag=True, help="Without tables: no models, migrations, events, test data.")
@click.option(
    "--dest",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the folder pulsar-NAME is made. Default: plugins/ if it is there, otherwise here.",
)
def new(name: str, no_models: bool, dest: Path | None) -> None:
    """Write a new plugin into the folder pulsar-NAME. It works at once, and is meant to be changed.

    It has routes, serializers, permissions, services, hooks, settings, tests and a README, and unless you say
    --no-models a table, events, data to look at and the first migration.

    \b
        flask plugin new notes
        flask plugin new weather-log --no-models --dest ~/src
    """
    if reason := _why_not(name):
        raise click.UsageError(f"a plugin cannot be called {name}: {reason}")
    if dest is None:
        dest = Path("plugins") if Path("plugins").is_dir() else Path()
    folder = dest / f"pulsar-{name}"
    if folder.exists():
        raise click.ClickException(f"{folder} is there already; nothing was written")
    dest.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=dest) as rough:
        made = Path(rough) / folder.name
        for path, text in render(name, models=not no_models).items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_text(text, encoding="utf-8")
        made.rename(folder)  # all of it or nothing
    click.echo(NEXT.format(folder=folder, name=name))


def _why_not(name: str) -> str | None:
    """Why no plugin can have this name; None if one can."""
    package, installed = name.replace("-", "_"), find_plugins()
    bps = blueprints_of(installed["core"].submodule("routes"))
    if not NAME.fullmatch(name):
        return "a name is lower-case letters and digits, with single hyphens inside, and begins with a letter"
    if len(name) > LONGEST:
        return f"it is longer than {LONGEST} characters"
    if name in installed:
        return "there is one of this name"
    if name in {entry.name for entry in entry_points(group="flask.commands")} | FLASK_COMMANDS:
        return f"flask {name} is a command of the site"
    if name in {bp.name for bp in bps} | {(bp.url_prefix or "").strip("/") for bp in bps}:
        return f"/{name} belongs to core"
    spec = None if keyword.iskeyword(package) else importlib.util.find_spec(package)
    if keyword.iskeyword(package) or (spec is not None and spec.origin is not None):
        return f"{package} means something in Python already"
    return None


def render(name: str, *, models: bool = True) -> dict[str, str]:
    """The files of a new plugin: texts by their paths.

    They stand in the folder ``template``, with ``$name`` and the like in their place.
    """
    package = name.replace("-", "_")
    words = {
        "name": name,
        "package": package,
        "Class": package.title().replace("_", ""),
        "PREFIX": package.upper(),
        "description": "Things that people keep" if models else "A greeting",
        "year": str(now().year),
    }
    found = {}
    for part in (FILES / "both", FILES / ("models" if models else "no_models")):
        for path in sorted(part.rglob("*.tmpl")):
            target = path.relative_to(part).as_posix().removesuffix(".tmpl").replace("PACKAGE", package)
            text = Template(path.read_text(encoding="utf-8")).substitute(words)
            found[target] = _with_sorted_imports(text) if target.endswith(".py") else text
    return found


def _with_sorted_imports(text: str) -> str:
    """``text`` with each block of imports in order, which depends on the name of the package."""
    blocks = groupby(text.splitlines(keepends=True), key=lambda line: line.startswith(("import ", "from ")))
    return "".join(line for imports, lines in blocks for line in (_in_order(lines) if imports else lines))


def _in_order(lines: Iterable[str]) -> list[str]:
    return sorted(lines, key=lambda line: (line.startswith("from "), line.split()[1]))
