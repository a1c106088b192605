"""``GET /users``, ``/users/<id>`` and ``/users/me``: who sees what of whom."""

from itertools import chain

import pytest
from sqlalchemy import insert

from core.conftest import KEY_OF_USER_1, add_permissions
from core.db import db
from core.users import services
from core.users.models import (
    ClassPermission,
    SecondaryClass,
    SecondaryClassMember,
    SecondaryClassPermission,
    User,
    UserPermission,
)

pytestmark = pytest.mark.any_database

FIELDS = [
    "id", "username", "enabled", "user_class", "secondary_classes", "uploaded", "downloaded",
    "email", "locked", "invites", "inviter", "api_keys", "basic_permissions", "permissions",
]  # fmt: skip
OPEN = FIELDS[:7]
KEY_FIELDS = [
    "hash", "user_id", "last_used", "ip", "user_agent", "revoked", "permanent", "timeout", "permissions",
    "name", "created", "kind",
]  # fmt: skip


@pytest.fixture
def people(clean_database):
    """User 1 invited user 2, who is in two secondary classes and may do a few things."""
    db.session.add(SecondaryClass(id=2, name="Crew"))  # beside FLS, of the kit
    db.session.flush()
    members = [{"user_id": 2, "secondary_class_id": number} for number in (1, 2)]
    db.session.execute(insert(SecondaryClassMember), members)
    db.session.add_all(
        [
            ClassPermission(user_class_id=1, permission="invites_view"),
            ClassPermission(user_class_id=1, permission="users_edit_settings"),
            ClassPermission(user_class_id=1, permission="gone_look"),  # of a plugin that is not enabled
            SecondaryClassPermission(secondary_class_id=2, permission="jobs_view_others"),
            UserPermission(user_id=2, permission="users_edit_settings", granted=False),
            UserPermission(user_id=2, permission="invites_send", granted=True),
        ]
    )
    db.session.get(User, 2).inviter_id = 1
    db.session.get(User, 2).invites = 3
    db.session.commit()


def seen(answer):
    """What is not null in the user of this answer."""
    assert answer.status_code == 200
    user = answer.json["response"]
    assert list(user) == FIELDS
    return {name: value for name, value in user.items() if value is not None}


def names_in(answer):
    assert answer.status_code == 200
    return [user["username"] for user in answer.json["response"]]


def add_users(count, **more):
    rows = [
        {
            "username": f"guest{number:03}",
            "username_key": f"guest{number:03}",
            "email": "a@example.org",
            "password": "",
            "user_class_id": 1,
            "created_at": db.session.get(User, 1).created_at,
        }
        for number in range(count)
    ]
    db.session.execute(insert(User), [row | more for row in rows])
    db.session.commit()


def test_others_see_names_and_classes(one, app, people):
    add_permissions(app, "users_view")
    user = seen(one.get("/users/2"))
    assert user == {
        "id": 2, "username": "user_two", "enabled": True, "user_class": "User",
        "secondary_classes": ["FLS", "Crew"], "uploaded": 0, "downloaded": 0,
    }  # fmt: skip


def test_a_user_sees_his_own_account_and_not_who_asked_him(two, people):
    user = seen(two.get("/users/me"))
    assert list(user) == [*OPEN, "email", "locked", "invites", "api_keys", "permissions"]
    assert user["permissions"] == ["invites_send", "invites_view", "jobs_view_others"]
    (key,) = user["api_keys"]  # the other one is revoked
    assert list(key) == KEY_FIELDS
    assert (key["hash"], key["user_id"], key["kind"]) == ("bcdefghijk", 2, "key")


def test_a_moderator_sees_more_and_an_advanced_one_all(one, app, people):
    add_permissions(app, "users_view", "users_moderate")
    user = seen(one.get("/users/2"))
    assert list(user) == FIELDS[:-1]
    assert (user["email"], user["invites"]) == ("user_two@example.org", 3)
    assert user["basic_permissions"] == ["invites_send"]
    assert user["inviter"]["username"] == "user_one"
    assert user["inviter"]["api_keys"] is None  # inside another object
    assert user["api_keys"] == [None]  # each needs api_keys_view_others
    add_permissions(app, "users_moderate_advanced", "api_keys_view_others")
    user = seen(one.get("/users/2"))
    assert user["permissions"] == ["invites_send", "invites_view", "jobs_view_others"]
    assert user["api_keys"][0]["hash"] == "bcdefghijk"


def test_no_answer_has_a_digest(one, app, people):
    add_permissions(app, "site_god_mode")
    stored = db.session.get(User, 1).api_keys[0].digest
    for path in ("/users", "/users/1", "/users/me"):
        text = one.get(path).text
        assert stored not in text
        assert "argon2" not in text


def test_a_locked_account_shows_what_it_may_still_do(one, app, people, monkeypatch):
    monkeypatch.setitem(app.config, "LOCKED_ACCOUNT_PERMISSIONS", ["users_edit_settings", "site_god_mode"])
    db.session.get(User, 2).locked = True
    db.session.commit()
    add_permissions(app, "users_view", "users_moderate", "users_moderate_advanced")
    user = seen(one.get("/users/2"))
    assert (user["permissions"], user["basic_permissions"]) == (["users_edit_settings"], [])


def test_what_is_hidden_costs_no_query(one, app, people, query_counter):
    add_permissions(app, "users_view")
    one.get("/users/2")
    # User 3 is in no secondary class. The check of the key goes by the driver itself and is not counted.
    for user, most in (("2", 2), ("3", 1)):
        with query_counter() as statements:
            one.get(f"/users/{user}")
        assert len(statements) == most
        for table in ("core_api_keys", "core_user_permissions", "core_class_permissions"):
            assert table not in "".join(statements)


@pytest.mark.parametrize("permissions", [["users_view"], ["site_god_mode"]])
def test_a_list_costs_as_much_for_one_page_as_for_a_full_one(one, app, people, query_counter, permissions):
    add_permissions(app, *permissions)
    one.get("/users")
    with query_counter() as few:
        assert len(names_in(one.get("/users"))) == 3
    add_users(60, inviter_id=2)
    with query_counter() as many:
        assert len(names_in(one.get("/users?limit=50"))) == 50
    assert len(many) <= len(few)


def test_users_are_listed_by_name_in_pages(one, app, people):
    add_permissions(app, "users_view")
    add_users(57)
    first = one.get("/users?limit=25")
    pages = [names_in(first), *(names_in(one.get(f"/users?limit=25&page={page}")) for page in (2, 3))]
    assert [len(page) for page in pages] == [25, 25, 10]
    names = list(chain.from_iterable(pages))
    assert names == sorted(names)
    assert first.headers["X-Total-Count"] == "60"
    assert 'page=2>; rel="next"' in first.headers["Link"]
    past = one.get("/users?page=9")
    assert (names_in(past), past.headers["X-Total-Count"]) == ([], "60")


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("user", ["user_one", "user_three", "user_two"]),
        ("T", ["user_three", "user_two"]),
        ("_t", ["user_three", "user_two"]),
        ("user%", []),
        ("u%o", []),
        ("user.one", []),
        ("/_", []),
        ("\\_", []),
        ("é🏎", []),
        ("", ["user_one", "user_three", "user_two"]),
    ],
)
def test_a_search_finds_names_with_it_and_takes_nothing_for_a_wildcard(one, app, people, search, found):
    add_permissions(app, "users_view")
    answer = one.get("/users", query_string={"search": search})
    assert (names_in(answer), answer.headers["X-Total-Count"]) == (found, str(len(found)))


def test_who_may_not_see_users_sees_none(two, client, people):
    assert {two.get(path).status_code for path in ("/users", "/users/1", "/users/99")} == {403}
    assert {client.get(path).status_code for path in ("/users", "/users/1", "/users/me")} == {401}


def test_a_user_who_is_not_there_is_404(one, app):
    add_permissions(app, "users_view")
    for number in (7, 0, 2**63 - 1, 2**63, 10**40):
        answer = one.get(f"/users/{number}")
        assert (answer.status_code, answer.json["response"]) == (404, f"User {number} does not exist.")


def test_a_key_with_a_scope_hides_what_its_user_may_see(app, client_of, people, api_key_factory):
    add_permissions(app, "users_view", "users_moderate")
    key = api_key_factory(services.get_user(1), permissions=["users_view"])
    assert list(seen(client_of(key).get("/users/2"))) == OPEN
    assert "email" in seen(client_of(KEY_OF_USER_1).get("/users/2"))
