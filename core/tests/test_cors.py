"""Which pages of other sites may call, and read what."""

import pytest
from marshmallow import ValidationError

from core.conftest import KEY_OF_USER_1
from core.settings import Config
from core.site import site_of

pytestmark = pytest.mark.any_database

LAB = "https://lab.example.org"
OTHER = "https://other.example.org"

PLUGIN = """
from core.blueprint import Blueprint
from core.config import Setting
from core.requests import public

class Config:
    {upper}_ORIGINS = Setting(["https://own.example.org"], item=str)

bp = Blueprint("{name}", __name__{more})

@bp.get("/open")
@bp.get("/api/open")
@public
def get_open():
    return {{}}
"""


@pytest.fixture
def make_open(make_plugin, make_site):
    """``make_open([origins of the site], probe=", cors=...")``: a client of such a site."""

    def make(origins, **plugins):
        for name, more in plugins.items():
            make_plugin(name, init=PLUGIN.format(name=name, upper=name.upper(), more=more))
        return make_site(*plugins, tables=True, CORS_ORIGINS=origins).test_client()

    return make


def preflight(client, path, origin, method="PUT", wanted="authorization, content-type"):
    headers = {"Origin": origin, "Access-Control-Request-Method": method}
    if wanted:
        headers["Access-Control-Request-Headers"] = wanted
    return client.options(path, headers=headers)


def cors_headers(answer):
    return {name for name, _ in answer.headers if name.lower().startswith("access-control-")}


def test_without_a_setting_no_page_is_told_anything(client):
    for answer in (
        client.get("/health", headers={"Origin": LAB}),
        preflight(client, "/users/me", LAB),
    ):
        assert cors_headers(answer) == set()
        assert "Origin" not in answer.headers.get("Vary", "")
    assert preflight(client, "/users/me", LAB).status_code == 401


def test_a_page_that_may_reads_every_answer(make_open):
    client = make_open([LAB])
    for path in ("/health", "/users/me", "/nothing", "/api/spec.json", "/blobs/0?op=get"):
        answer = client.get(path, headers={"Origin": LAB})
        assert answer.headers["Access-Control-Allow-Origin"] == LAB, path
        assert answer.vary.as_set() >= {"origin"}
        shown = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"X-Request-Id", "X-Total-Count", "Link", "Retry-After", "ETag"} <= set(shown)
        assert {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} <= set(shown)
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin", [None, OTHER, LAB + ".evil.org", LAB + ":8443", "http://lab.example.org", "null"]
)
def test_another_page_does_not_and_caches_are_told_that_it_matters(make_open, origin):
    client = make_open([LAB])
    answer = client.get("/health", headers={"Origin": origin} if origin else {})
    assert answer.status_code == 200
    assert cors_headers(answer) == set()
    assert "origin" in answer.vary.as_set()
    if origin:
        assert cors_headers(preflight(client, "/users/me", origin)) == set()


def test_a_preflight_is_answered_before_anything_is_asked(make_open):
    client = make_open([LAB])
    answers = [preflight(client, path, LAB) for path in ("/users/me", "/nothing", "/users/me?x=1")]
    for answer in answers:
        assert (answer.status_code, answer.data) == (204, b"")
        assert answer.headers["Access-Control-Allow-Origin"] == LAB
        assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, POST, PUT, PATCH, DELETE"
        assert answer.headers["Access-Control-Allow-Headers"] == "authorization, content-type"
        assert answer.headers["Access-Control-Max-Age"] == "86400"
        assert answer.vary.as_set() == {
            "origin", "access-control-request-method", "access-control-request-headers"
        }  # fmt: skip
        assert answer.headers["X-Request-Id"]
    assert len({str(sorted(cors_headers(answer))) for answer in answers}) == 1, "no path is told from another"
    assert "Access-Control-Allow-Headers" not in preflight(client, "/users/me", LAB, wanted="").headers


@pytest.mark.parametrize("wanted", ["a b", "a,,b", "x: y", "é", "a" * 9000 + ",", ",", '"', "a, "])
def test_odd_names_of_headers_are_not_said_back(make_open, wanted):
    answer = preflight(make_open([LAB]), "/users/me", LAB, wanted=wanted)
    assert answer.status_code == 204
    assert "Access-Control-Allow-Headers" not in answer.headers


def test_preflights_are_not_counted(app, client, rate_limits, monkeypatch):
    monkeypatch.setattr(site_of(app), "cors", frozenset([LAB]))
    rate_limits(RATE_LIMIT_UNAUTH=(1, 60))
    assert [preflight(client, "/users/me", LAB).status_code for _ in range(3)] == [204] * 3
    assert client.get("/users/me").status_code == 401
    refused = client.get("/users/me", headers={"Origin": LAB})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (429, LAB)


def test_a_page_with_a_key_is_who_the_key_says(app, client, monkeypatch):
    monkeypatch.setattr(site_of(app), "cors", frozenset([LAB]))
    headers = {"Origin": LAB, "Authorization": f"Token {KEY_OF_USER_1}"}
    answer = client.get("/users/me", headers=headers)
    assert answer.json["response"]["username"] == "user_one"
    assert answer.headers["Access-Control-Allow-Origin"] == LAB


def test_every_origin_may_where_the_setting_says_so(make_open):
    client = make_open(["*"])
    for headers in ({}, {"Origin": OTHER}, {"Origin": "null"}):
        answer = client.get("/health", headers=headers)
        # Said to everybody alike, so that what a cache keeps fits everybody.
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Origin" not in answer.headers.get("Vary", "")
    assert preflight(client, "/users/me", OTHER).headers["Access-Control-Allow-Origin"] == "*"


def test_a_blueprint_has_its_own_rule_for_its_own_paths(make_open):
    client = make_open(
        [LAB],
        alike="",
        anyone=', cors="*"',
        listed=', cors=["https://a.example.org"]',
        named=', cors="NAMED_ORIGINS"',
        closed=", cors=[]",
        partly=', cors="*", cors_paths=["/api"]',
    )

    def allowed(path, origin):
        answer = client.get(path, headers={"Origin": origin})
        assert preflight(client, path, origin).headers.get(
            "Access-Control-Allow-Origin"
        ) == answer.headers.get("Access-Control-Allow-Origin")
        return answer.headers.get("Access-Control-Allow-Origin")

    assert [allowed("/alike/open", origin) for origin in (LAB, OTHER)] == [LAB, None]
    assert [allowed("/anyone/open", origin) for origin in (LAB, OTHER)] == ["*", "*"]
    assert [allowed("/anyone/nothing", origin) for origin in (LAB, OTHER)] == ["*", "*"]
    assert [allowed("/listed/open", origin) for origin in (LAB, "https://a.example.org")] == [
        None, "https://a.example.org"
    ]  # fmt: skip
    own = "https://own.example.org"
    assert [allowed("/named/open", origin) for origin in (LAB, own)] == [None, own]
    assert [allowed("/closed/open", origin) for origin in (LAB, OTHER)] == [None, None]
    assert [allowed("/partly/api/open", origin) for origin in (LAB, OTHER)] == ["*", "*"]
    assert [allowed("/partly/api", origin) for origin in (LAB, OTHER)] == ["*", "*"]
    assert [allowed("/partly/open", origin) for origin in (LAB, OTHER)] == [LAB, None]
    assert [allowed("/partly/apiary", origin) for origin in (LAB, OTHER)] == [LAB, None]
    assert [allowed("/health", origin) for origin in (LAB, OTHER)] == [LAB, None]


@pytest.mark.parametrize(
    "origin",
    [
        "https://lab.example.org", "http://localhost:3000", "https://[2001:db8::1]:8443", "*",
        "http://127.0.0.1", "capacitor://localhost", "https://xn--bcher-kva.example",
    ],
)  # fmt: skip
def test_origins_are_taken_as_browsers_send_them(origin):
    assert Config.CORS_ORIGINS.load([origin]) == [origin]


@pytest.mark.parametrize(
    "origin",
    [
        "", "null", "lab.example.org", "https://lab.example.org/", "https://Lab.example.org",
        "https://lab.example.org:443", "http://lab.example.org:80", "https://lab.example.org:0",
        "https://lab.example.org:99999", "https://*.example.org", "https://a.org/path", "https://a@b.org",
        "https://[::1", "https://bücher.example", "https://a.org\n", "https://", 5,
    ],
)  # fmt: skip
def test_an_origin_that_no_browser_sends_is_a_mistake(origin):
    with pytest.raises(ValidationError):
        Config.CORS_ORIGINS.load([origin])
