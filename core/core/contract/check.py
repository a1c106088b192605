"""The whole check of one plugin, in a site and a database of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Final

from core.app import create_app
from core.config import ConfigError
from core.contract.findings import Finding, find_line, shown
from core.contract.loaded import check_loaded
from core.contract.sources import Sources
from core.db import db
from core.plugins import BrokenPlugins, find_plugins, needed, read_constants

__all__ = ["check_plugin", "check_plugin_called"]

LIMIT: Final = 120  # s that the import of a plugin may take

# Run in a process that knows no app, no configuration and no database.
IMPORT: Final = """
import importlib, json, pathlib, pkgutil, sys

def watch(event, _arguments):
    if event in ("socket.connect", "sqlite3.connect"):
        raise RuntimeError(f"it opens a connection when it is imported ({event})")

name, folder = sys.argv[1:]
sys.addaudithook(watch)
try:
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(package.__path__, name + "."):
        if not {"tests", "testing", "conftest"} & set(found.name.split(".")):
            importlib.import_module(found.name)
except (Exception, SystemExit) as exc:
    from core.plugins import Failure
    failure = Failure.of(name, "import", exc, pathlib.Path(folder))
    print(json.dumps([failure.where, failure.reason]))
"""


def check_plugin(module: ModuleType) -> list[Finding]:
    """What is wrong with the installed plugin whose package is ``module``; empty if nothing is.

    ``assert check_plugin(notes) == []`` belongs into the tests of every plugin. It takes some seconds.

    :raises LookupError: if no installed plugin has that package.
    """
    for name, plugin in find_plugins().items():
        if plugin.module_name == module.__name__:
            return check_plugin_called(name)
    raise LookupError(f"no installed plugin has the package {module.__name__}")


def check_plugin_called(name: str) -> list[Finding]:
    """The same for the plugin ``name``, which need not be imported yet.

    :raises LookupError: if there is none of that name.
    """
    sources = Sources(find_plugins()[name])
    found = list(sources.check_metadata())
    # Each stands on the one before: what is no Python cannot be imported, and that cannot be looked at.
    if unreadable := list(sources.check_syntax()):
        return found + unreadable
    found += sources.check_revisions()
    broken = list(_check_import(sources)) or list(_check_constants(sources))
    return found + (broken or list(_check_site(sources)))


def _check_constants(sources: Sources) -> Iterator[Finding]:
    if failure := read_constants(sources.plugin):
        yield Finding(find_line(sources.init, ""), failure.reason)


def _check_import(sources: Sources) -> Iterator[Finding]:
    """Import every module in a process that has no app and may open no connection."""
    plugin = sources.plugin
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PULSAR_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-c", IMPORT, plugin.module_name, str(plugin.package)]
    with TemporaryDirectory() as folder:
        done = subprocess.run(  # noqa: S603 - Python itself, with the name of an installed package
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT
        )
    if done.returncode:
        yield Finding(find_line(sources.init, ""), f"its import ends Python with status {done.returncode}")
    elif done.stdout:
        where, reason = json.loads(done.stdout.splitlines()[-1])
        yield Finding(shown(where), f"it cannot be imported without an app: {reason}")


def _check_site(sources: Sources) -> Iterator[Finding]:
    plugin = sources.plugin
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.py").write_text("SECRET_KEY = 'for this check'\n", encoding="utf-8")
        try:
            app = create_app(
                folder,
                TESTING=True,
                PLUGINS=needed([plugin.name]),
                PLUGIN_FAILURE="abort",
                SQLALCHEMY_DATABASE_URI=f"sqlite:///{folder}/test.db",
            )
        except BrokenPlugins as exc:
            for failure in exc.failures:
                where = shown(failure.where) or find_line(sources.init, "")
                yield Finding(where, f"{failure.plugin} ({failure.stage}): {failure.reason}")
        except ConfigError as exc:
            yield Finding(find_line(sources.init, "Config"), exc.format_message())
        else:
            yield from check_loaded(app, sources)
            with app.app_context():
                db.engine.dispose()
