"""Users of the site, as administrators of a registry see and change them."""

from datetime import datetime

import pytest
from mail_server import MailServer
from registry_kit import Person

from core.db import db
from core.identity import OPERATOR
from core.jobs.run import run_next, worker_name
from core.users import services

pytestmark = pytest.mark.any_database

NAMED = ("disable", "enable", "grant_admin", "revoke_admin", "reset_password", "delete")


@pytest.fixture
def admin(app, people, user_factory, api_key_factory):
    client = app.test_client()
    key = api_key_factory(user_factory("boss", "site_god_mode"))
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return Person("boss", client)


def statuses(admin, name, *calls):
    return [admin.post(f"/api/users/{call}", json={"username": name}).status_code for call in calls]


def test_only_administrators_may_ask(people, admin):
    for person, status in ((people.ann, 403), (people.nobody, 401)):
        answers = [person.post(f"/api/users/{call}", json={"username": "bob"}) for call in NAMED]
        answers.append(person.post("/api/users/create", json={"username": "x", "email": "x@y"}))
        answers += [person.get("/api/users/list"), person.get("/api/users/list_detailed")]
        assert {answer.status_code for answer in answers} == {status}
        if status == 403:
            assert {answer.json["message"] for answer in answers} == {
                "Must be authenticated as an admin to use this endpoint."
            }


def test_everybody_is_listed(people, admin):
    people.nobody.post("/api/login", json={"username": "ann", "password": "correct horse 1!"})
    services.change_user(services.find_user("eve").id, {"enabled": False}, OPERATOR)
    db.session.commit()
    found = {user["username"]: user for user in admin.get("/api/users/list").json["results"]}
    assert list(found) == sorted(found)
    assert {"ann", "bob", "eve", "boss", "user_one"} <= found.keys()
    for user in found.values():
        assert isinstance(user["email"], str)
        assert datetime.fromisoformat(user["date_joined"]).tzinfo is not None
    assert [found[name]["is_superuser"] for name in ("boss", "ann")] == [True, False]
    assert [found[name]["is_active"] for name in ("eve", "ann")] == [False, True]
    assert found["bob"]["last_login"] is None
    assert datetime.fromisoformat(found["ann"]["last_login"]) >= datetime.fromisoformat(
        found["ann"]["date_joined"]
    )


def test_a_longer_list_costs_no_more(people, admin, query_counter, user_factory):
    admin.get("/api/users/list")  # who asks is known from here on
    counts = []
    for number in range(2):
        with query_counter() as statements:
            assert admin.get("/api/users/list_detailed").status_code == 200
        counts.append(len(statements))
        for extra in range(5):
            user_factory(f"more{number}{extra}")
    assert counts[0] == counts[1]


def test_the_detailed_list_says_how_much_each_one_uses(people, admin):
    digest = people.ann.push("ann/p", {"a": b"1"}, is_team=True)
    people.bob.get(f"/api/package/ann/p/{digest}")
    found = admin.get("/api/users/list_detailed").json["users"]
    assert found["ann"].keys() == {
        *("packages", "installs", "previews", "pushes", "deletes", "status", "last_seen", "is_admin")
    }
    assert [found["ann"][word] for word in ("packages", "pushes", "installs")] == [1, 1, 0]
    assert [found["bob"][word] for word in ("packages", "pushes", "installs")] == [0, 0, 1]
    assert isinstance(found["bob"]["last_seen"], float)
    assert (found["bob"]["status"], found["boss"]["is_admin"]) == ("active", True)


def test_accounts_are_switched_off_and_on(people, admin):
    token = people.nobody.post("/api/login", json={"username": "bob", "password": "correct horse 1!"}).json[
        "token"
    ]
    assert statuses(admin, "bob", "disable", "disable") == [200, 200]
    assert people.bob.get("/api/me").status_code == 403
    assert admin.get("/api/users/list_detailed").json["users"]["bob"]["status"] == "disabled"
    assert statuses(admin, "bob", "enable") == [200]
    assert people.bob.get("/api/me").status_code == 200
    bearer = {"Authorization": f"Bearer {token}"}
    assert people.nobody.get("/api/me", headers=bearer).status_code == 401, "codes and tokens ended"


def test_administrators_are_made_and_unmade(people, admin):
    assert statuses(admin, "bob", "grant_admin", "grant_admin") == [200, 200]
    assert people.bob.get("/api/me").json["is_staff"] is True
    assert statuses(people.bob, "boss", "revoke_admin") == [200]
    assert admin.get("/api/users/list").status_code == 403
    assert statuses(people.bob, "bob", "revoke_admin", "disable") == [403, 403]
    assert people.bob.get("/api/users/list").status_code == 200


@pytest.mark.parametrize("call", NAMED)
def test_somebody_who_is_not_here_is_404(people, admin, call):
    answer = admin.post(f"/api/users/{call}", json={"username": "nobody_here"})
    expected = (
        (400, "This endpoint is not enabled.")
        if call == "delete"
        else (404, "User nobody_here does not exist")
    )
    assert (answer.status_code, answer.json["message"]) == expected
    for body in ({}, {"username": None}, {"username": "x", "more": 1}, []):
        assert admin.post(f"/api/users/{call}", json=body).status_code == 400


def test_a_new_account_gets_a_link_for_its_password(app, people, admin, settings):
    server = MailServer()
    settings(MAIL_URL=server.url, PUBLIC_URL="https://lab.example.org")
    assert admin.post("/api/users/create", json={"username": "carl", "email": "carl@example.org"}).json == {}
    again = admin.post("/api/users/create", json={"username": "Carl", "email": "c@example.org"})
    assert (again.status_code, again.json["message"]) == (409, "User Carl already exists")
    assert (
        admin.post("/api/users/create", json={"username": "a b", "email": "c@example.org"}).status_code == 400
    )
    while run_next(app, worker_name()):
        pass
    (letter,) = server.mails
    assert letter["to"] == "TO:<carl@example.org>"
    assert "https://lab.example.org/password/" in letter["text"]
    assert statuses(admin, "ann", "reset_password") == [200]
    while run_next(app, worker_name()):
        pass
    assert server.mails[1]["to"] == "TO:<ann@example.org>"
    server.close()


def test_without_a_mail_server_an_administrator_is_told_so(people, admin):
    answer = admin.post("/api/users/reset_password", json={"username": "ann"})
    assert (answer.status_code, answer.json["code"]) == (400, "no_mail")
    assert (
        admin.post("/api/users/create", json={"username": "carl", "email": "carl@example.org"}).status_code
        == 200
    )
    assert services.find_user("carl") is not None
