"""Which plugin answers for which path, and in whose words."""

import pytest

from core.plugins import BrokenPlugins

OWN_WORDS = """
from flask import abort, make_response, redirect, request
from core.blueprint import Blueprint
from core.errors import RateLimited
from core.requests import body, public, read_json, require_permission
from core.responses import json_response
from marshmallow import Schema

def plain(error):
    return make_response({{"message": error.message}}, error.status)

bp = Blueprint("{name}", __name__, envelope=False, error_formatter=plain, max_body_bytes=100{more})

@bp.get("/open")
@public
def get_open():
    return {{"bare": True}}

@bp.get("/closed")
def get_closed():
    return {{}}

@bp.get("/guarded")
@require_permission("site_god_mode")
def get_guarded():
    return {{}}

@bp.post("/read")
@public
@body(Schema())
def post_read(data):
    return {{}}

@bp.get("/busy")
@public
def get_busy():
    raise RateLimited("Slow down.", headers={{"Retry-After": "7"}})

@bp.get("/crash")
@public
def get_crash():
    return 1 / 0
"""

ANYTHING = """
from core.blueprint import Blueprint
from core.requests import public
bp = Blueprint("{name}", __name__, url_prefix="/", envelope=False{more})

@bp.get("/<uid>")
@public
def get_one(uid):
    return {{"uid": uid}}

@bp.put("/<uid>")
@public
def put_one(uid):
    return {{"uid": uid}}
"""


@pytest.fixture
def foreign(make_plugin, make_site):
    make_plugin("foreign", routes=OWN_WORDS.format(name="foreign", more=""))
    return make_site("foreign", tables=True).test_client()


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("get", "/foreign/closed", 401, "Invalid authorization."),
        ("get", "/foreign/guarded", 401, "Invalid authorization."),
        ("get", "/foreign/nothing", 404, "Resource does not exist."),
        ("get", "/foreign", 404, "Resource does not exist."),
        ("post", "/foreign/open", 405, "Method not allowed for this resource."),
        ("get", "/foreign/busy", 429, "Slow down."),
        ("get", "/foreign/crash", 500, "Something went wrong with your request."),
    ],
)
def test_errors_under_a_foreign_prefix_wear_its_words(foreign, method, path, status, message):
    answer = getattr(foreign, method)(path)
    assert (answer.status_code, answer.json) == (status, {"message": message})
    assert answer.headers["X-Request-Id"]
    if status == 405:
        assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    if status == 429:
        assert answer.headers["Retry-After"] == "7"


def test_a_large_body_and_a_bad_key_too(foreign):
    assert foreign.post("/foreign/read", data=b" " * 101).json == {
        "message": "The request body is too large."
    }
    answer = foreign.get("/foreign/open", headers={"Authorization": "Token short"})
    assert (answer.status_code, answer.json) == (401, {"message": "Invalid authorization."})
    assert foreign.get("/foreign/open").json == {"bare": True}
    assert foreign.get("/foreignx").json["error"]["code"] == "unauthenticated"


def test_a_formatter_that_fails_does_not_take_the_error_with_it(make_plugin, make_site):
    routes = OWN_WORDS.format(name="foreign", more="").replace('{"message": error.message}', "1 / 0")
    make_plugin("foreign", routes=routes)
    answer = make_site("foreign").test_client().get("/foreign/closed")
    assert (answer.status_code, answer.json["error"]["code"]) == (401, "unauthenticated")


def test_a_plugin_owns_what_it_says_though_no_rule_matches(make_plugin, make_site):
    more = ', url_prefix="/", owns=("api",)'
    make_plugin("foreign", routes=OWN_WORDS.format(name="foreign", more=more))
    client = make_site("foreign").test_client()
    assert client.get("/api/nothing").json == {"message": "Resource does not exist."}
    assert client.get("/apix").json["error"]["code"] == "unauthenticated"
    assert client.get("/api/spec.json").status_code == 200
    moved = make_site("foreign", URL_PREFIXES={"foreign": "/deep/er/"}).test_client()
    assert moved.get("/deep/er/open").json == {"bare": True}
    assert moved.get("/deep/er/nothing").json == {"message": "Resource does not exist."}
    assert moved.get("/api/nothing").status_code == 401


@pytest.mark.parametrize("method", ["get", "put", "post", "delete", "patch"])
@pytest.mark.parametrize("path", ["/users", "/health", "/there"])
def test_a_plugin_at_the_root_does_not_answer_for_the_first_segments_of_others(
    make_plugin, make_site, path, method
):
    make_plugin("there", routes=OWN_WORDS.format(name="there", more=""))
    make_plugin("root", routes=ANYTHING.format(name="root", more=""))
    without = make_site("there").test_client()
    client = make_site("root", "there").test_client()
    expected, answer = getattr(without, method)(path), getattr(client, method)(path)
    assert answer.status_code == expected.status_code
    assert answer.headers.get("Allow") == expected.headers.get("Allow")
    assert ("uid" in answer.json) is False
    assert answer.json.keys() == expected.json.keys()
    assert client.get("/else").json == {"uid": "else"}


def test_what_nobody_else_owns_is_of_the_plugin_that_takes_any_first_segment(make_plugin, make_site):
    _, _, anything = ANYTHING.partition("more})")
    make_plugin("root", routes=(OWN_WORDS + anything).format(name="root", more=', url_prefix="/"'))
    make_plugin("there", routes=OWN_WORDS.format(name="there", more=""))
    client = make_site("there", "root").test_client()
    refused = client.delete("/else")
    assert (refused.status_code, refused.json) == (405, {"message": "Method not allowed for this resource."})
    assert set(refused.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "PUT"}
    for path in ("/else/where", "/", "/there/else"):
        assert (client.get(path).status_code, client.get(path).json) == (
            404,
            {"message": "Resource does not exist."},
        )
    assert client.get("/users/else").json["error"]["code"] == "unauthenticated"
    assert client.delete("/health").json["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("prefixes", "clash"),
    [
        ({}, None),
        ({"one": "/lab/one", "two": "/lab/two"}, None),
        ({"one": "/lab", "two": "/lab/two"}, None),
        ({"one": "/", "two": "/"}, "claims GET /"),
        ({"one": "/same", "two": "/same"}, "claims GET /same/"),
        ({"two": "/users"}, "claims /users, as does core"),
        ({"two": "/users/two"}, "claims /users, as does core"),
        ({"one": "/", "two": "/open"}, "claims /open, as does one"),
        ({"one": "/", "two": "/open/two"}, "claims /open, as does one"),
    ],
)
def test_two_that_want_the_same_are_both_named(make_plugin, make_site, prefixes, clash):
    for name in ("one", "two"):
        make_plugin(name, routes=OWN_WORDS.format(name=name, more=""))
    if clash is None:
        client = make_site("one", "two", URL_PREFIXES=prefixes).test_client()
        for name in ("one", "two"):
            assert client.get(f"{prefixes.get(name, '/' + name)}/open").json == {"bare": True}
        return
    with pytest.raises(BrokenPlugins) as caught:
        make_site("one", "two", URL_PREFIXES=prefixes)
    reasons = {failure.plugin: failure.reason for failure in caught.value.failures}
    assert clash in reasons["two"]
    assert set(reasons) == {"two"}


def test_rules_that_differ_only_in_names_clash(make_plugin, make_site):
    make_plugin("one", routes=ANYTHING.format(name="one", more=""))
    make_plugin("two", routes=ANYTHING.format(name="two", more="").replace("uid", "other"))
    with pytest.raises(BrokenPlugins, match="/<string>, as does one"):
        make_site("one", "two")


def test_a_plugin_that_mounts_itself_cannot_be_moved_silently(make_plugin, make_site):
    make_plugin(
        "own",
        init="from own.routes import bp\ndef init_app(app):\n    app.register_blueprint(bp)",
        routes=OWN_WORDS.format(name="own", more=', url_prefix="/mine"'),
    )
    assert make_site("own").test_client().get("/mine/closed").json == {"message": "Invalid authorization."}
    with pytest.raises(BrokenPlugins, match="URL_PREFIXES cannot move it"):
        make_site("own", URL_PREFIXES={"own": "/elsewhere"})
