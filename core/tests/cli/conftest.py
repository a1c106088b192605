"""The configuration of an instance, and plugins that are projects of their own."""

import gc
import sys
import tomllib

import pytest

from core.db import Base


@pytest.fixture
def config(tmp_path):
    """``config("PLUGINS = []")``: writes the configuration of the instance; the file."""
    path = tmp_path / "instance" / "config.py"
    path.parent.mkdir()

    def write(text=""):
        path.write_text(f"SECRET_KEY = 'x'  # of the test\n{text}\n", encoding="utf-8")
        path.chmod(0o640)
        return path

    return write


@pytest.fixture
def announce(tmp_path, monkeypatch):
    """``announce(folder)``: what ``pip install -e`` leaves behind of the project in ``folder``."""
    before, made = set(Base.metadata.tables), set()

    def install(folder):
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        info = tmp_path / "announced" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir(parents=True)
        lines = [f"Name: {project['name']}", f"Version: {project['version']}"]
        lines += [f"Summary: {project['description']}"] if "description" in project else []
        lines += [f"Requires-Dist: {need}" for need in project["dependencies"]]
        (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, ""]))
        plugins = project["entry-points"]["pulsar.plugins"]
        entries = "".join(f"{name} = {module}\n" for name, module in plugins.items())
        (info / "entry_points.txt").write_text(f"[pulsar.plugins]\n{entries}")
        made.update(plugins.values())
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.syspath_prepend(str(info.parent))
        return folder

    yield install
    for module in [name for name in sys.modules if name.partition(".")[0] in made]:
        del sys.modules[module]
    for name in {name for name in Base.metadata.tables if not name.startswith("core_")} - before:
        Base.metadata.remove(Base.metadata.tables[name])
    gc.collect()  # the classes of models, which SQLAlchemy holds weakly
