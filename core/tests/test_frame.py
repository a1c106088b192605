"""The frame of every request: envelope, errors, identity, headers."""

from core.conftest import add_permissions


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
