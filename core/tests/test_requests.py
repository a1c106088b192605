"""What comes in: bodies and queries, good and bad."""

import gzip
import json
import tracemalloc

import pytest

from core.conftest import KEY_OF_USER_1

pytestmark = pytest.mark.any_database


@pytest.fixture
def site(sample):
    return sample.test_client()


def test_a_body_needs_no_content_type_and_unknown_keys_are_named(site):
    good = site.post("/sample/things", data=b'{"name": "a", "size": 3.0}')
    assert (good.status_code, good.json["response"]) == (201, {"name": "a", "size": 3})
    bad = site.post("/sample/things", data=b'{"name": 1, "colour": 2}')
    assert bad.status_code == 400
    assert bad.json["error"]["code"] == "validation_failed"
    assert set(bad.json["error"]["details"]) == {"name", "colour"}
    assert bad.json["response"].startswith("Invalid data: ")
    assert '(key "' in bad.json["response"]
    assert "name" in site.post("/sample/things", data=b"").json["error"]["details"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b'{"name": NaN}',
        b'{"name": "a", "more": Infinity}',
        b'{"name": "a", "more": 1e999}',
        b'{"name": "a", "name": "b"}',
        b'{"name": "a", "more": {"x": 1, "x": 2}}',
        b'{"name": "\xff"}',
        b'{"name": "a", "more": ' + b"9" * 5000 + b"}",
        "\ufeff{}".encode(),
        '{"name": "a"}'.encode("utf-16"),
    ],
    ids=range(11),
)
def test_what_is_not_json_is_400(site, body):
    answer = site.post("/sample/things", data=body)
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "bad_json")
    assert answer.json["response"] == "Unable to decode data. Is it valid JSON?"


@pytest.mark.parametrize("depth", [301, 500, 900, 100_000])
def test_json_that_is_too_deep_is_400(site, depth):
    answer = site.post("/sample/things", data=b'{"name": "a", "more": ' + b"[" * depth + b"]" * depth + b"}")
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "bad_json")
    assert answer.json["response"] == "The JSON is nested too deeply."


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'"text"',
        b'{"name": "a\\u0000b"}',
        b'{"name": "a", "more": ["\\u0000"]}',
        b'{"name": "a", "more": {"\\u0000": 1}}',
        b'{"name": "\\ud800"}',
        b'{"name": "a", "size": 9223372036854775808}',
        b'{"name": "a", "size": 1e300}',
        b'{"name": "a", "size": 1.5}',
        b'{"name": "a", "size": true}',
        b'{"name": "a", "size": "3"}',
        b'{"name": null}',
    ],
)
def test_json_that_cannot_be_meant_is_400(site, body):
    answer = site.post("/sample/things", data=body)
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "validation_failed")
    assert answer.json["response"].startswith("Invalid data: ")


def test_a_text_that_cannot_be_stored_is_named(site):
    body = b'{"name": "a", "more": [{"x": "\\u0000"}]}'
    assert list(site.post("/sample/things", data=body).json["error"]["details"]) == ["more"]
    assert list(site.get("/sample/things?tags=%00").json["error"]["details"]) == ["tags"]


def test_a_large_body_of_mistakes_does_not_come_back_larger(site, client):
    """The first few are named; those of a list that is too long are not even looked at."""
    for path, body in (
        ("/sample/things", b"{" + b",".join(b'"%d":0' % number for number in range(100_000)) + b"}"),
        ("/sample/things", b'{"%s": 1}' % (b"x" * 100_000)),
        ("/sample/things?" + "&".join(f"k{number}=1" for number in range(1000)), b""),
        ("/api_keys", b'{"permissions": [' + b"[]," * 100_000 + b"0]}"),
    ):
        answer = site.open(path, method="POST" if body else "GET", data=body)
        assert (answer.status_code, answer.json["error"]["code"]) == (400, "validation_failed")
        assert len(answer.data) < 5000
        assert len(answer.json["error"]["details"]) <= 20
    assert answer.json["error"]["details"] == {"permissions": ["Longer than maximum length 1000."]}


def test_what_a_route_does_not_take_is_refused_by_name(sample, site, client_of):
    known = client_of(KEY_OF_USER_1)
    for answer in (known.get("/users/me?colour=1"), known.delete("/sessions/current", json={"colour": 1})):
        assert (answer.status_code, answer.json["error"]["details"]) == (400, {"colour": ["Unknown field."]})
    assert known.delete("/sessions/current", data=b"[]").status_code == 400
    assert known.delete("/sessions/current", data=b"{}").status_code == 404
    # Who may not call it learns nothing of what it takes.
    assert known.get("/sample/hidden?colour=1").status_code == 404
    assert known.get("/users/1?colour=1").status_code == 403
    assert site.get("/users/me?colour=1").status_code == 401


def test_emoji_and_deep_enough_values_come_back_as_they_went(site):
    body = {"name": "Zoë 🏎", "more": [[[[{"a": [1, 2.5, None, True]}]]]]}
    assert site.post("/sample/things", json=body).json["response"] == body


def test_a_zipped_body_is_unzipped_within_the_limit(site):
    def post(data, encoding="gzip"):
        return site.post("/sample/things", data=data, headers={"Content-Encoding": encoding})

    zipped = gzip.compress(b'{"name": "a"}')
    assert post(zipped).json["response"] == {"name": "a"}
    assert post(b'{"name": "a"}', "identity").status_code == 201
    bomb = post(gzip.compress(b" " * 30_000_000))
    assert (bomb.status_code, bomb.json["error"]["code"]) == (413, "too_large")
    for damaged in (zipped[:-3], b"x" + zipped, zipped + b"x", b""):
        assert post(damaged).status_code == 400
    unknown = post(zipped, "br")
    assert (unknown.status_code, unknown.json["error"]["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("value", [b"[]", b"{}", b"[[[[1]]]]", b'{"a":[]}', b"1234"])
def test_a_body_of_very_many_values_is_refused_before_they_take_memory(site, value):
    body = b'{"name":"a","more":[' + b",".join([value] * 300_000) + b"]}"
    tracemalloc.start()
    answer = site.post("/sample/things", data=body)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (answer.status_code, answer.json["error"]["code"]) == (413, "too_large")
    assert most < 2**24


def test_a_body_over_the_limit_is_413(sample, monkeypatch):
    monkeypatch.setitem(sample.config, "MAX_CONTENT_LENGTH", 1024)
    answer = sample.test_client().post("/sample/things", data=json.dumps({"name": "a" * 1024}))
    assert (answer.status_code, answer.json["error"]["code"]) == (413, "too_large")


def test_a_query_has_defaults_and_is_coerced(site):
    assert site.get("/sample/things").json["response"] == {"page": 1, "limit": 50}
    answer = site.get("/sample/things?page=2&limit=25&deep=TRUE&tags=a&tags=b")
    assert answer.json["response"] == {"page": 2, "limit": 25, "deep": True, "tags": ["a", "b"]}


@pytest.mark.parametrize(
    "query",
    ["page=0", "page=-1", "page=--5", "page=x", "page=", "page=1.0", "page=%D9%A3",
     "page=9999999999999999999", "limit=7", "deep=yes", "deep=", "colour=1", "page=1&page=2", "tags=%00",
     "%00=1"],
)  # fmt: skip
def test_a_bad_query_names_its_key(site, query):
    answer = site.get(f"/sample/things?{query}")
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "validation_failed")
    if "%00" not in query:
        assert list(answer.json["error"]["details"]) == [query.partition("=")[0]]
