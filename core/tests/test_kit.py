"""The test kit, as a plugin that has nothing else uses it: its conftest, its database, its data."""

import os
import subprocess
import sys
import textwrap

import pytest
from sqlalchemy import select

from core.conftest import CODE_1, CODE_2, CODE_3, CODE_4
from core.db import db
from core.users.models import Invite

# What plugins of the first hour have.
CONFTEST = """
from core.conftest import *  # noqa
from core.conftest import PLUGINS, UNPOPULATE_FUNCTIONS
import pytest, probe

@pytest.fixture(autouse=True)
def populate_db(client):
    probe.SEEN.append("populate")
    probe.STORED.add("row")

def unpopulate_database(client):
    assert client.get("/health").status_code == 200
    probe.SEEN.append("unpopulate")
    probe.STORED.clear()

def unpopulate_first():
    probe.SEEN.append("first")

PLUGINS.append(probe)
UNPOPULATE_FUNCTIONS.append(unpopulate_database)
UNPOPULATE_FUNCTIONS.append(unpopulate_first)
"""
TEMPLATE_TESTS = """
import probe

def test_each_test_begins_clean(authed_client):
    assert probe.SEEN == ["first", "unpopulate", "populate"]
    probe.STORED.add("rest of a test")
    assert authed_client.get("/base/hello").status_code == 200

def test_the_second_too(authed_client):
    assert probe.SEEN == ["first", "unpopulate", "populate"] * 2
    assert probe.STORED == {"row"}
"""
POPULATED = """
import base
import pytest
from core.conftest import PLUGINS, POPULATORS
from core.test_data import TestDataPopulator

class First(TestDataPopulator):
    @classmethod
    def populate(cls):
        base.SEEN.append("first")

    @classmethod
    def unpopulate(cls):
        base.SEEN.append("not first")

class Second(TestDataPopulator):
    @classmethod
    def populate(cls):
        base.SEEN.append("second")

PLUGINS.append(base)
POPULATORS.append(First)
POPULATORS.append(Second)
"""
POPULATED_TESTS = """
import base
from core.site import site_of

def test_populators_run_in_order_after_they_were_undone(client):
    assert base.SEEN == ["not first", "first", "second"]

def test_hooks_are_recorded(app, user_factory, hook_recorder):
    user_factory("ann")
    site_of(app).hooks.hook.reserved_usernames()
    found = [(call.name, call.arguments, call.result) for call in hook_recorder]
    assert ("reserved_usernames", {}, [("0", "1", "me"), ["base"]]) in found
    assert hook_recorder[0].name == "reserved_usernames"

def test_and_only_those_of_the_test(hook_recorder):
    assert hook_recorder == []
"""
BASE = """
from core.blueprint import Blueprint
from core.requests import login_required
from core.responses import json_response

SEEN = []
bp = Blueprint("base", __name__)

@bp.get("/hello")
@login_required
def hello():
    return json_response("hello")
"""
BASE_HOOKS = """
from core.hookspecs import hookimpl

@hookimpl
def reserved_usernames():
    return ["base"]
"""


@pytest.fixture
def suite(tmp_path, make_plugin):
    """``suite(conftest, tests)``: what pytest says of this suite, in a process of its own."""
    make_plugin("base", init=BASE, hooks=BASE_HOOKS)
    folder = make_plugin("probe", init="REQUIRES = ['base']\nSEEN = []\nSTORED = set()").parent

    def run(conftest, tests, **environment):
        (tmp_path / "tests").mkdir()
        (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
        (tmp_path / "tests" / "conftest.py").write_text(textwrap.dedent(conftest))
        (tmp_path / "tests" / "test_probe.py").write_text(textwrap.dedent(tests))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
        environment = os.environ | {"PYTHONPATH": str(folder)} | environment
        return subprocess.run(
            command, cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=120
        )

    return run


def test_the_conftest_of_older_plugins_works_as_it_is(suite):
    done = suite(CONFTEST, TEMPLATE_TESTS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_populators_and_recorded_hooks(suite):
    done = suite(POPULATED, POPULATED_TESTS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


@pytest.mark.parametrize("address", ["sqlite:////tests/site.db", "postgresql+psycopg://db/site", "sqlite://"])
def test_a_database_that_is_not_for_tests_is_refused_before_anything_runs(suite, address):
    done = suite(CONFTEST, TEMPLATE_TESTS, PULSAR_TEST_DATABASE_URI=address)
    assert done.returncode == 4
    assert "is not for tests: its name lacks 'test'" in done.stderr
    assert "passed" not in done.stdout


def test_a_database_that_a_conftest_chose_is_looked_at_too(suite):
    own = "@pytest.fixture(scope='session')\ndef database(tmp_path_factory):\n"
    own += "    return f'sqlite:///{tmp_path_factory.mktemp(\"tests\")}/site.db'\n"
    done = suite(CONFTEST + own, TEMPLATE_TESTS)
    assert done.returncode == 1
    assert "site.db is not for tests" in done.stdout


def test_the_base_data_has_invites_of_each_kind(client):
    found = {invite.code: invite for invite in db.session.scalars(select(Invite))}
    assert {code: (row.inviter_id, row.expired, row.invitee_id) for code, row in found.items()} == {
        CODE_1: (1, True, 2),
        CODE_2: (1, False, None),
        CODE_3: (1, True, None),
        CODE_4: (2, False, None),
    }
    body = {"username": "ann", "password": "correct horse 1!", "email": "ann@example.org"}
    assert client.post("/users", json=body | {"code": CODE_3}).status_code == 400
    assert client.post("/users", json=body | {"code": CODE_4}).status_code == 200
