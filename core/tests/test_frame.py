"""The frame of every request: envelope, errors, identity, headers."""

import pytest
from flask import g, request

from core.authentication import authenticate
from core.blueprint import BARE, Blueprint, Mount
from core.conftest import KEY_OF_USER_1, add_permissions
from core.errors import BadJSON
from core.requests import read_json
from core.site import site_of


def test_a_success_is_enveloped(authed_client):
    answer = authed_client.get("/users/me")

    assert answer.status_code == 200
    assert answer.json["status"] == "success"
    assert answer.json["response"]["username"] == "user_one"


def test_a_failure_says_what_and_which_request(client):
    answer = client.get("/users/me", headers={"X-Request-Id": "abc.1"})

    assert answer.status_code == 401
    assert answer.json == {
        "status": "failed",
        "response": "Invalid authorization.",
        "error": {"code": "unauthenticated", "details": None, "request_id": "abc.1"},
    }
    assert answer.headers["WWW-Authenticate"] == "Token"
    assert answer.headers["X-Request-Id"] == "abc.1"


def test_a_permission_is_needed_and_a_new_grant_holds_at_once(app, authed_client):
    assert authed_client.get("/users/2").status_code == 403
    add_permissions(app, "users_view")
    assert authed_client.get("/users/2").json["response"]["username"] == "user_two"


def test_a_scoped_key_may_do_only_what_its_scope_lists(app, client_of):
    add_permissions(app, "users_view")
    answer = client_of("abcdefghijabcdefghijklmnopqrstuvwx").get("/users/2")
    assert (answer.status_code, answer.json["error"]["code"]) == (403, "key_scope")


def test_json_that_is_nested_too_deeply_says_so(app, authed_client):
    with app.test_request_context(data="[" * 100_000):
        g.mount = Mount("core", "")
        with pytest.raises(BadJSON, match="nested too deeply"):
            read_json()


@pytest.mark.parametrize(
    ("schemes", "header", "known"),
    [
        (("token", BARE), KEY_OF_USER_1, True),
        (("token", BARE), f"Token {KEY_OF_USER_1}", True),
        (("token",), KEY_OF_USER_1, False),  # elsewhere a word comes first
    ],
)
def test_a_key_may_come_without_a_word_where_the_blueprint_says_so(
    app, clean_database, schemes, header, known
):
    mount = Mount("x", "", auth_schemes=frozenset(schemes))
    with app.test_request_context(headers={"Authorization": header}):
        assert authenticate(site_of(app), mount, request).authenticated is known


def test_a_limit_may_be_the_name_of_a_setting():
    made = Mount.of("x", Blueprint("x", "x", max_body_bytes="X_LIMIT"), "", {"X_LIMIT": 7})
    assert made.max_body_bytes == 7
