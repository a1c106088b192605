"""Passwords: what they cost, what is kept of them, how they are changed."""

import re
import threading

import pytest
from argon2 import PasswordHasher, extract_parameters
from flask import g
from sqlalchemy import select

from core.conftest import CHEAP_ARGON2, KEY_OF_USER_1, add_permissions
from core.db import db
from core.errors import Unavailable, ValidationFailed
from core.models import Event
from core.users import services
from core.users.models import User
from core.users.services.passwords import password_turn

pytestmark = pytest.mark.any_database

NEW = "correct horse 1!"
SETTINGS = ("users_edit_settings", "users_change_password")
BODY = {"existing_password": "12345", "new_password": NEW}


@pytest.fixture
def context(app, clean_database):
    """A request in which services are called directly, with the site's password settings put back after."""
    before = {name: app.config[name] for name in ("ARGON2_PARAMETERS", "PASSWORD_POLICY", "WEB_THREADS")}
    with app.test_request_context():
        g.identity = None
        yield app
    app.config.update(before)


def log_in(client, password):
    return client.post("/api_keys", json={"username": "user_one", "password": password}).status_code


@pytest.fixture
def digests(monkeypatch):
    """What argon2 is asked meanwhile: to check or to make a digest, and at which cost."""
    asked = []
    check, make = PasswordHasher.verify, PasswordHasher.hash

    def verify(self, stored, password):
        asked.append(("check", extract_parameters(stored), len(password)))
        return check(self, stored, password)

    def hash_(self, password, **more):
        asked.append(("make", self._parameters, len(password)))
        return make(self, password, **more)

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    monkeypatch.setattr(PasswordHasher, "hash", hash_)
    return asked


def by_key(client, name, password):
    return client.post("/api_keys", json={"username": name, "password": password})


def by_session(client, name, password):
    return client.post("/sessions", json={"username": name, "password": password})


def by_page(client, name, password):
    token = re.search(r'name="csrf_token" value="([^"]*)"', client.get("/login").text)[1]
    return client.post("/login", data={"username": name, "password": password, "csrf_token": token})


@pytest.mark.parametrize("road", [by_key, by_session, by_page])
def test_an_account_that_is_not_there_costs_what_one_costs_that_is(
    app, client, digests, query_counter, monkeypatch, road
):
    """One digest with the parameters of today, and as many statements, whoever is named and why it fails."""
    monkeypatch.setitem(app.config, "RATE_LIMIT_LOGIN_ADDRESS", None)
    db.session.get(User, 2).enabled = False
    db.session.get(User, 3).locked = True
    db.session.commit()
    road(client, "warm_up", "wrong 12345")
    costs = {}
    for name in ("user_one", "user_two", "user_three", "nobody", "no body!", "x" * 4000):
        digests.clear()
        with query_counter() as statements:
            answer = road(client, name, "wrong 12345")
        assert answer.status_code == 401
        costs[name] = list(digests), len(statements)
    now = PasswordHasher(**CHEAP_ARGON2)._parameters
    assert costs["user_one"][0] == [("check", now, 11)]
    assert {str(asked) for asked, _ in costs.values()} == {str(costs["user_one"][0])}
    # A name that nobody can have is not looked for: to say so tells nothing.
    assert {costs[name][1] for name in ("user_two", "user_three", "nobody")} == {costs["user_one"][1]}
    digests.clear()
    assert road(client, "user_two", "12345").status_code == 403
    assert len(digests) == 1
    assert road(client, "user_one", "x" * 4000).status_code == 401
    assert digests[-1] == ("check", now, 513)  # more than any password has is not looked at


def test_a_request_with_a_key_costs_no_digest_of_a_password(app, authed_client, digests):
    app.extensions["pulsar"].identities.clear()
    for _ in range(3):
        assert authed_client.get("/users/me").status_code == 200
    assert digests == []


def test_a_digest_with_old_parameters_is_replaced_at_login(app, client):
    def stored():
        db.session.rollback()
        return db.session.get(User, 1).password

    old = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)
    db.session.get(User, 1).password = old.hash("12345")
    db.session.commit()
    assert log_in(client, "wrong") == 401
    assert extract_parameters(stored()).time_cost == 2
    assert log_in(client, "12345") == 200
    assert extract_parameters(stored()).time_cost == 1
    assert log_in(client, "12345") == 200


@pytest.mark.parametrize("digest", ["", "!", "x" * 200, "$argon2id$v=19$m=8,t=1,p=1$", "{sha}abc"])
def test_a_damaged_digest_opens_nothing(client, digest):
    db.session.get(User, 1).password = digest
    db.session.commit()
    for password in (digest or "x", "12345"):
        assert log_in(client, password) == 401


def test_too_many_at_once_are_sent_away_and_the_others_still_served(context):
    context.config["WEB_THREADS"] = 2  # so that one thread may work on passwords
    client = context.test_client()
    with password_turn():
        answers = [None, None]

        def ask():
            answers[0] = client.post("/api_keys", json={"username": "user_one", "password": "12345"})
            answers[1] = client.get("/health")

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        with pytest.raises(Unavailable):
            services.hash_password("x")
    assert answers[0].status_code == 503
    assert answers[0].headers["Retry-After"] == "1"
    assert answers[1].status_code == 200
    assert log_in(client, "12345") == 200


def test_a_site_may_have_rules_of_its_own(context):
    context.config["PASSWORD_POLICY"] = lambda password, username, email: (
        None if password.startswith(username) else "must start with your name"
    )
    services.check_password_policy("ann", username="ann")
    for bad in (NEW, "ann" + "x" * 512, "ann" + "x" * 40):
        with pytest.raises(ValidationFailed, match='key "password"'):
            services.check_password_policy(bad, username="ann")


def test_changing_it_ends_everything_else(app, authed_client, client_of):
    add_permissions(app, *SETTINGS)
    other = authed_client.post("/api_keys", json={}).json["response"]["key"]
    session = app.test_client()
    credentials = {"username": "user_one", "password": "12345"}
    assert session.post("/sessions", json=credentials).status_code == 200
    answer = authed_client.put("/users/settings", json=BODY)
    assert (answer.status_code, answer.json["response"]) == (200, "Settings updated.")
    assert client_of(other).get("/users/me").status_code == 401
    assert session.get("/users/me").status_code == 401
    assert authed_client.get("/users/me").status_code == 200
    assert log_in(app.test_client(), "12345") == 401
    assert log_in(app.test_client(), NEW) == 200
    assert "core.user.password_changed" in db.session.scalars(select(Event.name)).all()


def test_who_may_not_change_it_is_told(app, authed_client):
    assert authed_client.put("/users/settings", json=BODY).status_code == 403
    add_permissions(app, "users_edit_settings")
    answer = authed_client.put("/users/settings", json=BODY)
    words = "You do not have permission to change this password."
    assert (answer.status_code, answer.json["response"]) == (403, words)
    assert authed_client.put("/users/settings", json={}).json["response"] == "Settings updated."
    assert log_in(app.test_client(), "12345") == 200


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"existing_password": "wrong"}, 401),
        ({"existing_password": ""}, 401),
        ({"existing_password": None}, 400),
        ({"existing_password": 12345}, 400),
        ({"existing_password": "12345\0"}, 400),
        ({"new_password": None}, 400),
        ({"new_password": ["x"]}, 400),
        ({"new_password": "short1!"}, 400),
        ({"new_password": ""}, 400),
        ({"new_password": "x" * 511 + "1!"}, 400),
        ({"new_password": NEW + "\0"}, 400),
        ({"more": 1}, 400),
    ],
)
def test_a_refused_change_changes_nothing(app, authed_client, change, status):
    add_permissions(app, *SETTINGS)
    answer = authed_client.put("/users/settings", json=BODY | change)
    assert answer.status_code == status
    if status == 401:
        assert answer.json["response"] == "Invalid existing password."
    assert log_in(app.test_client(), "12345") == 200


def test_the_existing_password_is_needed(app, authed_client):
    add_permissions(app, *SETTINGS)
    answer = authed_client.put("/users/settings", json={"new_password": NEW})
    assert (answer.status_code, answer.json["response"]) == (401, "Invalid existing password.")


def test_that_of_another_user_needs_a_permission_and_the_password(app, authed_client, client_of):
    add_permissions(app, *SETTINGS)
    for user_id in (2, 99):
        assert authed_client.put(f"/users/settings?user_id={user_id}", json=BODY).status_code == 403
    add_permissions(app, "users_moderate")
    assert authed_client.put("/users/settings?user_id=99", json=BODY).status_code == 404
    assert authed_client.put("/users/settings?user_id=x", json=BODY).status_code == 400
    wrong = authed_client.put("/users/settings?user_id=2", json=BODY | {"existing_password": "x"})
    assert wrong.status_code == 401
    assert authed_client.put("/users/settings?user_id=2", json=BODY).status_code == 200
    assert authed_client.get("/users/me").status_code == 200
    assert log_in(app.test_client(), "12345") == 200


def test_that_of_an_administrator_is_changed_by_administrators_alone(app, authed_client):
    add_permissions(app, *SETTINGS, "users_moderate")
    add_permissions(app, "site_god_mode", user_id=2)
    assert authed_client.put("/users/settings?user_id=2", json=BODY).status_code == 403
    add_permissions(app, "site_god_mode")
    assert authed_client.put("/users/settings?user_id=2", json=BODY).status_code == 200


def test_guessing_the_existing_password_is_limited(app, authed_client):
    add_permissions(app, *SETTINGS)
    wrong = BODY | {"existing_password": "wrong"}
    codes = [authed_client.put("/users/settings", json=wrong).status_code for _ in range(11)]
    assert codes == [401] * 10 + [429]
    assert authed_client.put("/users/settings", json=BODY).status_code == 429
    assert log_in(app.test_client(), "12345") == 429


def test_no_password_is_in_what_is_kept(app, authed_client):
    add_permissions(app, *SETTINGS)
    authed_client.put("/users/settings", json=BODY)
    kept = [str(event.payload) + event.target for event in db.session.scalars(select(Event))]
    assert not re.search("12345|horse", " ".join(kept))
    assert KEY_OF_USER_1[10:] not in " ".join(kept)
