"""Hooks around requests, and how to look at them."""

import sys

import core
from core import hookspecs

ROUTES = """
from core.blueprint import Blueprint
from core.requests import public, require_permission
from core.responses import json_response

bp = Blueprint("probe", __name__)

@bp.get("/hello")
@public
def hello():
    return json_response("hello")

@bp.get("/broken")
@public
def broken():
    1 / 0

@bp.get("/closed")
@require_permission("probe_look")
def closed():
    return json_response("closed")
"""
WATCHER = """
from flask import request
from core import hookimpl

SEEN = []

@hookimpl
def request_finished(elapsed, identity, response):
    SEEN.append((request.path, identity.user_id, response.status_code))
    assert 0 < elapsed < 60
"""


def test_finished_requests_are_told_whatever_they_came_to(make_plugin, make_site):
    make_plugin("probe", routes=ROUTES, hooks=WATCHER)
    app = make_site("probe", PROPAGATE_EXCEPTIONS=False)
    client = app.test_client()

    answers = [client.get(path) for path in ("/probe/hello", "/probe/broken", "/probe/closed", "/nowhere")]

    assert sys.modules["probe.hooks"].SEEN == [
        ("/probe/hello", None, 200),
        ("/probe/broken", None, 500),
        ("/probe/closed", None, 401),
        ("/nowhere", None, 401),
    ]
    assert [answer.status_code for answer in answers] == [200, 500, 401, 401]


def test_one_that_fails_spoils_neither_the_answer_nor_the_others(make_plugin, make_site, caplog):
    failing = "from core import hookimpl\n@hookimpl\ndef request_finished():\n    raise SystemExit('no disk')"
    make_plugin("grumpy", hooks=failing)
    make_plugin("probe", routes=ROUTES, hooks=WATCHER)
    client = make_site("grumpy", "probe").test_client()

    assert client.get("/probe/hello").json["response"] == "hello"
    assert sys.modules["probe.hooks"].SEEN == [("/probe/hello", None, 200)]
    assert "plugin grumpy: hook request_finished failed" in caplog.text


def test_a_site_without_watchers_has_nothing_to_call(make_site):
    assert make_site().extensions["pulsar"].watchers == []


def test_calls_of_hooks_can_be_traced(make_plugin, make_site, monkeypatch, caplog):
    monkeypatch.setenv("PULSAR_TRACE_HOOKS", "1")
    reserving = "from core import hookimpl\n@hookimpl\ndef reserved_usernames():\n    return ['box']"
    make_plugin("probe", routes=ROUTES, hooks=reserving + WATCHER)
    app = make_site("probe")

    app.extensions["pulsar"].hooks.hook.reserved_usernames()
    app.test_client().get("/probe/hello")

    assert "finish reserved_usernames --> [('0', '1', 'me'), ['box']]" in caplog.text
    assert "request_finished [hook]" in caplog.text
    assert "elapsed: 0." in caplog.text


def test_the_markers_are_where_authors_look_for_them():
    assert core.hookimpl is hookspecs.hookimpl
    assert core.hookspec is hookspecs.hookspec
