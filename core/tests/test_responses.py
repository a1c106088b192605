"""What goes out: envelope, headers, errors, and what is left alone."""

import logging
import re

import pytest

from core.conftest import KEY_OF_USER_1, add_permissions
from core.logs import Formatter
from core.openapi import VARIABLE
from core.requests import route_info

pytestmark = pytest.mark.any_database


@pytest.fixture
def site(sample):
    return sample.test_client()


@pytest.fixture
def known(sample):
    client = sample.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Token {KEY_OF_USER_1}"
    return client


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        ("text", 200, b"{}"),
        ("empty", 204, b""),
        ("json204", 204, b""),
        ("unchanged", 304, b""),
        ("stream", 200, b"[1,2]"),
        ("string", 200, '{"status":"success","response":"ä"}'.encode()),
        ("none", 200, b'{"status":"success","response":null}'),
    ],
)
def test_only_json_that_is_not_streamed_is_enveloped(site, kind, status, body):
    answer = site.get(f"/sample/answers/{kind}")
    assert (answer.status_code, answer.data) == (status, body)


def test_a_redirect_passes(site):
    answer = site.get("/sample/answers/elsewhere")
    assert (answer.status_code, answer.location) == (302, "/health")


def test_head_has_the_headers_of_get_and_no_body(site):
    got, head = site.get("/sample/answers/string"), site.head("/sample/answers/string")
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"]


def test_an_error_that_a_view_built_by_hand_is_enveloped_too(site):
    answer = site.get("/sample/answers/byhand")
    assert answer.status_code == 409
    assert (answer.json["status"], answer.json["response"]) == ("failed", "Conflict")
    assert answer.json["error"]["code"] == "conflict"
    assert answer.json["error"]["details"] == {"odd": 1}


def test_every_answer_carries_the_headers_that_protect(site, known):
    for answer in (site.get("/health"), site.get("/nothing"), known.get("/users/me")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert known.get("/users/me").headers["Cache-Control"] == "no-store"
    assert known.get("/sample/answers/cached").headers["Cache-Control"] == "max-age=5"
    assert "Cache-Control" not in site.get("/health").headers


def test_the_requests_id_is_the_callers_if_it_is_harmless(site):
    assert site.get("/health", headers={"X-Request-Id": "a.B-9_"}).headers["X-Request-Id"] == "a.B-9_"
    for bad in ("", "a b", "x" * 65, "ä"):
        given = site.get("/health", headers={"X-Request-Id": bad}).headers["X-Request-Id"]
        assert re.fullmatch("[0-9a-f]{16}", given)


def test_an_unknown_route_looks_like_a_hidden_one_to_strangers(sample, site, known):
    for path in ("/nothing", "/sample/nothing", "/sample/hidden"):
        assert site.get(path).status_code == 401
        assert site.get(path).json["response"] == "Invalid authorization."
        assert known.get(path).status_code == 404
        assert known.get(path).json["response"] == "Resource does not exist."
    add_permissions(sample, "sample_look")
    assert known.get("/sample/hidden").json["response"] == "seen"


def test_strangers_cannot_tell_a_route_from_none_by_any_method(sample, site):
    """Except where some method is open to all."""
    adapter = sample.url_map.bind("localhost")
    hidden = 0
    for rule in sample.url_map.iter_rules():
        path = VARIABLE.sub("7", rule.rule)
        rules = [adapter.match(path, way, return_rule=True)[0] for way in adapter.allowed_methods(path)]
        if not any(route_info(sample.view_functions[rule.endpoint]).public for rule in rules):
            hidden += 1
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
                answers = [site.open(where, method=method) for where in (path, "/nothing")]
                assert {answer.status_code for answer in answers} == {401}, (method, path)
                assert len({answer.headers.get("Allow") for answer in answers}) == 1
    assert hidden > 20


def test_a_number_in_a_path_is_written_in_one_way(sample, known):
    add_permissions(sample, "users_view")
    assert known.get("/users/2").status_code == 200
    for other in ("٢", "२", "+2", "2.0", "0x2"):
        assert known.get(f"/users/{other}").status_code == 404


def test_addresses_of_pages_have_the_prefix_of_the_proxy(sample, known):
    add_permissions(sample, "users_view")
    link = known.get("/users?limit=25", environ_overrides={"SCRIPT_NAME": "/data"}).headers["Link"]
    assert link.startswith("</data/users?limit=25&page=1>")


def test_a_wrong_method_says_which_are_right(known):
    answer = known.post("/sample/hidden")
    assert (answer.status_code, answer.json["error"]["code"]) == (405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_slashes_at_the_end_do_not_matter(known):
    answers = [known.get("/users/me"), known.get("/users/me/")]
    assert [answer.json["response"]["id"] for answer in answers] == [1, 1]


@pytest.mark.parametrize(
    ("name", "status"),
    [("ValueError", 500), ("KeyError", 500), ("RecursionError", 500), ("huge", 400), ("MemoryError", 500)],
)
def test_an_exception_is_logged_and_not_told(site, caplog, name, status):
    with caplog.at_level(logging.ERROR):
        answer = site.get(f"/sample/raise/{name}")
    assert answer.status_code == status
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    if status == 500:
        assert answer.json["response"] == "Something went wrong with your request."
        assert answer.json["error"]["request_id"] == answer.headers["X-Request-Id"]
        assert any(record.exc_info and "get_raise" in caplog.text for record in caplog.records)


def test_a_line_of_the_log_cannot_be_forged(site, caplog):
    with caplog.at_level(logging.INFO, logger="pulsar.access"):
        site.get("/x%0Afaked%1b[31m%E2%80%A8line")
    (record,) = [record for record in caplog.records if record.name == "pulsar.access"]

    for form in ("text", "json"):
        line = Formatter(form).format(record)
        assert len(line.splitlines()) == 1
        assert "\x1b" not in line
        assert "faked" in line
