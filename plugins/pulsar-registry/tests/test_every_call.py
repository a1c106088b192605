"""Every call of the registry: errors are JSON with a message, and nothing that is sent is a 500."""

import json
import re

import pytest
from registry_kit import Person

from core.site import site_of

pytestmark = pytest.mark.any_database

ODD = ["%00", "%F0%9F%8E%89", "é" * 300, "a@b", "' OR 1=1", "%2F"]
BODIES = [b"null", b"{", b'{"hash": 1}', b"\xff", b"[[[[1]]]]"]
NO_BODY = {"/api/logout", "/api/refresh", "/api/access/<owner>/<name>/<user>", "/api/token"}
SLOW = "/api/users/create"  # makes a digest of a password each time; tested elsewhere


def calls(app):
    """Method and rule of every call below the registry's paths."""
    for rule in app.url_map.iter_rules():
        mount = site_of(app).mounts.get(rule.endpoint.partition(".")[0])
        if mount and mount.plugin == "registry":
            for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
                yield method, rule.rule


def fill(rule, value):
    return re.sub(r"<[^>]+>", value, rule)


def check(answer, path):
    assert answer.status_code < 500 or answer.status_code in (501, 503), (path, answer.text)
    if answer.status_code >= 400 and not path.startswith("/packages"):
        found = json.loads(answer.data)
        assert isinstance(found["message"], str), path
        assert found["message"], path
        assert found.keys() >= {"message", "code", "request_id"}, path
        assert "Traceback" not in answer.text


@pytest.fixture
def admin(app, people, user_factory, api_key_factory):
    client = app.test_client()
    key = api_key_factory(user_factory("boss", "site_god_mode"))
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return Person("boss", client)


@pytest.mark.parametrize("value", ODD)
def test_odd_names_are_answered_in_the_words_of_the_registry(app, people, admin, value):
    for method, rule in calls(app):
        path = fill(rule, value)
        if path == rule or rule == SLOW:
            continue
        for person in (people.nobody, admin):
            check(person.client.open(path, method=method, json={}), path)


@pytest.mark.parametrize("body", BODIES)
def test_odd_bodies_are_answered_in_the_words_of_the_registry(app, people, admin, body):
    for method, rule in calls(app):
        if method in ("GET", "DELETE") or rule == SLOW:
            continue
        path = fill(rule, "p")
        check(admin.client.open(path, method=method, data=body, content_type="application/json"), path)


def test_a_damaged_gzip_is_a_bad_request(app, people, admin):
    for method, rule in calls(app):
        if method not in ("GET", "DELETE") and rule not in (SLOW, *NO_BODY):
            path = fill(rule, "p")
            answer = admin.client.open(path, method=method, data=b"no", headers={"Content-Encoding": "gzip"})
            check(answer, path)
            assert answer.status_code in (400, 403, 404, 413), path


def test_a_slash_at_the_end_or_none_is_the_same_call(app, people, public_site):
    people.ann.push("ann/p", {"a": b"1"}, is_public=True)
    values = {"owner": "ann", "name": "p", "user": "ann", "tag": "latest", "version": "1.0", "path": "a"}
    seen = 0
    for method, rule in calls(app):
        if method != "GET" or "code" in rule:
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: values.get(match[1], "0" * 64), rule).rstrip("/")
        if not path:
            continue
        answers = [people.ann.get(path), people.ann.get(f"{path}/")]
        assert answers[0].status_code == answers[1].status_code != 308, path
        seen += 1
    assert seen > 15


def test_a_method_that_no_call_has_is_405_in_the_same_words(app, people):
    for path in ("/api/version/ann/p/1.0", "/api/log/ann/p/", "/api/token", "/healthcheck"):
        answer = people.ann.delete(path)
        assert answer.status_code == 405, path
        assert "DELETE" not in answer.headers["Allow"]
        if path.startswith("/api"):
            assert isinstance(answer.json["message"], str)


def test_who_has_no_right_never_gets_401(app, people, user_factory, api_key_factory):
    key = api_key_factory(user_factory("carl"))  # of class User, which may read and push
    restricted = api_key_factory(user_factory("dora", "users_view"), permissions=["users_view"])
    for text in (key, restricted):
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {text}"
        for method, rule in calls(app):
            # These say 401 of what is in the body; and these end the key that asks.
            if rule in ("/api/token", "/api/login", "/api/change_password", "/api/logout", "/api/refresh"):
                continue
            answer = client.open(fill(rule, "p"), method=method, json={})
            assert answer.status_code != 401, (method, rule)
