"""Whatever is sent to a call of core: a sentence that says what is wrong, nothing changed, and never a 500.

The calls, and what each of them takes, are read from the app and from its own description; a new call is
tested without another line here.
"""

import json
import re

import jsonschema
import pytest
from sqlalchemy import select

from core.conftest import KEY_OF_USER_1, add_permissions
from core.db import Base, db
from core.notifications import notify
from core.openapi import VARIABLE
from core.requests import route_info
from core.routes import bps

pytestmark = pytest.mark.any_database

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
DEEP = "[" * 100_000 + "]" * 100_000
# What is written down of refusals themselves.
BOOKS = ("core_events", "core_login_failures")
LOOKED_AT_LAST = ("code",)  # when all the rest of a registration is right

WHOLE_BODIES = [
    b"[]",
    b'"x"',
    b"1",
    b"null",
    b"true",
    b"{",
    b"\x00",
    b"\xff\xfe",
    b"{}{}",
    b'{"colour": 1, "colour": 2}',
    b'{"colour": NaN}',
    b'{"colour": 1e999}',
    b'{"colour": ' + b"9" * 5000 + b"}",
    b'{"colour": "\xed\xa0\x80"}',
    DEEP.encode(),
    f'{{"colour": {DEEP}}}'.encode(),
    "{}".encode("utf-16"),
]
# Some are right for one field and wrong for another; the description says which.
VALUES = [
    None,
    True,
    0,
    -1,
    1.5,
    2**31,
    2**63,
    -(2**63) - 1,
    10**400,
    1e300,
    "",
    " ",
    "0",
    "x" * 100_000,
    "é🏎\u202e\u0085",
    "' OR '1'='1' --",
    "1; DROP TABLE core_users; --",
    "{{7*7}}${7*7}<%= 7*7 %>#{7*7}",
    "%s%n%x {0.__class__}",
    "../../../etc/passwd",
    "<script>alert(1)</script>",
    "line\r\nSet-Cookie: a=b",
    [],
    [None],
    ["x" * 65],
    [[["x"]]],
    list(range(2000)),
    {},
    {"": True},
    {"x" * 65: True},
    {"a": {"b": [1]}},
]
NEVER = ["\x00", "a\x00b", "\ud800", ["\x00"], {"\x00": True}]  # no field takes them
QUERY_VALUES = [
    "",
    " ",
    "-1",
    "0",
    "1.5",
    "9" * 19,
    "9" * 5000,
    "x" * 5000,
    "%D9%A3",
    "%00",
    "%FF",
    "%ED%A0%80",
    "[]",
    "true;false",
    "%27%20OR%201=1%20--",
    "{{7*7}}",
]
PARTS = [
    "%00",
    "a%00b",
    "%FF",
    "%ED%A0%80",
    "-1",
    "1.5",
    "9223372036854775808",
    "9" * 400,
    "x" * 5000,
    "'",
    "%25",
    "%0d%0a",
    "%2e%2e%2fconfig.py",
    "..%5c",
    "%F0%9F%8F%8E",
    "{{7*7}}",
    "%D9%A3",
]


@pytest.fixture
def admin(app, client_of, clean_database):
    """``admin("PUT", "/users/2", b"{}")``: the answer to a caller who may do anything."""
    add_permissions(app, "site_god_mode")
    notify(1, "core_news", None)
    db.session.commit()
    client = client_of(KEY_OF_USER_1)
    client.get("/users/me")  # its use is written down now, and not again for a while
    return lambda method, path, data=b"": client.open(path, method=method, data=data)


def calls(app, blueprint):
    """The rules of a blueprint, each with one of its methods and its function's declarations."""
    for rule in app.url_map.iter_rules():
        if rule.endpoint.partition(".")[0] == blueprint:
            for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
                yield rule, method, route_info(app.view_functions[rule.endpoint])


def path_of(rule, **parts):
    """A path that the rule matches: user 2, key ``x``; or with other parts in it."""
    return VARIABLE.sub(
        lambda found: parts.get(found["name"], "2" if found["kind"] == "int" else "x"), rule.rule
    )


def everything(app):
    """Every row of every table that no refusal may change."""
    with app.app_context():
        tables = [table for table in Base.metadata.sorted_tables if table.name not in BOOKS]
        return {table.name: sorted(map(repr, db.session.execute(select(table)))) for table in tables}


@pytest.fixture
def unchanged(app, admin):
    """What is in the database is the same after the test."""
    before = everything(app)
    yield
    assert everything(app) == before


@pytest.fixture
def described(app):
    return app.test_client().get("/api/spec.json").json


def body_of(described, rule, method):
    """The description of what a call takes in its body, by key; its types spelled out."""
    path = VARIABLE.sub(r"{\g<name>}", rule.rule)
    content = described["paths"][path][method.lower()]["requestBody"]["content"]
    name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
    return described["components"]["schemas"][name]["properties"]


def query_of(described, rule, method):
    path = VARIABLE.sub(r"{\g<name>}", rule.rule)
    parameters = described["paths"][path][method.lower()].get("parameters", [])
    return {one["name"]: one["schema"] for one in parameters if one["in"] == "query"}


def refused(answer, *keys):
    """The answer is a 400 in the words of this site, which name these keys."""
    assert answer.status_code == 400, (answer.status_code, answer.text[:300])
    error = answer.json["error"]
    assert error["code"] in ("bad_json", "validation_failed", "bad_request")
    assert len(answer.data) < 10_000
    for key in keys:
        assert any(path.split(".")[0] == key for path in error["details"]), (key, error)


def harmless(answer):
    """Whatever it is, it is no accident, and it tells nothing of the site."""
    assert answer.status_code < 500, answer.text[:300]
    for word in ("Traceback", "sqlalchemy", "site-packages", "SELECT "):
        assert word not in answer.text


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("blueprint", [bp.name for bp in bps])
def test_what_a_call_does_not_take_is_refused_by_name(app, admin, described, blueprint):
    mounts = app.extensions["pulsar"].mounts
    for rule, method, info in calls(app, blueprint):
        path = path_of(rule)
        if mounts[blueprint].envelope:
            refused(admin(method, f"{path}?colour=1"), "colour")
            if method == "DELETE":
                refused(admin(method, path, b'{"colour": 1}'), "colour")
        if info.body is None:
            continue
        for data in WHOLE_BODIES:
            refused(admin(method, path, data))
        refused(admin(method, path, b'{"colour": 1}'), "colour")
        for key, schema in body_of(described, rule, method).items():
            validator = jsonschema.Draft202012Validator(schema)
            for value in VALUES:
                wrong = "colour" if validator.is_valid(value) or key in LOOKED_AT_LAST else key
                refused(admin(method, path, json.dumps({key: value, "colour": 1})), wrong)
            for value in NEVER:
                refused(admin(method, path, json.dumps({key: value, "colour": 1})))


@pytest.mark.parametrize("blueprint", [bp.name for bp in bps])
def test_no_value_of_a_body_is_an_accident(app, admin, described, blueprint):
    for rule, method, info in calls(app, blueprint):
        for key in body_of(described, rule, method) if info.body is not None else ():
            for value in VALUES:
                harmless(admin(method, path_of(rule), json.dumps({key: value})))


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("blueprint", [bp.name for bp in bps])
def test_a_query_of_another_form_is_refused_by_name(app, admin, described, blueprint):
    for rule, method, _ in calls(app, blueprint):
        if method != "GET":
            continue
        for key, schema in query_of(described, rule, method).items():
            for value in QUERY_VALUES:
                answer = admin(method, f"{path_of(rule)}?{key}={value}")
                harmless(answer)
                if schema["type"] != "string" and not re.fullmatch("-?[0-9]{1,18}", value):
                    refused(answer, key)
            refused(admin(method, f"{path_of(rule)}?{key}=1&{key}=1"), key)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("blueprint", [bp.name for bp in bps])
def test_a_path_that_means_nothing_is_found_nowhere(app, admin, blueprint):
    for rule, method, _ in calls(app, blueprint):
        for name in rule.arguments:
            for part in PARTS:
                answer = admin(method, path_of(rule, **{name: part}), b'{"colour": 1}')
                harmless(answer)
                assert answer.status_code in (400, 403, 404, 405), (method, rule.rule, part)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("blueprint", [bp.name for bp in bps])
def test_another_method_is_405_and_the_right_ones_are_named(app, admin, blueprint):
    adapter = app.url_map.bind("localhost")
    for rule, _, _ in calls(app, blueprint):
        path = path_of(rule)
        allowed = set(adapter.allowed_methods(path))
        for method in {*METHODS, "TRACE", "BREW"} - allowed:
            answer = admin(method, path)
            assert answer.status_code == 405, (method, path)
            assert set(answer.headers["Allow"].split(", ")) == allowed
