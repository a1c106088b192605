"""``/invites``: sending, looking, revoking."""

import re

import pytest
from sqlalchemy import select

from core.conftest import KEY_OF_USER_1, add_permissions, check_json_response
from core.db import db
from core.models import Event
from core.users import services
from core.users.models import Invite, User

CLASS_1 = ("invites_view", "invites_revoke")
MANY = 5


@pytest.fixture
def sender(app, one):
    """A client of user 1, who may do with invites what ordinary people may, and has two to send."""
    add_permissions(app, *CLASS_1, "invites_send")
    services.get_user(1).invites = 2
    db.session.commit()
    return one


def left(user_id=1):
    db.session.rollback()
    return db.session.get(User, user_id).invites


def codes_in(answer):
    assert answer.status_code == 200
    return [invite["code"] for invite in answer.json["response"]]


def test_sending_costs_one_invite_until_none_is_left(sender):
    sent = sender.post("/invites", json={"email": " Guest@Example.org "}).json["response"]
    assert list(sent) == ["code", "email", "time_sent", "expired", "invitee", "from_ip", "inviter"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{24}", sent["code"])
    assert (sent["email"], sent["expired"], sent["invitee"]) == ("guest@example.org", False, None)
    assert (sent["from_ip"], sent["inviter"]) == (None, None)  # for holders of invites_view_others
    assert sender.get(f"/invites/{sent['code']}").json["response"] == sent
    assert sender.post("/invites", json={"email": "b@example.org"}).status_code == 200
    third = sender.post("/invites", json={"email": "c@example.org"})
    assert (third.status_code, third.json["response"]) == (400, "You do not have an invite to send.")
    assert left() == 0
    events = db.session.scalars(select(Event).where(Event.name == "core.invite.sent")).all()
    assert len(events) == 2
    assert all(sent["code"] not in event.target for event in events)


def test_the_last_invite_is_sent_once_however_many_try_at_once(sender, app, at_once):
    def send():
        headers = {"Authorization": f"Token {KEY_OF_USER_1}"}
        return app.test_client().post("/invites", json={"email": "a@example.org"}, headers=headers)

    statuses = [answer.status_code for answer in at_once(*[send] * MANY)]
    assert sorted(statuses) == [200, 200] + [400] * (MANY - 2)
    assert left() == 0


def test_where_anyone_can_register_there_are_no_invites(sender, app, monkeypatch):
    monkeypatch.setitem(app.config, "REQUIRE_INVITE_CODE", False)
    answer = sender.post("/invites", json={"email": "a@example.org"})
    assert answer.status_code == 400
    assert answer.json["response"] == (
        "An invite code is not required to register, so invites have been disabled."
    )
    assert left() == 2


def test_the_address_is_for_few_and_not_written_down_for_who_wants_that(sender, app, client_of):
    sender.post("/invites", json={"email": "a@example.org"}, environ_base={"REMOTE_ADDR": "192.0.2.7"})
    add_permissions(app, "invites_view_others", "site_no_ip_history")
    sender.post("/invites", json={"email": "b@example.org"}, environ_base={"REMOTE_ADDR": "192.0.2.7"})
    second, first, *_ = sender.get("/invites").json["response"]
    assert (first["from_ip"], second["from_ip"]) == ("192.0.2.7", "0.0.0.0")
    assert first["inviter"]["username"] == "user_one"
    assert first["inviter"]["api_keys"] is None


def test_invites_of_others_look_like_none_at_all(one, app, make_invite):
    mine, other = make_invite(0, inviter_id=1), make_invite(1, inviter_id=2)
    add_permissions(app, *CLASS_1)
    for code in (other, "x" * 24, "short", "%C3%A9" * 24):
        for call in (one.get, one.delete):
            answer = call(f"/invites/{code}")
            expected = f"Invite {code.replace('%C3%A9', 'é')} does not exist."
            assert (answer.status_code, answer.json["response"]) == (404, expected)
    assert one.get(f"/invites/{mine}").status_code == 200
    add_permissions(app, "invites_view_others", "invites_revoke_others")
    assert one.get(f"/invites/{other}").json["response"]["inviter"]["id"] == 2
    assert one.delete(f"/invites/{other}").json["response"]["expired"] is True
    assert left(2) == 1


def test_a_revoked_invite_comes_back_to_its_sender_once(sender, client, make_invite):
    code = make_invite(0)
    check_json_response(sender.delete(f"/invites/{code}"), {"code": code, "expired": True})
    assert left() == 3
    assert sender.delete(f"/invites/{code}").status_code == 404
    assert left() == 3
    assert sender.get(f"/invites/{code}").json["response"]["expired"] is True  # dead ones are shown too
    assert sender.get("/invites").json["response"] == []
    event = db.session.scalar(select(Event).where(Event.name == "core.invite.revoked"))
    assert (event.actor_id, code.startswith(event.target.removeprefix("invite:"))) == (1, True)


def test_many_that_revoke_one_invite_at_once_give_it_back_once(sender, app, make_invite, at_once):
    code = make_invite(0)

    def revoke():
        return app.test_client().delete(
            f"/invites/{code}", headers={"Authorization": f"Token {KEY_OF_USER_1}"}
        )

    statuses = [answer.status_code for answer in at_once(*[revoke] * MANY)]
    assert sorted(statuses) == [200] + [404] * (MANY - 1)
    assert left() == 3


def test_a_list_has_what_was_asked_for_newest_first_in_pages(sender, app, make_invite):
    old = make_invite(0, age=app.config["INVITE_LIFETIME"] + 60)
    used = make_invite(1, age=50, expired=True, invitee_id=3)
    revoked = make_invite(2, age=40, expired=True)
    fresh = [make_invite(number, age=number) for number in (3, 4)]
    make_invite(5, inviter_id=2, age=1)
    assert codes_in(sender.get("/invites")) == fresh
    assert codes_in(sender.get("/invites?include_dead=1")) == [*fresh, revoked, used, old]
    assert codes_in(sender.get("/invites?used=1")) == codes_in(sender.get("/invites?used=1&include_dead=0"))
    answer = sender.get("/invites?used=true&limit=25")
    assert codes_in(answer) == [used]
    assert answer.json["response"][0]["invitee"]["username"] == "user_three"
    assert answer.headers["X-Total-Count"] == "1"
    assert codes_in(sender.get("/invites?page=2")) == []
    assert sender.get(f"/invites/{old}").json["response"]["expired"] is True


def test_the_list_of_another_user_needs_its_permission(one, app, make_invite):
    code = make_invite(0, inviter_id=2)
    add_permissions(app, "invites_view")
    assert codes_in(one.get("/invites?user_id=1")) == []
    assert {one.get(f"/invites?user_id={number}").status_code for number in (2, 99)} == {403}
    add_permissions(app, "invites_view_others")
    assert codes_in(one.get("/invites?user_id=2")) == [code]
    for number in (99, -1, 2**59):
        answer = one.get(f"/invites?user_id={number}")
        assert (answer.status_code, answer.json["response"]) == (404, f"User {number} does not exist.")
    answer = one.get("/invites?user_id=abc")
    assert (answer.status_code, answer.json["response"]) == (400, "User ID must be an integer.")


def test_a_list_costs_as_much_for_one_invite_as_for_many(one, app, make_invite, query_counter):
    add_permissions(app, "invites_view", "invites_view_others", "users_moderate")
    costs = []
    for number in (0, 1, 2):
        make_invite(number, invitee_id=number + 1, expired=True)
        one.get("/invites?used=1")
        with query_counter() as statements:
            assert len(one.get("/invites?used=1").json["response"]) == number + 1
        costs.append(len(statements))
    assert costs[1] == costs[2]


def test_each_call_needs_its_permission(two, make_invite):
    code = make_invite(0, inviter_id=2)
    calls = [two.get("/invites"), two.get(f"/invites/{code}"), two.delete(f"/invites/{code}")]
    calls.append(two.post("/invites", json={"email": "a@example.org"}))
    assert {answer.status_code for answer in calls} == {403}
    assert db.session.get(Invite, code).expired is False
