"""How often a login may fail: counted in the database, for the account and for the address."""

import threading

import pytest
from sqlalchemy import select

from core.app import create_app
from core.conftest import CHEAP_ARGON2, KEY_OF_USER_1
from core.db import db
from core.models import Event
from core.users.models import LoginFailure, User

RIGHT = {"username": "user_one", "password": "12345"}
WRONG = RIGHT | {"password": "wrong"}


@pytest.fixture
def log_in(client):
    """``log_in(body, address)``: the status."""

    def post(body, address="127.0.0.1"):
        return client.post("/api_keys", json=body, environ_overrides={"REMOTE_ADDR": address}).status_code

    return post


def test_the_eleventh_wrong_password_and_then_the_right_one_too_must_wait(client, log_in, freeze_time):
    freeze_time(0)
    assert [log_in(WRONG) for _ in range(11)] == [401] * 10 + [429]
    freeze_time(100)
    answer = client.post("/api_keys", json=RIGHT)
    assert (answer.status_code, answer.json["error"]["code"]) == (429, "rate_limited")
    assert answer.headers["Retry-After"] == "800"
    assert log_in(RIGHT, "10.0.0.1") == 429
    assert log_in(RIGHT | {"username": "user_two"}) == 200
    freeze_time(901)
    assert log_in(RIGHT) == 200


def test_the_case_of_the_name_is_no_way_around(log_in):
    names = ["user_one", "USER_ONE"] * 5
    assert {log_in(WRONG | {"username": name}) for name in names} == {401}
    assert log_in(WRONG | {"username": "User_One"}) == 429


def test_success_forgets_what_failed(log_in):
    for _ in range(2):
        assert [log_in(WRONG) for _ in range(9)] == [401] * 9
        assert log_in(RIGHT) == 200


def test_an_unknown_name_is_counted_alike_and_not_kept(log_in):
    body = {"username": "hunter2 typed in the wrong field", "password": "x"}
    assert [log_in(body) for _ in range(11)] == [401] * 10 + [429]
    kept = [row.subject for row in db.session.scalars(select(LoginFailure))]
    assert len(kept) == 2
    assert all(len(subject) == 64 and "hunter2" not in subject for subject in kept)
    events = list(db.session.scalars(select(Event)))
    assert [event.name for event in events] == ["core.login.failed"] * 10
    assert "hunter2" not in str([(event.target, event.payload, event.actor) for event in events])


def test_an_address_has_a_limit_over_all_names(log_in):
    for number in range(30):
        assert log_in(WRONG | {"username": f"user{number}"}, "10.0.0.1") == 401
    assert log_in(RIGHT, "10.0.0.1") == 429
    assert log_in(RIGHT, "10.0.0.2") == 200


def test_the_addresses_of_one_ipv6_network_are_one(log_in):
    for number in range(30):
        assert log_in(WRONG | {"username": f"user{number}"}, f"2001:db8::{number:x}") == 401
    assert log_in(RIGHT, "2001:db8::ffff:1") == 429
    assert log_in(RIGHT, "2001:db8:0:1::1") == 200


def test_right_passwords_do_not_count_against_an_address(log_in):
    assert {log_in(RIGHT) for _ in range(35)} == {200}


def test_bad_keys_do_not_count(client_of, log_in):
    for _ in range(40):
        assert client_of(KEY_OF_USER_1[:-1] + "!").get("/users/me").status_code == 401
    assert log_in(RIGHT) == 200


def test_a_disabled_account_does_not_tell_a_guesser(log_in):
    db.session.get(User, 1).enabled = False
    db.session.commit()
    assert [log_in(WRONG) for _ in range(10)] == [401] * 10
    assert log_in(RIGHT) == 429


def test_what_is_over_is_deleted(log_in, freeze_time):
    freeze_time(0)
    for number in range(5):
        log_in(WRONG | {"username": f"user{number}"})
    freeze_time(1000)
    log_in(WRONG)
    assert len(list(db.session.scalars(select(LoginFailure)))) == 2


def test_tries_at_once_in_several_processes_are_not_more_than_allowed(app, clean_database, database):
    other = create_app(
        app.instance_path, TESTING=True, SQLALCHEMY_DATABASE_URI=database, ARGON2_PARAMETERS=CHEAP_ARGON2
    )
    codes = []

    def post(site):
        for _ in range(4):
            codes.append(site.test_client().post("/api_keys", json=WRONG).status_code)

    threads = [threading.Thread(target=post, args=(site,)) for site in (app, other) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with other.app_context():
        db.engine.dispose()
    assert len(codes) == 16
    assert (codes.count(401), codes.count(429)) == (10, 6)


@pytest.mark.parametrize("none", ["RATE_LIMIT_LOGIN_ACCOUNT", "RATE_LIMIT_LOGIN_ADDRESS"])
def test_a_limit_may_be_switched_off(app, log_in, monkeypatch, none):
    monkeypatch.setitem(app.config, none, None)
    codes = [log_in(WRONG if "ADDRESS" in none else WRONG | {"username": f"u{n}"}) for n in range(12)]
    assert codes == ([401] * 10 + [429] * 2 if "ADDRESS" in none else [401] * 12)
