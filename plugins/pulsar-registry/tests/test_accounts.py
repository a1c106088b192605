"""Registering and lost passwords, as the protocol has them; core does the work."""

import re

import pytest
from mail_server import MailServer

from core.db import db
from core.identity import OPERATOR, identity_of
from core.jobs.run import run_next, worker_name
from core.users import services
from core.users.services import links

pytestmark = pytest.mark.any_database

PASSWORD = "correct horse 1!"
NEW = "correct horse 2!"
ACCOUNT = {"username": "carl", "password": PASSWORD, "email": "carl@example.org"}


@pytest.fixture
def open_site(settings):
    settings(REQUIRE_INVITE_CODE=False)


def test_who_registers_can_sign_in(people, open_site):
    answer = people.nobody.post("/api/register", json=ACCOUNT)
    assert (answer.status_code, answer.json) == (200, {})
    signed_in = people.nobody.post("/api/login", json={"username": "carl", "password": PASSWORD})
    assert signed_in.status_code == 200
    assert services.find_user("carl").email_verified_at is None


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"username": "ann"}, 409, "The given username is taken."),
        ({"username": "ANN"}, 409, "The given username is taken."),
        ({"username": "public"}, 400, None),
        ({"username": "a b"}, 400, None),
        ({"username": "x" * 65}, 400, None),
        ({"password": "short"}, 400, None),
        ({"email": "nothing"}, 400, None),
        ({"email": None}, 400, None),
        ({"more": 1}, 400, None),
    ],
)
def test_an_account_that_cannot_be_is_refused(people, open_site, change, status, message):
    answer = people.nobody.post("/api/register", json=ACCOUNT | change)
    assert answer.status_code == status
    assert isinstance(answer.json["message"], str)
    assert message in (None, answer.json["message"])
    assert services.find_user("carl") is None


def test_where_invites_are_wanted_nobody_registers_without_one(people):
    refused = people.nobody.post("/api/register", json=ACCOUNT)
    assert (refused.status_code, refused.json["message"]) == (501, "Signup is disabled.")
    wrong = people.nobody.post("/api/register", json=ACCOUNT | {"code": "x" * 24})
    assert wrong.status_code == 400
    ann = services.find_user("ann")
    services.change_user(ann.id, {"invites": 1}, OPERATOR)
    db.session.commit()
    invite = services.send_invite(identity_of(ann), "carl@example.org", from_ip="")
    db.session.commit()
    assert people.nobody.post("/api/register", json=ACCOUNT | {"code": invite.code}).json == {}


@pytest.fixture
def mail_server(settings):
    server = MailServer()
    settings(MAIL_URL=server.url, PUBLIC_URL="https://lab.example.org")
    yield server
    server.close()


def test_a_lost_password_is_replaced_by_a_mailed_link(app, people, mail_server):
    for email in ("ann@example.org", "nobody@example.org"):
        answer = people.nobody.post("/api/reset_password", json={"email": email})
        assert (answer.status_code, answer.json) == (200, {})
    while run_next(app, worker_name()):
        pass
    (letter,) = mail_server.mails
    assert letter["to"] == "TO:<ann@example.org>"
    link = re.search(r"https://\S+", letter["text"])[0]
    token = people.nobody.post("/api/login", json={"username": "ann", "password": PASSWORD}).json["token"]

    weak = people.nobody.post("/api/change_password", json={"link": link, "password": "short"})
    assert weak.status_code == 400
    done = people.nobody.post("/api/change_password", json={"link": link.rpartition("/")[2], "password": NEW})

    assert (done.status_code, done.json) == (200, {})
    bearer = {"Authorization": f"Bearer {token}"}
    assert people.nobody.get("/api/me", headers=bearer).status_code == 401
    assert people.ann.get("/api/me").status_code == 401
    assert people.nobody.post("/api/login", json={"username": "ann", "password": NEW}).status_code == 200
    for bad in (link, "x", "", link[:-1], links.make_verification_link(services.find_user("ann"))):
        again = people.nobody.post("/api/change_password", json={"link": bad, "password": PASSWORD})
        assert (again.status_code, again.json["message"]) == (401, "This link is not valid any more.")


def test_without_a_mail_server_the_answer_is_the_same(people):
    for email in ("ann@example.org", "nobody@example.org"):
        answer = people.nobody.post("/api/reset_password", json={"email": email})
        assert (answer.status_code, answer.json) == (200, {})
    assert people.nobody.post("/api/reset_password", json={"email": "x"}).status_code == 400
