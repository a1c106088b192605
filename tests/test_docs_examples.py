"""docs/plugins/first-plugin.md, done as it says: the plugin is written, installed, migrated and called."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "plugins" / "first-plugin.md"
NAMED_BLOCK = re.compile(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```", re.M | re.S)
CALL = """
from core.app import create_app
from core.db import db
from core.users import services

app = create_app()
with app.app_context():
    ann = services.create_user("ann", "correct horse 1!", "ann@example.org")
    key = services.create_key(ann)[1]
    db.session.commit()
client = app.test_client()
answer = client.post("/notes", json={"text": "buy milk"}, headers={"Authorization": f"Token {key}"})
assert answer.status_code == 201, answer.text
print(answer.text)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The plugin as the page has it, and what ``pip install -e`` leaves behind of it."""
    folder = tmp_path_factory.mktemp("pulsar-notes")
    for name, text in NAMED_BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = folder / f"pulsar_notes-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        f"Summary: {project['description']}\n"
    )
    plugins = "".join(f"{k} = {v}\n" for k, v in project["entry-points"]["pulsar.plugins"].items())
    (info / "entry_points.txt").write_text(f"[pulsar.plugins]\n{plugins}")
    (folder / "instance").mkdir()
    (folder / "instance" / "config.py").write_text(
        "SECRET_KEY = 'a secret of the test'\nPLUGINS = ['notes']\n"
    )
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (folder / "wsgi.py").write_text((ROOT / "wsgi.py").read_text(encoding="utf-8"), encoding="utf-8")
    return folder


@pytest.fixture
def run(folder):
    """Run something in the folder of the plugin; it has to succeed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PULSAR_")}
    environment |= {
        "PULSAR_INSTANCE_PATH": str(folder / "instance"),
        "PULSAR_ARGON2_PARAMETERS": '{"time_cost": 1, "memory_cost": 8, "parallelism": 1}',
        "PYTHONPATH": str(folder),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }

    def run(*command):
        done = subprocess.run(
            command, cwd=folder, env=environment, text=True, capture_output=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_first_plugin_works_as_written(folder, run):
    (commands,) = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)

    run("bash", "-ec", commands)
    (migration,) = (folder / "versions").glob("*.py")
    answer = run(sys.executable, "-c", CALL)

    assert migration.name == "notes_0001_first_tables.py"
    assert '"text": "buy milk"' in answer
    assert answer.startswith('{"status":"success","response":')


def test_its_own_tests_pass(run):
    assert re.search(
        r"\b8 passed", run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    )
