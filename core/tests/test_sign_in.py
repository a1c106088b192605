"""Browsers: the page, the cookie, and that no page of another site can use it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from core.app import create_app
from core.conftest import CHEAP_ARGON2, _add_base_data, add_permissions
from core.cookies import own_path
from core.db import db
from core.models import Event
from core.users.models import ApiKey, User

pytestmark = pytest.mark.any_database

CREDENTIALS = {"username": "user_one", "password": "12345"}
COOKIE = "pulsar_session"
GREETER = """
from markupsafe import Markup
from core.hookspecs import hookimpl

@hookimpl
def signed_in_page(identity):
    return Markup("<b>for {}</b>").format(identity.username)
"""


def field(page, name="csrf_token"):
    return re.search(rf'name="{name}" value="([^"]*)"', page.text)[1]


def sign_in(client, **more):
    """Sign in as a person does: open the page, fill in the form."""
    form = CREDENTIALS | {"csrf_token": field(client.get("/login"))} | more
    return client.post("/login", data=form)


@pytest.fixture
def signed_in(client):
    """A client with the cookie of user 1, and the token that goes with it."""
    client.token = client.post("/sessions", json=CREDENTIALS).json["response"]["csrf_token"]
    return client


def error(answer):
    return answer.status_code, answer.json["error"]["code"]


def test_the_page_signs_in_and_out(client):
    page = client.get("/login?next=/users/me")
    assert page.mimetype == "text/html"
    assert page.headers["Cache-Control"] == "no-store"
    assert "script" not in page.headers["Content-Security-Policy"]
    assert "<script" not in page.text
    for name in re.findall(r'<label for="(\w+)"', page.text):
        assert f'<input id="{name}" name="{name}"' in page.text
    answer = sign_in(client, next=field(page, "next"))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/users/me")
    assert client.get("/users/me").json["response"]["username"] == "user_one"
    page = client.get("/login")
    assert "signed in as <strong>user_one</strong>" in page.text
    assert client.post("/logout").status_code == 303
    assert client.get("/users/me").status_code == 200  # the token was missing
    assert client.post("/logout", data={"csrf_token": field(page)}).headers["Location"] == "/login"
    assert client.get_cookie(COOKIE) is None
    assert client.get("/users/me").status_code == 401


@pytest.mark.parametrize(
    ("form", "status", "words"),
    [
        ({"password": "wrong"}, 401, "Invalid credentials."),
        ({"username": "nobody"}, 401, "Invalid credentials."),
        ({"username": ""}, 401, "Invalid credentials."),
        ({"password": ""}, 401, "Invalid credentials."),
        ({"username": "\0", "password": "\0"}, 401, "Invalid credentials."),
        ({"username": '"><b>'}, 401, "Invalid credentials."),
        ({"csrf_token": "wrong"}, 403, "Try again."),
        ({"csrf_token": "é\0"}, 403, "Try again."),
    ],
)
def test_a_refused_login_shows_the_form_again(client, form, status, words):
    page = sign_in(client, **form)
    assert (page.status_code, page.mimetype) == (status, "text/html")
    assert 'role="alert">' in page.text
    assert words in page.text
    assert client.get_cookie(COOKIE) is None
    assert sign_in(client).status_code == 303


def test_the_page_says_when_it_was_tried_too_often(client):
    codes = [sign_in(client, password="wrong").status_code for _ in range(11)]
    assert codes == [401] * 10 + [429]
    page = sign_in(client)
    assert "until lock expires" in page.text
    assert int(page.headers["Retry-After"]) <= 900


def test_a_disabled_account_does_not_get_in(client, signed_in):
    db.session.get(User, 1).enabled = False
    db.session.get(User, 1).generation += 1
    db.session.commit()
    assert error(signed_in.get("/users/me")) == (403, "account_disabled")
    assert signed_in.get("/login").status_code == 200  # for another account
    assert "disabled" in sign_in(signed_in).text
    assert error(client.post("/sessions", json=CREDENTIALS)) == (403, "account_disabled")
    assert client.post("/sessions", json=CREDENTIALS | {"password": "x"}).status_code == 401
    assert sign_in(signed_in, username="user_two").status_code == 303
    assert signed_in.get("/users/me").json["response"]["username"] == "user_two"


def test_the_form_of_somebody_elses_browser_signs_nobody_in(app, client):
    stolen = field(client.get("/login"))
    victim = app.test_client()
    assert victim.post("/login", data=CREDENTIALS | {"csrf_token": stolen}).status_code == 403
    victim.get("/login")
    assert victim.post("/login", data=CREDENTIALS | {"csrf_token": stolen}).status_code == 403
    assert victim.get_cookie(COOKIE) is None


@pytest.mark.parametrize(
    ("target", "whither"),
    [
        ("/packages/ann/flights?x=1#y", "/packages/ann/flights?x=1#y"),
        ("", "/login"),
        ("https://evil.example", "/login"),
        ("//evil.example", "/login"),
        ("///evil.example", "/login"),
        ("/\\evil.example", "/login"),
        ("\\\\evil.example", "/login"),
        ("/\t/evil.example", "/login"),
        ("/\r\nSet-Cookie: a=b", "/login"),
        ("javascript:alert(1)", "/login"),
        ("evil.example", "/login"),
        (" //evil.example", "/login"),
    ],
)
def test_signing_in_leads_to_paths_of_this_site_alone(client, target, whither):
    assert sign_in(client, next=target).headers["Location"] == whither
    assert "evil" not in client.get("/login", query_string={"next": target}).text


@given(st.text())
def test_what_is_taken_for_a_path_of_this_site_is_one(target):
    found = own_path(target, "no")
    assert found == "no" or (re.match(r"/(?![/\\])[!-~]*\Z", found) and "\\" not in found and found == target)


def test_the_cookie_is_for_this_site_and_no_script(app, client):
    client.post("/sessions", json=CREDENTIALS)
    cookie = client.get_cookie(COOKIE)
    assert (cookie.http_only, cookie.same_site, cookie.path, cookie.secure) == (True, "Lax", "/", False)
    assert db.session.query(ApiKey).filter_by(digest=cookie.value[10:]).count() == 0
    secure = app.test_client()
    https = {"base_url": "https://localhost"}
    secure.post("/sessions", json=CREDENTIALS, **https)
    cookie = secure.get_cookie(f"__Host-{COOKIE}")
    assert (cookie.secure, cookie.path, cookie.http_only) == (True, "/", True)
    assert secure.get("/users/me", **https).status_code == 200
    # Over TLS the unprotected name counts for nothing: anybody on the way could have set it.
    planted = app.test_client()
    planted.set_cookie(COOKIE, cookie.value)
    assert planted.get("/users/me", **https).status_code == 401


def test_every_login_makes_a_new_session(client):
    planted = client.post("/sessions", json=CREDENTIALS)
    first = client.get_cookie(COOKIE).value
    assert (
        client.post("/sessions", json=CREDENTIALS).json["response"]["hash"]
        != planted.json["response"]["hash"]
    )
    assert client.get_cookie(COOKIE).value != first


def test_a_session_is_listed_and_revoked_like_a_key(app, signed_in):
    add_permissions(app, "api_keys_view", "api_keys_revoke")
    answer = signed_in.get("/sessions/current").json["response"]
    (found,) = [key for key in signed_in.get("/api_keys").json["response"] if key["kind"] == "session"]
    assert found["hash"] == answer["hash"]
    assert (found["timeout"], found["permissions"]) == (14 * 24 * 3600, [])
    token = {"X-CSRF-Token": signed_in.token}
    assert signed_in.delete(f"/api_keys/{answer['hash']}", headers=token).status_code == 200
    other = app.test_client()
    other.set_cookie(COOKIE, signed_in.get_cookie(COOKIE).value)
    assert other.get("/users/me").status_code == 401
    names = db.session.scalars(select(Event.name).order_by(Event.id)).all()
    assert names == ["core.session.created", "core.api_key.revoked"]
    assert db.session.scalars(select(Event).limit(1)).one().actor == "user_one"


def test_a_session_slides_and_ends(signed_in, freeze_time):
    day = 24 * 3600
    for days in (0, 10, 20, 30):
        freeze_time(days * day)
        assert signed_in.get("/users/me").status_code == 200
    freeze_time(45 * day)
    assert signed_in.get("/users/me").status_code == 401
    assert signed_in.get("/login").status_code == 200
    assert signed_in.get("/health").status_code == 200


def test_a_session_by_script(app, client):
    made = client.post("/sessions", json=CREDENTIALS).json["response"]
    assert client.get("/sessions/current").json["response"] == made
    assert made["username"] == "user_one"
    assert error(client.delete("/sessions/current")) == (403, "csrf_failed")
    gone = client.delete("/sessions/current", headers={"X-CSRF-Token": made["csrf_token"]})
    assert (gone.status_code, gone.json["response"]) == (200, "Signed out.")
    assert client.get("/sessions/current").status_code == 401


def test_a_key_is_no_session_and_a_session_no_key(app, authed_client, client_of):
    assert authed_client.get("/sessions/current").status_code == 404
    assert authed_client.delete("/sessions/current").status_code == 404
    assert authed_client.get("/users/me").status_code == 200
    browser = app.test_client()
    browser.post("/sessions", json=CREDENTIALS)
    for _ in range(2):  # cold and warm
        assert client_of(browser.get_cookie(COOKIE).value).get("/users/me").status_code == 401
        assert browser.get("/users/me").status_code == 200
    planted = app.test_client()
    planted.set_cookie(COOKIE, authed_client.environ_base["HTTP_AUTHORIZATION"].split()[1])
    assert planted.get("/users/me").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "wrong"},
        {"X-CSRF-Token": "é"},
        {"right": "1", "Origin": "https://evil.example"},
        {"right": "1", "Origin": "null"},
        {"right": "1", "Origin": "http://[bad"},
        {"right": "1", "Origin": "http://localhost.evil.example"},
        {"right": "1", "Sec-Fetch-Site": "cross-site"},
        {"right": "1", "Sec-Fetch-Site": "same-site"},
        {"Authorization": "Bearer ignored"},
    ],
)
def test_the_cookie_alone_changes_nothing(signed_in, headers):
    if headers.pop("right", None):
        headers["X-CSRF-Token"] = signed_in.token
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = signed_in.open("/sessions/current", method=method, headers=headers)
        assert error(answer) == (403, "csrf_failed")
    assert signed_in.get("/sessions/current").status_code == 200
    # A call that is open to all sees nobody, instead of the one who is signed in.
    assert signed_in.post("/api_keys", json={}, headers=headers).status_code == 401


def test_the_token_of_another_session_is_wrong(app, signed_in):
    other = app.test_client()
    token = other.post("/sessions", json=CREDENTIALS).json["response"]["csrf_token"]
    assert signed_in.delete("/sessions/current", headers={"X-CSRF-Token": token}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_with_the_token_a_page_of_the_site_may(signed_in, headers):
    headers["X-CSRF-Token"] = signed_in.token
    assert signed_in.post("/api_keys", json={"name": "from the page"}, headers=headers).status_code == 200


def test_the_token_may_be_in_a_form_and_the_body_is_still_there(signed_in):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert signed_in.post("/api_keys", data="{}", headers=form).status_code == 401
    # Sent as a form and without a token, the body is read as the JSON it is.
    answer = signed_in.post("/api_keys", data='{"username": "user_two", "password": "12345"}', headers=form)
    assert answer.status_code == 200
    assert signed_in.post("/logout", data={"csrf_token": signed_in.token}).status_code == 303
    assert signed_in.get("/users/me").status_code == 401


def test_whoever_sends_a_header_needs_no_token(signed_in, authed_client):
    evil = {"Origin": "https://evil.example"}
    assert authed_client.post("/api_keys", json={}, headers=evil).status_code == 200


@pytest.mark.parametrize("value", ["", "x", "x" * 5000, "é" * 40, "a b" * 20, '"', "x" * 34])
def test_a_cookie_that_means_nothing_is_nobody(app, client, value):
    cookie = {"Cookie": f"{COOKIE}={value}; pulsar_form={value}"}
    assert client.get("/users/me", headers=cookie).status_code == 401
    assert client.get("/health", headers=cookie).status_code == 200
    assert client.get("/login", headers=cookie).status_code == 200
    assert client.post("/login", data={"csrf_token": value}, headers=cookie).status_code == 403


def test_other_sites_cannot_sign_a_browser_in_by_json(client):
    text = '{"username": "user_one", "password": "12345"}'
    assert client.post("/sessions", data=text, content_type="text/plain").status_code == 415
    assert client.post("/sessions", data=text).status_code == 415
    evil = {"Origin": "https://evil.example"}
    assert error(client.post("/sessions", json=CREDENTIALS, headers=evil)) == (403, "csrf_failed")
    assert client.get_cookie(COOKIE) is None


@pytest.mark.parametrize(
    ("odd", "status"),
    [
        ({}, 401),
        ({"username": "user_one"}, 401),
        ({"username": "user_one", "password": None}, 400),
        ({"username": 1, "password": "12345"}, 400),
        ({"username": "user_one", "password": "12345\0"}, 400),
        ([], 400),
        (CREDENTIALS | {"more": 1}, 400),
        (CREDENTIALS | {"password": "12346"}, 401),
    ],
)
def test_odd_bodies_sign_nobody_in(client, odd, status):
    assert client.post("/sessions", json=odd).status_code == status
    assert client.get_cookie(COOKIE) is None


def test_behind_a_proxy_the_address_of_the_site_counts(clean_database, app, database):
    site = create_app(
        app.instance_path,
        TESTING=True,
        SQLALCHEMY_DATABASE_URI=database,
        ARGON2_PARAMETERS=CHEAP_ARGON2,
        TRUSTED_PROXIES=1,
        PUBLIC_URL="https://lab.example.org",
    )
    client = site.test_client()
    proxy = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "10.0.0.1", "X-Forwarded-Prefix": "/data"}
    own = proxy | {"Origin": "https://lab.example.org"}
    page = client.get("/login", headers=proxy)
    assert 'action="/data/login"' in page.text
    assert "__Host-pulsar_form=" in page.headers["Set-Cookie"]
    assert "; Secure; HttpOnly; Path=/; SameSite=Lax" in page.headers["Set-Cookie"]
    answer = client.post("/sessions", json=CREDENTIALS, headers=own)
    cookie = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}
    assert cookie["Cookie"].startswith("__Host-pulsar_session=")
    token = {"X-CSRF-Token": answer.json["response"]["csrf_token"]}
    assert client.delete("/sessions/current", headers=own | cookie | token).status_code == 200
    with site.app_context():
        db.engine.dispose()


def test_plugins_add_to_the_page_of_who_is_signed_in(make_plugin, make_site):
    make_plugin("greeter", hooks=GREETER)
    make_plugin("quoter", hooks=GREETER.replace("Markup(", "str("))
    make_plugin("silent", hooks=GREETER.partition("return")[0] + "return None")
    make_plugin("breaker", hooks=GREETER.partition("return")[0] + "raise ValueError(identity)")
    app = make_site("breaker", "greeter", "quoter", "silent", tables=True, ARGON2_PARAMETERS=CHEAP_ARGON2)
    with app.app_context():
        _add_base_data()
    client = app.test_client()
    page = client.get("/login")
    assert "for " not in page.text
    assert "<script" not in page.text
    sign_in(client)
    page = client.get("/login")
    assert "<section><b>for user_one</b></section>" in page.text
    assert "&lt;b&gt;for user_one" in page.text, "only what a plugin calls HTML is taken for it"
    assert page.text.count("<section>") == 2
    nonces = [
        re.search(r"nonce-([^']+)", client.get("/login").headers["Content-Security-Policy"])[1] for _ in "12"
    ]
    assert nonces[0] != nonces[1]
