"""Packages offered to an address, and what one sees of one's own and of what others share."""

import logging
from datetime import datetime

import pytest
from mail_server import MailServer
from sqlalchemy import select

from core.db import db, now
from core.identity import OPERATOR
from core.jobs.run import run_next, worker_name
from core.models import Event
from core.sharing import Audience, Level, share
from core.users import services
from registry.models import Invitation, Package

ADDRESS = "bob@example.org"


@pytest.fixture
def package(people):
    people.ann.push("ann/p", {"a": b"1"})


@pytest.fixture
def verify():
    """``verify("bob")``: the address of a user is known to be the user's."""

    def note(name):
        services.find_user(name).email_verified_at = now()
        db.session.commit()

    return note


def shared_with(person):
    return [f"{p['owner']}/{p['name']}" for p in person.get("/api/profile").json["packages"]["shared"]]


def test_an_invitation_becomes_access_when_the_profile_is_looked_at(people, package, verify):
    assert people.ann.put("/api/access/ann/p/Bob@Example.org").json == {}
    (found,) = people.ann.get("/api/invite/ann/p/").json["invitations"]
    assert (found["owner"], found["package"], found["email"]) == ("ann", "p", ADDRESS)
    assert datetime.fromisoformat(found["invited_at"]).tzinfo is not None
    assert people.ann.get("/api/access/ann/p/").json == {"users": ["ann"]}
    assert people.bob.get("/api/log/ann/p/").status_code == 404

    assert shared_with(people.bob) == [], "anybody can type any address"
    assert people.bob.get("/api/invite/").json == {"invitations": []}
    verify("bob")
    assert people.bob.get("/api/invite/").json == {"invitations": [found]}
    assert people.bob.get("/api/log/ann/p/").status_code == 404
    assert shared_with(people.bob) == ["ann/p"]

    assert people.bob.get("/api/log/ann/p/").status_code == 200
    assert people.ann.get("/api/access/ann/p/").json == {"users": ["ann", "bob"]}
    assert people.ann.get("/api/invite/ann/p/").json == {"invitations": []}
    names = db.session.scalars(
        select(Event.name).where(Event.target == "package:ann/p").order_by(Event.id)
    ).all()
    assert names[-2:] == ["registry.invitation.sent", "registry.access.changed"]
    assert shared_with(people.bob) == ["ann/p"]


def test_an_invitation_is_withdrawn_and_asked_for_like_access(people, package, verify):
    path = f"/api/access/ann/p/{ADDRESS}"
    for method, status in (
        ("get", 404),
        ("delete", 404),
        ("put", 200),
        ("put", 200),
        ("get", 200),
        ("delete", 200),
    ):
        answer = getattr(people.ann, method)(path)
        assert answer.status_code == status
    verify("bob")
    assert shared_with(people.bob) == []
    assert db.session.scalars(select(Invitation)).all() == []


@pytest.mark.parametrize("address", ["@", "a@", "@b", "a@b@c", "a%20b@c", "x" * 300 + "@b", "a@b%00"])
def test_what_is_no_address_is_not_invited(people, package, address):
    assert people.ann.put(f"/api/access/ann/p/{address}").status_code == 400
    assert people.ann.get("/api/invite/ann/p/").json == {"invitations": []}


def test_only_the_owner_invites_and_sees_who_is_invited(people, package):
    people.ann.put("/api/access/ann/p/bob")
    for method, path, message in (
        ("put", f"/api/access/ann/p/{ADDRESS}", "Only the package owner can grant access"),
        ("get", "/api/invite/ann/p/", "Only the package owner can view invitations"),
    ):
        answer = getattr(people.bob, method)(path)
        assert (answer.status_code, answer.json["message"]) == (403, message)
        assert getattr(people.eve, method)(path).status_code == 404
        assert getattr(people.nobody, method)(path).status_code == 401
    assert people.nobody.get("/api/profile").status_code == 401
    assert people.nobody.get("/api/invite/").status_code == 401


def test_invitations_go_with_the_package_and_the_next_of_its_name_has_none(people, package, verify):
    people.ann.put(f"/api/access/ann/p/{ADDRESS}")
    people.ann.delete("/api/package/ann/p/")
    people.ann.push("ann/p", {"a": b"1"})
    verify("bob")
    assert shared_with(people.bob) == []


def test_an_invitation_is_mailed_once(app, people, package, settings):
    server = MailServer()
    settings(MAIL_URL=server.url, PUBLIC_URL="https://lab.example.org")
    for _ in range(2):
        assert people.ann.put(f"/api/access/ann/p/{ADDRESS}").status_code == 200
    while run_next(app, worker_name()):
        pass
    (letter,) = server.mails
    assert letter["to"] == f"TO:<{ADDRESS}>"
    assert "ann shares the data package ann/p with you" in letter["text"]
    assert "https://lab.example.org/login" in letter["text"]
    server.close()


def test_without_a_mail_server_the_invitation_is_logged(people, package, caplog):
    caplog.set_level(logging.INFO)
    assert people.ann.put(f"/api/access/ann/p/{ADDRESS}").status_code == 200
    assert f"to {ADDRESS}: ann shares ann/p with you" in caplog.text


def test_an_address_that_changes_takes_nothing(people, package, verify):
    people.ann.put("/api/access/ann/p/other@example.org")
    verify("bob")
    services.change_user(services.find_user("bob").id, {"email": "other@example.org"}, OPERATOR)
    db.session.commit()
    assert shared_with(people.bob) == []


def test_an_owner_who_invites_himself_gains_nothing(people, package, verify):
    people.ann.put("/api/access/ann/p/ann@example.org")
    verify("ann")
    assert people.ann.get("/api/profile").status_code == 200
    assert people.ann.get("/api/access/ann/p/").json == {"users": ["ann"]}
    assert people.ann.get("/api/invite/ann/p/").json == {"invitations": []}


def test_a_profile_has_what_is_mine_and_what_is_shared_with_me_by_name(people, public_site):
    for handle in ("b", "C", "a"):
        people.ann.push(f"ann/{handle}", {"a": b"1"}, is_public=handle == "C")
    people.bob.push("bob/own", {"a": b"1"}, is_team=True)
    people.ann.put("/api/access/ann/b/bob")
    package = db.session.scalar(select(Package).where(Package.name == "a"))
    share(package, Audience.USER_CLASS, Level.READ, subject_id=1)
    db.session.commit()
    profile = people.ann.get("/api/profile").json
    assert profile == {
        "packages": {
            "own": [
                {"owner": "ann", "name": name, "is_public": name == "C", "is_team": False}
                for name in ("a", "b", "C")
            ],
            "shared": [],
        },
        "is_admin": False,
        "plan": None,
        "have_credit_card": None,
    }
    assert shared_with(people.bob) == ["ann/a", "ann/b"], "what everybody sees is not shared with bob"
