"""``/api_keys``: made, listed, restricted, revoked."""

import pytest
from sqlalchemy import select

from core.conftest import CODE_1, KEY_OF_USER_1, KEY_OF_USER_2, add_permissions
from core.db import db
from core.models import Event
from core.users import services
from core.users.models import ApiKey, User

pytestmark = pytest.mark.any_database

OWN = KEY_OF_USER_1[:10]
OTHERS = KEY_OF_USER_2[:10]
SCOPED = "abcdefghij" + CODE_1
PASSWORD = {"username": "user_one", "password": "12345"}
ALL = ("api_keys_view", "api_keys_revoke", "api_keys_view_others", "api_keys_revoke_others")


@pytest.fixture
def event_names(app):
    return lambda: list(db.session.scalars(select(Event.name).order_by(Event.id)))


def address(client):
    """The address of the key, as it was written down by the request before."""
    client.get("/users/me")
    return client.get("/api_keys/current").json["response"]["key"]["ip"]


def said(answer):
    return answer.status_code, answer.json["response"]


def test_a_key_is_made_once_shown_and_works(client, client_of, event_names):
    made = client.post("/api_keys", json=PASSWORD | {"name": "laptop", "timeout": 60}).json["response"]
    assert list(made) == ["hash", "key", "permissions"]
    assert made["permissions"] == []
    assert made["key"].startswith(made["hash"])
    assert len(made["key"]) >= 10 + 32
    now = client_of(made["key"]).get("/api_keys/current").json["response"]
    assert (now["key"]["name"], now["key"]["timeout"], now["key"]["kind"]) == ("laptop", 60, "key")
    assert event_names() == ["core.api_key.created"]
    assert made["key"][10:] not in str(client_of(made["key"]).get("/api_keys/current").json)


def test_the_event_of_a_key_names_who_made_it(client):
    client.post("/api_keys", json=PASSWORD)
    event = db.session.scalars(select(Event)).one()
    assert (event.actor, event.payload["user_id"], event.ip) == ("user_one", 1, "127.0.0.1")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"username": "user_one"},
        {"password": "12345"},
        {"username": "", "password": ""},
        {"username": "user_one", "password": "wrong"},
        {"username": "user_one", "password": "x" * 4096},
        {"username": "nobody", "password": "12345"},
        {"username": "no body!" * 100, "password": "12345"},
        {"username": "user_one", "password": "wrong", "permissions": ["users_view"]},
    ],
)
def test_wrong_credentials_are_one_answer(client, body):
    assert said(client.post("/api_keys", json=body)) == (401, "Invalid credentials.")


@pytest.mark.parametrize(
    "odd",
    [
        {"password": None},
        {"password": 12345},
        {"password": ["12345"]},
        {"password": "12345\0"},
        {"password": "x" * 4097},
        {"username": {}},
        {"username": "user_one\0"},
        {"username": True},
        {"timeout": 59},
        {"timeout": -1},
        {"timeout": 31_536_001},
        {"timeout": 10**400},
        {"timeout": 60.5},
        {"timeout": "60"},
        {"timeout": None},
        {"permanent": "true"},
        {"permanent": 1},
        {"permissions": None},
        {"permissions": "users_view"},
        {"permissions": [1]},
        {"permissions": ["users_view\0"]},
        {"permissions": ["x" * 65]},
        {"permissions": ["never_heard_of"]},
        {"permissions": ["site_god_mode"]},
        {"permissions": ["users_view"] * 1001},
        {"name": "x" * 65},
        {"name": None},
        {"user_id": 2},
    ],
)
def test_odd_bodies_are_refused_and_make_nothing(client, odd):
    before = db.session.query(ApiKey).count()
    assert client.post("/api_keys", json=PASSWORD | odd).status_code == 400
    assert db.session.query(ApiKey).count() == before


def test_unknown_permissions_are_refused_for_an_administrator_too(app, authed_client):
    add_permissions(app, "site_god_mode")
    assert authed_client.post("/api_keys", json={"permissions": ["users_view"]}).status_code == 200
    assert authed_client.post("/api_keys", json={"permissions": ["never_heard_of"]}).status_code == 400


def test_a_scoped_key_makes_no_wider_one(app, client_of, api_key_factory):
    add_permissions(app, "users_view", "jobs_view_others")
    scoped = client_of(api_key_factory(services.get_user(1), permissions=["users_view"]))
    assert scoped.post("/api_keys", json={}).json["response"]["permissions"] == ["users_view"]
    assert scoped.post("/api_keys", json={"permissions": []}).json["response"]["permissions"] == [
        "users_view"
    ]
    assert scoped.post("/api_keys", json={"permissions": ["jobs_view_others"]}).status_code == 400
    inherited = scoped.post("/api_keys", json={}).json["response"]["key"]
    assert client_of(inherited).get("/users/2").status_code == 200
    assert client_of(inherited).get("/api_keys/current").json["response"]["effective_permissions"] == [
        "users_view"
    ]


def test_an_inherited_scope_stays_a_restriction_when_its_permission_is_lost(client_of):
    # User 1 holds nothing of what the scope of this key lists.
    made = client_of(SCOPED).post("/api_keys", json={}).json["response"]
    assert len(made["permissions"]) == 3


def test_the_account_decides_before_the_key(app, client):
    user = db.session.get(User, 1)
    user.enabled = False
    db.session.commit()
    answer = client.post("/api_keys", json=PASSWORD)
    assert (answer.status_code, answer.json["error"]["code"]) == (403, "account_disabled")
    assert client.post("/api_keys", json=PASSWORD | {"password": "wrong"}).status_code == 401


def test_one_sees_ones_own_and_with_a_permission_those_of_others(app, authed_client):
    assert authed_client.get(f"/api_keys/{OWN}").status_code == 403
    add_permissions(app, "api_keys_view")
    found = authed_client.get(f"/api_keys/{OWN}").json["response"]
    assert list(found)[:9] == [
        "hash", "user_id", "last_used", "ip", "user_agent", "revoked", "permanent", "timeout", "permissions"
    ]  # fmt: skip
    assert (found["hash"], found["user_id"], found["permissions"]) == (OWN, 1, [])
    assert isinstance(found["last_used"], int)
    for hidden in (OTHERS, "1234567890", "xxxxxxxxxx", "a", "x" * 3000, "a%00bcdefghi", "..%2f"):
        assert authed_client.get(f"/api_keys/{hidden}").status_code == 404
    assert said(authed_client.get(f"/api_keys/{OTHERS}")) == (404, f"APIKey {OTHERS} does not exist.")
    add_permissions(app, "api_keys_view_others")
    assert authed_client.get(f"/api_keys/{OTHERS}").json["response"]["user_id"] == 2
    assert authed_client.get("/api_keys/1234567890").json["response"]["revoked"] is True


def test_the_list_may_leave_out_the_dead(app, authed_client):
    add_permissions(app, "api_keys_view")
    assert {key["hash"] for key in authed_client.get("/api_keys").json["response"]} == {OWN, SCOPED[:10]}
    assert said(authed_client.get("/api_keys?user_id=2"))[0] == 403
    assert said(authed_client.get("/api_keys?user_id=99"))[0] == 403
    add_permissions(app, "api_keys_view_others")
    answer = authed_client.get("/api_keys?user_id=2")
    assert len(answer.json["response"]) == 2
    assert answer.headers["X-Total-Count"] == "2"
    alive = authed_client.get("/api_keys?user_id=2&include_dead=0").json["response"]
    assert [key["hash"] for key in alive] == [OTHERS]
    assert said(authed_client.get("/api_keys?user_id=99")) == (404, "User 99 does not exist.")
    assert said(authed_client.get("/api_keys?user_id=abc")) == (400, "User ID must be an integer.")
    for odd in ("user_id=", "user_id=1&user_id=2", "include_dead=2", "page=0", "x=1", "user_id=1%00"):
        assert authed_client.get(f"/api_keys?{odd}").status_code == 400


def test_a_key_that_ended_unseen_is_listed_as_revoked(app, authed_client, api_key_factory, freeze_time):
    add_permissions(app, "api_keys_view")
    text = api_key_factory(services.get_user(1), timeout=60)
    freeze_time(100)
    alive = authed_client.get("/api_keys?include_dead=0").json["response"]
    assert text[:10] not in [key["hash"] for key in alive]
    assert authed_client.get(f"/api_keys/{text[:10]}").json["response"]["revoked"] is True


def test_revoking_holds_at_once_and_only_once(app, authed_client, client_of, event_names):
    assert authed_client.delete(f"/api_keys/{OWN}").status_code == 403
    add_permissions(app, "api_keys_revoke")
    assert said(authed_client.delete(f"/api_keys/{OTHERS}")) == (404, f"APIKey {OTHERS} does not exist.")
    assert client_of(SCOPED).get("/users/me").status_code == 200
    assert said(authed_client.delete("/api_keys/abcdefghij")) == (200, "APIKey abcdefghij has been revoked.")
    assert said(client_of(SCOPED).get("/users/me")) == (401, "Invalid authorization.")
    again = authed_client.delete("/api_keys/abcdefghij")
    assert said(again) == (400, "APIKey abcdefghij is already revoked.")
    assert event_names() == ["core.api_key.revoked"]
    add_permissions(app, "api_keys_revoke_others")
    assert authed_client.delete(f"/api_keys/{OTHERS}").status_code == 200
    assert client_of(KEY_OF_USER_2).get("/users/me").status_code == 401


def test_all_keys_go_with_the_one_that_asks(app, authed_client, client_of):
    add_permissions(app, "api_keys_revoke")
    assert authed_client.delete("/api_keys?user_id=2").status_code == 403
    assert said(authed_client.delete("/api_keys?keep_current=1")) == (200, "All api keys have been revoked.")
    assert client_of(SCOPED).get("/users/me").status_code == 401
    assert said(authed_client.delete("/api_keys")) == (200, "All api keys have been revoked.")
    assert authed_client.get("/users/me").status_code == 401
    assert client_of(KEY_OF_USER_2).get("/users/me").status_code == 200


def test_those_of_others_need_another_permission(app, authed_client, client_of):
    add_permissions(app, *ALL)
    assert authed_client.delete("/api_keys?user_id=2").status_code == 200
    assert client_of(KEY_OF_USER_2).get("/users/me").status_code == 401
    assert authed_client.get("/users/me").status_code == 200
    assert said(authed_client.delete("/api_keys?user_id=99")) == (404, "User 99 does not exist.")


def test_whoever_wants_it_leaves_no_address(app, authed_client):
    add_permissions(app, "api_keys_revoke")
    assert address(authed_client) == "127.0.0.1"
    add_permissions(app, "site_no_ip_history")
    authed_client.delete("/api_keys/abcdefghij")
    assert address(authed_client) == "0.0.0.0"
    assert db.session.scalars(select(Event)).one().ip == "0.0.0.0"


def test_god_mode_alone_hides_no_address(app, authed_client):
    add_permissions(app, "site_god_mode")
    assert address(authed_client) == "127.0.0.1"
