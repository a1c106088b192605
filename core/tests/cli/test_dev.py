"""``flask dev``: data of plugins, tests of plugins, permissions. Databases: tests/test_dev_commands.py."""

import sys

import pytest

PERMISSIONS = """
from core.permissions import PermissionsEnum

class P(PermissionsEnum):
    LOOK = "probe_look", "Look into boxes.", True
"""
POPULATORS = """
from core.db import db
from core.test_data import TestDataPopulator
from core.users.models import User

SEEN = []

class First(TestDataPopulator):
    @classmethod
    def populate(cls):
        SEEN.append(("first", db.session.get(User, 1).username))

    @classmethod
    def unpopulate(cls):
        SEEN.append(("not first", db.session.get(User, 1).username))

class Second(TestDataPopulator):
    @classmethod
    def populate(cls):
        SEEN.append(("second", db.session.get(User, 3).username))

    @classmethod
    def unpopulate(cls):
        SEEN.append(("not second", db.session.get(User, 3).username))

POPULATORS = [First, Second]
"""


def refused(result, words):
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1), result.stderr
    assert words in result.stderr


@pytest.fixture
def insert(flask):
    """``insert()``: ``flask dev insertdata``, which has to succeed."""

    def run():
        cheap = '{"time_cost": 1, "memory_cost": 8, "parallelism": 1}'
        done = flask("dev", "insertdata", "--yes-i-know", PULSAR_ARGON2_PARAMETERS=cheap)
        assert (done.exit_code, done.stderr) == (0, "")
        return done

    return run


def test_populators_of_enabled_plugins_run_in_order(config, make_plugin, insert):
    make_plugin("probe", init=POPULATORS)
    make_plugin("idle", init=POPULATORS)
    config("PLUGINS = ['probe']")

    assert "probe: wrote its data\n" in insert().stdout
    seen = sys.modules["probe"].SEEN
    assert seen == [("first", "user_one"), ("second", "user_three")]
    insert()
    assert seen[2:4] == [("not second", "user_three"), ("not first", "user_one")]
    assert seen[4:] == seen[:2]
    assert "idle" not in sys.modules


def test_a_populator_that_fails_is_one_line(config, make_plugin, flask):
    failing = "from core.test_data import TestDataPopulator\nclass P(TestDataPopulator):\n"
    failing += "    @classmethod\n    def populate(cls):\n        raise OSError('no disk')\nPOPULATORS = [P]"
    make_plugin("probe", init=failing)
    config("PLUGINS = ['probe']")
    refused(flask("dev", "insertdata", "--yes-i-know"), "OSError: no disk")


def test_permissions_are_listed_and_those_that_are_nobodys(config, make_plugin, flask, insert):
    make_plugin("probe", permissions=PERMISSIONS)
    config("PLUGINS = ['probe']")
    insert()

    lines = [line.split() for line in flask("dev", "listperms").stdout.splitlines()]
    assert lines[0] == ["NAME", "PLUGIN", "USERS", "ALLOWS"]
    assert ["probe_look", "probe", "yes", "Look", "into", "boxes."] in lines
    rows = {row["name"]: row for row in flask("dev", "listperms", "--json").json}
    assert rows["site_god_mode"]["plugin"] == "core"
    # The keys of the base data are restricted to permissions, but nobody was given them.
    assert flask("dev", "listperms", "--orphans").stdout == "There are none.\n"

    assert flask("plugin", "disable", "probe").exit_code == 0
    assert flask("dev", "listperms", "--orphans", "--json").json == ["probe_look"]
    assert "probe_look" not in flask("dev", "listperms").stdout


@pytest.fixture
def installed(tmp_path, make_plugin, monkeypatch):
    """``installed("probe", "assert True")``: a plugin in a folder of its own, with one test."""

    def make(name, test):
        home = tmp_path / f"pulsar-{name}"
        (home / "tests").mkdir(parents=True)
        make_plugin(name).rename(home / name)
        monkeypatch.syspath_prepend(str(home))
        if test is None:
            (home / "tests").rmdir()
        else:
            body = f"def test_it():\n    {test}\n" if test else ""
            (home / "tests" / f"test_{name}.py").write_text(body)

    return make


def test_tests_run_plugin_by_plugin_and_one_that_fails_is_named(config, installed, flask, capfd):
    config("PLUGINS = []")
    for name, test in {"good": "assert True", "bad": "assert False", "bare": None, "empty": ""}.items():
        installed(name, test)

    done = flask("dev", "tests", "good")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "== good\ngood  passed\n"
    assert "1 passed" in capfd.readouterr().out

    done = flask("dev", "tests", "bad", "good", "bare", "empty")
    refused(done, "failed: bad, bare, empty")
    assert done.stdout.splitlines()[-4:] == [
        "bad    failed with status 1",
        "good   passed",
        "bare   no tests",
        "empty  no tests",
    ]
    refused(flask("dev", "tests", "ghost"), "not installed: ghost")
