"""``flask plugin new``: what it writes works as it is, whatever its name."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import forked
import pytest

from core.cli.plugin_new import LONGEST, render

ROOT = Path(__file__).parents[1]
LONG = ("a-name-as-long-as-it-can-be" + "x" * LONGEST)[:LONGEST]
VARIANTS = {"notes": True, LONG: False}  # with models?


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A plugin of either kind, written by the command and announced as pip would do it."""
    folder = tmp_path_factory.mktemp("new")
    for name, models in VARIANTS.items():
        options = [] if models else ["--no-models"]
        done = forked.run(["plugin", "new", name, *options], cwd=folder, env=os.environ, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"pip install -e pulsar-{name}\n" in done.stdout
        assert f'pulsar-{name} = {{path = "pulsar-{name}", editable = true}}\n' in done.stdout
        announce(folder / f"pulsar-{name}")
    (folder / "instance").mkdir()
    (folder / "instance" / "config.py").write_text('SECRET_KEY = "for this test"\nPLUGINS = []\n')
    return folder


def announce(home):
    project = tomllib.loads((home / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = home / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        f"Summary: {project['description']}\nRequires-Dist: {project['dependencies'][0]}\n"
    )
    (plugin,) = project["entry-points"]["pulsar.plugins"].items()
    (info / "entry_points.txt").write_text(f"[pulsar.plugins]\n{plugin[0]} = {plugin[1]}\n")


@pytest.fixture
def environment(folder):
    keep = {name: value for name, value in os.environ.items() if not name.startswith("PULSAR_")}
    return keep | {
        "PULSAR_INSTANCE_PATH": str(folder / "instance"),
        "PYTHONPATH": os.pathsep.join(str(folder / f"pulsar-{name}") for name in VARIANTS),
    }


@pytest.fixture
def run(environment):
    """``run(folder, "ruff", "check")``: a tool for Python, which has to succeed; what it printed."""

    def run(cwd, *command):
        command = [sys.executable, "-m", *command]
        done = subprocess.run(command, cwd=cwd, env=environment, text=True, capture_output=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("name", VARIANTS)
def test_it_keeps_the_contract(folder, environment, name):
    done = forked.run(["plugin", "check", name], cwd=folder, env=environment, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{name} keeps the contract\n", "")


@pytest.mark.parametrize("name", VARIANTS)
def test_its_own_tests_pass(folder, run, name, request):
    databases = request.config.getoption("--databases")
    said = run(folder / f"pulsar-{name}", "pytest", "-q", "-p", "no:cacheprovider", "--databases", databases)
    assert " passed" in said
    assert "failed" not in said


def test_its_style_is_that_of_the_project(folder, run):
    run(folder, "ruff", "check", "--no-cache", ".")
    run(folder, "ruff", "format", "--no-cache", "--check", ".")


def test_its_types_are_strict(folder, run):
    # Not that of the project: with other options each would throw away what the other knows.
    cache = ["--cache-dir", str(ROOT / ".mypy_cache" / "new_plugin")]
    packages = [str(folder / f"pulsar-{name}" / name.replace("-", "_")) for name in VARIANTS]
    run(folder, "mypy", "--config-file", "pulsar-notes/pyproject.toml", *cache, *packages)


def test_it_is_enabled_migrated_and_called(folder, environment):
    def flask(*arguments):
        done = forked.run(arguments, cwd=ROOT, env=environment, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    for name in VARIANTS:
        flask("plugin", "enable", name)
    assert "notes: upgraded base -> notes_0001" in flask("db", "upgrade")
    assert flask("db", "check") == "Models and database agree.\n"
    flask("dev", "insertdata", "--yes-i-know")
    assert flask("notes", "count") == "2\n"
    assert flask(LONG, "greet", "ann") == "Hello, ann.\n"


@pytest.mark.parametrize("name", ["q", "zoo", "b2", "data-viewer"])
@pytest.mark.parametrize("models", [True, False])
def test_its_style_depends_on_no_name(tmp_path, run, name, models):
    for path, text in render(name, models=models).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    run(tmp_path, "ruff", "check", "--no-cache", ".")
    run(tmp_path, "ruff", "format", "--no-cache", "--check", ".")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Notes", "lower-case letters"),
        ("a--b", "lower-case letters"),
        ("../x", "lower-case letters"),
        ("x" * (LONGEST + 1), "longer than 27"),
        ("registry", "there is one of this name"),
        ("core", "there is one of this name"),
        ("jobs", "flask jobs is a command"),
        ("users", "/users belongs to core"),
        ("class", "means something in Python"),
        ("json", "means something in Python"),
    ],
)
def test_some_names_are_refused(tmp_path, name, reason):
    done = forked.run(["plugin", "new", name], cwd=tmp_path, env=os.environ, timeout=60)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert reason in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    mine = tmp_path / "mine" / "pulsar-notes" / "README.md"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    done = forked.run(["plugin", "new", "notes", "--dest", "mine"], cwd=tmp_path, env=os.environ, timeout=60)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]


def test_a_checkout_has_its_plugins_together(tmp_path):
    (tmp_path / "plugins").mkdir()
    done = forked.run(["plugin", "new", "notes"], cwd=tmp_path, env=os.environ, timeout=60)
    assert done.returncode == 0
    assert (tmp_path / "plugins" / "pulsar-notes" / "versions" / "notes_0001_first_tables.py").is_file()
    assert [path.name for path in (tmp_path / "plugins").iterdir()] == ["pulsar-notes"]
