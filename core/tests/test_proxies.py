"""Who the caller is when there are proxies in between, and when somebody only says so."""

import pytest
from flask import request
from sqlalchemy import select

from core.app import create_app
from core.conftest import CHEAP_ARGON2, KEY_OF_USER_1
from core.db import db
from core.limits import Limiter
from core.models import Event
from core.requests import public
from core.site import site_of
from core.users.models import ApiKey

pytestmark = pytest.mark.any_database

PROXY = "10.0.0.1"  # the nearest, from which connections come


@pytest.fixture
def make_behind(app, clean_database, database):
    """``make_behind(proxies)``: a client of the site behind so many, with limits."""
    made = []

    def make(proxies, **settings):
        site = create_app(
            app.instance_path,
            TESTING=True,
            SQLALCHEMY_DATABASE_URI=database,
            ARGON2_PARAMETERS=CHEAP_ARGON2,
            TRUSTED_PROXIES=proxies,
        )
        site_of(site).limiter = Limiter({**site.config, **settings, "TESTING": False})
        site.add_url_rule("/where", "where", public(lambda: {"url": request.url}))
        made.append(site)
        client = site.test_client()
        client.environ_base["REMOTE_ADDR"] = PROXY
        return client

    yield make
    for site in made:
        with site.app_context():
            db.engine.dispose()


def written(forwarded, client):
    """The addresses that the audit log and the key remember of a caller."""
    headers = {"X-Forwarded-For": forwarded, "Authorization": f"Token {KEY_OF_USER_1}"}
    assert client.post("/api_keys", json={}, headers=headers).status_code == 200
    db.session.expire_all()
    event = db.session.scalars(select(Event).order_by(Event.id.desc())).first()
    key = db.session.get(ApiKey, KEY_OF_USER_1[:10])
    return event.ip, key.ip


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "192.0.2.1", PROXY),
        (1, "192.0.2.1", "192.0.2.1"),
        (1, "203.0.113.9, 192.0.2.1", "192.0.2.1"),  # what stands before it, the caller wrote
        (2, "192.0.2.1, 10.0.0.2", "192.0.2.1"),
        (2, "203.0.113.9, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        (2, "192.0.2.1", PROXY),  # came around the outer one
        (1, "", PROXY),
        (1, "2001:db8::1", "2001:db8::1"),
    ],
)
def test_what_is_written_down_is_the_address_that_trusted_proxies_saw(
    make_behind, proxies, forwarded, address
):
    assert written(forwarded, make_behind(proxies)) == (address, address)


def statuses(client, *forwarded):
    return [client.get("/users/me", headers={"X-Forwarded-For": text}).status_code for text in forwarded]


def test_who_trusts_nobody_counts_whoever_connects(make_behind):
    client = make_behind(0, RATE_LIMIT_UNAUTH=(2, 60))
    assert statuses(client, "192.0.2.1", "192.0.2.2", "192.0.2.3") == [401, 401, 429]


def test_behind_a_proxy_each_caller_counts_and_a_forged_address_does_not(make_behind):
    client = make_behind(1, RATE_LIMIT_UNAUTH=(2, 60))
    assert statuses(client, "1.1.1.1, 192.0.2.1", "1.1.1.2, 192.0.2.1", "1.1.1.3, 192.0.2.1") == [
        401,
        401,
        429,
    ]
    assert statuses(client, "192.0.2.2", "192.0.2.1, 192.0.2.2", "192.0.2.2") == [401, 401, 429]


def test_behind_two_proxies_the_last_but_one_counts(make_behind):
    client = make_behind(2, RATE_LIMIT_UNAUTH=(2, 60))
    assert statuses(client, *[f"{forged}192.0.2.1, 10.0.0.2" for forged in ("", "a, ", "1.1.1.1, ")]) == [
        401, 401, 429
    ]  # fmt: skip
    assert statuses(client, "192.0.2.2, 10.0.0.2") == [401]


def test_failed_logins_count_for_the_callers_address_too(make_behind):
    client = make_behind(1, RATE_LIMIT_UNAUTH=None)

    def log_in(number, address):
        body = {"username": f"user{number}", "password": "wrong"}
        return client.post("/api_keys", json=body, headers={"X-Forwarded-For": address}).status_code

    assert {log_in(number, "192.0.2.1") for number in range(30)} == {401}
    assert (log_in(31, "192.0.2.1"), log_in(32, "192.0.2.2")) == (429, 401)


@pytest.mark.parametrize(
    ("proxies", "headers", "url"),
    [
        (0, {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example.org"}, "http://localhost/where"),
        (1, {"X-Forwarded-Proto": "https"}, "https://localhost/where"),
        (
            1,
            {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "lab.example.org"},
            "https://lab.example.org/where",
        ),
        # However many there are, the nearest says it, and most pass one value on.
        (
            2,
            {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "lab.example.org"},
            "https://lab.example.org/where",
        ),
        (1, {"X-Forwarded-Prefix": "/data"}, "http://localhost/data/where"),
        (0, {"X-Forwarded-Prefix": "/data"}, "http://localhost/where"),
    ],
)
def test_scheme_host_and_prefix_come_from_the_nearest_trusted_proxy(make_behind, proxies, headers, url):
    client = make_behind(proxies)
    answer = client.get("/where", headers=headers)
    assert answer.json["response"]["url"] == url
    answer = client.get("/login", headers=headers)
    assert ("Secure" in answer.headers["Set-Cookie"]) == url.startswith("https")
