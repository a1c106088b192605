"""Signing in as the published client does: the page, the code, the tokens; and the calls around them."""

import json
import re
import time

import pytest
from registry_kit import root

from core.conftest import add_permissions
from core.db import db
from core.identity import OPERATOR
from core.users import services

pytestmark = pytest.mark.any_database

PASSWORD = "correct horse 1!"
FORM = {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "python-requests/2.27.1"}


@pytest.fixture
def sign_in(app, people):
    """``sign_in("ann")``: the page that a browser shows after the form was sent."""

    def fill_in(name):
        browser = app.test_client()
        token = re.search(r'name="csrf_token" value="([^"]*)"', browser.get("/login").text)[1]
        form = {"username": name, "password": PASSWORD, "csrf_token": token}
        return browser, browser.post("/login", data=form, follow_redirects=True)

    return fill_in


def code_in(page):
    return re.search(r'<input id="registry-code" value="([\w-]{34,})" readonly', page.text)[1]


@pytest.fixture
def exchange(people):
    """``exchange(text)``: what the client gets for the line that its user typed."""
    return lambda text: people.nobody.post("/api/token", data={"refresh_token": text}, headers=FORM)


def bearer(token, word="Bearer "):
    return {"headers": {"Authorization": f"{word}{token}"}}


def test_the_page_shows_a_code_and_the_client_gets_tokens_for_it(people, sign_in, exchange):
    browser, page = sign_in("ann")
    assert "valid once, for 10 minutes" in page.text
    assert '<button type="button" data-copy="registry-code">' in page.text
    assert page.headers["Cache-Control"] == "no-store"
    nonce = re.search(r"script-src 'nonce-([\w-]+)'", page.headers["Content-Security-Policy"])[1]
    assert page.text.count("<script") == page.text.count(f'<script nonce="{nonce}">') == 1
    assert not re.search(r'(src|href)="(https?:)?//', page.text), "nothing comes from elsewhere"

    before = time.time()
    answer = exchange(code_in(page) + "\n")

    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    tokens = answer.json
    assert tokens.keys() == {"refresh_token", "access_token", "expires_at"}
    assert isinstance(tokens["expires_at"], float)
    assert 24 * 3600 - 60 <= tokens["expires_at"] - before <= 24 * 3600 + 60
    me = people.nobody.get("/api/me", **bearer(tokens["access_token"]))
    assert me.json == {
        "current_user": "ann",
        "email": "ann@example.org",
        "is_active": True,
        "is_staff": False,
    }
    assert exchange(code_in(page)).status_code == 401, "a code is good once"
    another = code_in(browser.get("/login"))
    assert exchange(another).status_code == 200, "each look at the page gives another"


def test_without_a_session_the_page_shows_no_code(people):
    page = people.nobody.get("/login")
    assert "registry-code" not in page.text
    assert "<script" not in page.text
    assert "script" not in page.headers["Content-Security-Policy"]


def test_the_client_renews_its_tokens(people, sign_in, exchange):
    first = exchange(code_in(sign_in("ann")[1])).json
    second = exchange(first["refresh_token"]).json
    assert not set(first.values()) & set(second.values())
    for tokens in (first, second):
        assert people.nobody.get("/api/me", **bearer(tokens["access_token"])).status_code == 200
    assert exchange(first["refresh_token"]).status_code == 200, "another process may do so in the same minute"


def test_tokens_are_listed_and_revoked_like_keys(app, people, sign_in, exchange):
    add_permissions(app, "api_keys_view", "api_keys_revoke", user_id=services.find_user("ann").id)
    tokens = exchange(code_in(sign_in("ann")[1])).json
    token = {"headers": {"Authorization": f"Token {people.ann.key}"}}
    kinds = {key["hash"]: key["kind"] for key in people.ann.get("/api_keys", **token).json["response"]}
    refresh = tokens["refresh_token"][:10]
    assert (kinds[tokens["access_token"][:10]], kinds[refresh]) == ("access", "refresh")

    gone = people.ann.delete(f"/api_keys/{refresh}", **token)

    assert gone.status_code == 200
    assert exchange(tokens["refresh_token"]).status_code == 401
    assert people.nobody.get("/api/me", **bearer(tokens["access_token"])).status_code == 401


def test_a_key_signs_in_without_a_browser_and_keeps_its_scope(people, exchange, api_key_factory):
    ann = services.find_user("ann")
    key = api_key_factory(ann, permissions=["registry_read"])
    token = exchange(key).json["access_token"]
    assert people.nobody.get("/api/package/ann/", **bearer(token)).status_code == 200
    refused = people.nobody.put(
        "/api/package/ann/p/" + "0" * 64,
        data=json.dumps({"description": "", "contents": root(), "sizes": {}}),
        **bearer(token),
    )
    assert (refused.status_code, refused.json["code"]) == (403, "key_scope")

    services.change_user(ann.id, {"permissions": {"registry_read": False}}, OPERATOR)
    db.session.commit()
    for text in (token, exchange(key).json["access_token"]):
        answer = people.nobody.get("/api/package/ann/", **bearer(text))
        assert answer.status_code == 403, "a scope of which nothing is left is no freedom"


@pytest.mark.parametrize(
    "given",
    ["x", "x" * 53, "x" * 60_000, "é" * 60, "\0" * 60, " ", "abcdefghij" + "x" * 43],
)
def test_what_is_no_code_is_refused(exchange, given):
    answer = exchange(given)
    assert answer.status_code == (401 if given.strip() else 400)
    assert answer.json.keys() == {"message", "code", "request_id"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"data": {}}, 400),
        ({"data": {"token": "x"}}, 400),
        ({"json": {"refresh_token": "x"}}, 400),
        ({"data": b"\xff\xfe", "headers": FORM}, 400),
        ({"data": b"refresh_token=" + b"x" * 70_000, "headers": FORM}, 413),
        ({"data": b"--x", "content_type": "multipart/form-data"}, 400),
    ],
)
def test_a_form_without_a_token_is_a_bad_request(people, body, status):
    answer = people.nobody.post("/api/token", **body)
    assert answer.status_code == status
    assert isinstance(answer.json["message"], str)


def test_a_disabled_account_gets_no_tokens(people, exchange):
    ann = services.find_user("ann")
    services.change_user(ann.id, {"enabled": False}, OPERATOR)
    db.session.commit()
    answer = exchange(people.ann.key)
    assert (answer.status_code, answer.json["message"]) == (403, "Your account has been disabled.")


def test_name_and_password_give_a_token(people):
    answer = people.nobody.post("/api/login", json={"username": "ann", "password": PASSWORD})
    assert answer.status_code == 200
    assert answer.json.keys() == {"token"}
    token = answer.json["token"]
    for word in ("Bearer ", "bearer ", ""):
        me = people.nobody.get("/api/me", **bearer(token, word))
        assert me.json["current_user"] == "ann"
    ann = services.find_user("ann")
    refusals = [
        people.nobody.post("/api/login", json={"username": name, "password": word})
        for name, word in (("ann", "wrong"), ("nobody_here", PASSWORD), ("", ""))
    ]
    services.change_user(ann.id, {"enabled": False}, OPERATOR)
    db.session.commit()
    refusals.append(people.nobody.post("/api/login", json={"username": "ann", "password": "wrong"}))
    assert {(answer.status_code, answer.json["message"]) for answer in refusals} == {
        (401, "Login attempt failed")
    }
    right = people.nobody.post("/api/login", json={"username": "ann", "password": PASSWORD})
    assert right.status_code == 403


def test_the_token_of_a_password_is_replaced_and_ends(people):
    token = people.nobody.post("/api/login", json={"username": "ann", "password": PASSWORD}).json["token"]
    new = people.nobody.post("/api/refresh", **bearer(token)).json["token"]
    assert people.nobody.get("/api/me", **bearer(token)).status_code == 401
    assert people.nobody.get("/api/me", **bearer(new)).status_code == 200
    assert people.nobody.post("/api/logout", **bearer(new)).json == {}
    for call in ("post", "/api/logout"), ("get", "/api/me"), ("get", "/api/code"), ("post", "/api/refresh"):
        answer = getattr(people.nobody, call[0])(call[1], **bearer(new))
        assert answer.status_code == 401
        assert getattr(people.nobody, call[0])(call[1]).status_code == 401


def test_a_code_is_also_given_to_a_program(people, exchange):
    code = people.ann.get("/api/code").json["code"]
    tokens = exchange(code).json
    assert people.nobody.get("/api/me", **bearer(tokens["access_token"])).json["current_user"] == "ann"
    assert people.nobody.post("/api/logout", **bearer(tokens["access_token"])).status_code == 200
    assert exchange(tokens["refresh_token"]).status_code == 401, "who signs out is not signed in again"


def test_a_browser_may_ask_for_a_code_and_changes_nothing_without_its_token(sign_in):
    browser, _ = sign_in("ann")
    assert browser.get("/api/code").status_code == 200
    for path in ("/api/refresh", "/api/logout"):
        answer = browser.post(path)
        assert (answer.status_code, answer.json["code"]) == (403, "csrf_failed")
    csrf = browser.get("/sessions/current").json["response"]["csrf_token"]
    refused = browser.post("/api/refresh", headers={"X-CSRF-Token": csrf})
    assert refused.status_code == 400
    assert browser.get("/api/me").json["current_user"] == "ann"


def test_an_administrator_is_staff_unless_the_key_is_restricted(app, people, api_key_factory):
    ann = services.find_user("ann")
    add_permissions(app, "site_god_mode", user_id=ann.id)
    assert people.ann.get("/api/me").json["is_staff"] is True
    key = api_key_factory(ann, permissions=["registry_read"])
    assert people.nobody.get("/api/me", **bearer(key)).json["is_staff"] is False


def test_a_header_that_is_bad_is_refused_everywhere(people, public_site):
    for path in ("/api/me", "/api/package/ann/", "/api/capabilities", "/api/nothing"):
        answer = people.nobody.get(path, **bearer("x" * 53))
        assert (answer.status_code, answer.json["message"]) == (401, "Token invalid.")
