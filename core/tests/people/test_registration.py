"""``POST /users``: who may join, under which name."""

import pytest
from sqlalchemy import func, select

from core.db import db
from core.models import Event
from core.users import services
from core.users.models import Invite, User
from core.users.services.passwords import AT_ONCE

pytestmark = pytest.mark.any_database

ANN = {"username": "Ann", "password": "correct horse 1!", "email": " Ann@Example.org "}
MANY = AT_ONCE  # more than that a process does not let make digests side by side


@pytest.fixture
def open_site(app, monkeypatch):
    monkeypatch.setitem(app.config, "REQUIRE_INVITE_CODE", False)


@pytest.fixture
def register_at_once(client, app, at_once, meet_at_hash):
    """Registrations of Ann, each with other changes, of which none writes before all were checked."""

    def run(*changes):
        meet_at_hash(len(changes))

        def call(changed):
            return lambda: app.test_client().post("/users", json=ANN | changed)

        return at_once(*(call(changed) for changed in changes))

    return run


def said(answer):
    return answer.status_code, answer.json["response"]


def count(model, *wanted):
    db.session.rollback()
    return db.session.scalar(select(func.count()).select_from(model).where(*wanted))


def test_without_invites_anyone_can_register_and_sign_in(client, open_site):
    assert said(client.post("/users", json=ANN)) == (200, {"username": "Ann"})
    ann = services.find_user("aNN")
    assert (ann.username, ann.email, ann.user_class_id, ann.inviter_id) == ("Ann", "ann@example.org", 1, None)
    assert services.passwords().verify(ann.password, ANN["password"])
    event = db.session.scalar(select(Event).where(Event.name == "core.user.created"))
    assert (event.target, event.actor_id, event.payload) == (f"user:{ann.id}", None, {"username": "Ann"})


def test_an_invite_brings_one_user_who_knows_who_asked(client, make_invite):
    code = make_invite(0, inviter_id=2)
    assert said(client.post("/users", json=ANN | {"code": code})) == (200, {"username": "Ann"})
    ann, invite = services.find_user("ann"), db.session.get(Invite, code)
    assert ann.inviter_id == 2
    assert (invite.invitee_id, invite.expired) == (ann.id, True)
    again = client.post("/users", json=ANN | {"username": "bob", "code": code})
    assert said(again) == (400, f"{code} is not a valid invite code.")
    assert services.find_user("bob") is None
    used = db.session.scalar(select(Event).where(Event.name == "core.invite.used"))
    assert code not in f"{used.target}{used.payload}"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (None, "An invite code is required for registration."),
        ("", "Invite code must be a 24 character string."),
        (7, "Invite code must be a 24 character string."),
        (["x"], "Invite code must be a 24 character string."),
        ("x" * 25, "Invite code must be a 24 character string."),
        ("x" * 24, "xxxxxxxxxxxxxxxxxxxxxxxx is not a valid invite code."),
        ("é" * 24, "éééééééééééééééééééééééé is not a valid invite code."),
    ],
)
def test_a_bad_code_is_refused_in_words(client, code, message):
    assert said(client.post("/users", json=ANN | {"code": code})) == (400, message)
    assert services.find_user("ann") is None


def test_a_code_that_is_old_or_revoked_is_no_good(client, app, make_invite):
    lifetime = app.config["INVITE_LIFETIME"]
    dead = [make_invite(0, age=lifetime + 5), make_invite(1, expired=True)]
    for code in (*dead, dead[0].upper()):
        answer = client.post("/users", json=ANN | {"code": code})
        assert said(answer) == (400, f"{code} is not a valid invite code.")
    fresh = make_invite(2, age=lifetime - 5)
    assert client.post("/users", json=ANN | {"code": fresh}).status_code == 200


def test_other_fields_are_looked_at_before_the_code(client):
    assert 'key "email"' in client.post("/users", json=ANN | {"email": "x", "code": 7}).json["response"]
    taken = client.post("/users", json=ANN | {"username": "USER_ONE", "code": 7})
    assert said(taken) == (
        400,
        'Invalid data: another user already has the username USER_ONE (key "username")',
    )


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("username", ["", "-a", ".a", "a b", "a" * 33, "é", "a\n", "0", "1", "me", "ME"]),
        ("email", ["", "x", "@", "a@b@c", "a b@c.de", "a@" + "b" * 254]),
        ("password", ["", "short 1!", "x" * 12, "x" * 513, "no digit here!", "1234567890!!"]),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_stored(client, open_site, field, values):
    for value in values:
        answer = client.post("/users", json=ANN | {field: value})
        assert (answer.status_code, answer.json["error"]["code"]) == (400, "validation_failed")
        assert list(answer.json["error"]["details"]) == [field]
    assert count(User) == 3


def test_names_that_plugins_reserve_cannot_be_taken(make_plugin, make_site):
    make_plugin(
        "probe",
        hooks="""
        from core.hookspecs import hookimpl

        @hookimpl
        def reserved_usernames():
            return ["inbox"]
        """,
    )
    site = make_site("probe", tables=True, REQUIRE_INVITE_CODE=False).test_client()
    for name in ("inbox", "Inbox", "me"):
        answer = site.post("/users", json=ANN | {"username": name})
        assert said(answer) == (400, 'Invalid data: this name is reserved (key "username")')
    assert site.post("/users", json=ANN | {"username": "inbox2"}).status_code == 200


def test_one_code_brings_one_user_however_many_use_it_at_once(make_invite, register_at_once):
    code = make_invite(0, inviter_id=2)
    answers = register_at_once(*({"username": f"guest{number}", "code": code} for number in range(MANY)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * (MANY - 1)
    refused = {answer.json["response"] for answer in answers if answer.status_code == 400}
    assert refused == {f"{code} is not a valid invite code."}
    assert count(User, User.inviter_id == 2) == 1


def test_one_name_goes_to_one_user_however_many_want_it_at_once(open_site, register_at_once):
    answers = register_at_once(*({"username": name} for name in ("ann", "ANN")))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * (MANY - 1)
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json["error"]["code"] == "conflict"
            assert answer.json["response"].startswith("Another user already has the username ")
    assert count(User, User.username_key == "ann") == 1
    assert count(Event, Event.name == "core.user.created") == 1


def test_an_invite_is_not_used_up_by_a_registration_that_fails(make_invite, register_at_once):
    answers = register_at_once(*({"code": make_invite(number)} for number in range(2)))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert count(Invite, Invite.expired.is_(False)) == 1
