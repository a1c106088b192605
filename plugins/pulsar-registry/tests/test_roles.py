"""Roles: what the people and classes of a site may do with somebody's package, beyond what Quilt knew."""

import pytest
from sqlalchemy import select

from core.db import db
from core.identity import OPERATOR
from core.models import Event
from core.users import services
from core.users.services.moderation import change_user

pytestmark = pytest.mark.any_database

ROLES = "/api/roles/ann/p/"


@pytest.fixture
def package(people):
    return people.ann.push("ann/p", {"a": b"1"})


def give(person, role, name="bob", audience="user"):
    body = {"audience": audience, "role": role} | ({"name": name} if name else {})
    return person.put(ROLES, json=body)


def what_bob_may(people, digest):
    """Read, push, tag, make a version, see who else may."""
    bob = people.bob
    return [
        bob.get(f"/api/package/ann/p/{digest}").status_code,
        bob.request_push("ann/p", {"type": "ROOT", "children": {}}).status_code,
        bob.put("/api/tag/ann/p/t", json={"hash": digest}).status_code,
        bob.put("/api/version/ann/p/1.0", json={"hash": digest}).status_code,
        bob.get(ROLES).status_code,
    ]


@pytest.mark.parametrize(
    ("role", "statuses"),
    [
        ("read", [200, 403, 403, 403, 403]),
        ("write", [200, 200, 200, 403, 403]),
        ("manage", [200, 200, 200, 200, 200]),
    ],
)
def test_a_role_says_what_somebody_may(people, package, role, statuses):
    assert what_bob_may(people, package) == [404, 403, 404, 404, 404]
    expected = [{"audience": "user", "name": "bob", "role": role}]
    assert give(people.ann, role).json == {"roles": expected}
    assert what_bob_may(people, package) == statuses
    assert people.ann.get(ROLES).json == {"roles": expected}
    assert people.ann.get("/api/access/ann/p/").json == {"users": ["ann", "bob"]}, "as the old client sees it"
    assert give(people.ann, None).json == {"roles": []}
    assert people.bob.get(f"/api/package/ann/p/{package}").status_code == 404
    assert give(people.ann, None).status_code == 404


def test_a_role_replaces_the_one_before(people, package):
    for role in ("manage", "read", "read"):
        assert give(people.ann, role).json["roles"] == [{"audience": "user", "name": "bob", "role": role}]
    people.ann.delete("/api/access/ann/p/bob")
    assert people.ann.get(ROLES).json == {"roles": []}


def test_who_manages_acts_as_the_owner_but_cannot_remove_him(people, package):
    give(people.ann, "manage")
    assert people.bob.put("/api/access/ann/p/eve").status_code == 200
    assert give(people.bob, None, "ann").status_code == 403
    assert give(people.bob, "read", "ann").status_code == 403
    assert people.bob.delete("/api/package/ann/p/").status_code == 200


def test_a_class_gets_a_role(people, package):
    operator = OPERATOR
    lab = services.create_class("Lab", [], operator, secondary=True)
    db.session.commit()
    body = {"audience": "secondary_class", "name": "Lab", "role": "write"}
    assert people.ann.put(ROLES, json=body).status_code == 404, "ann is not in it, and may not see classes"
    for name in ("ann", "bob"):
        change_user(services.find_user(name).id, {"secondary_class_ids": [lab.id]}, operator)
    db.session.commit()
    assert people.ann.put(ROLES, json=body).json == {"roles": [body]}
    assert what_bob_may(people, package)[:3] == [200, 200, 200]
    assert people.eve.get(f"/api/package/ann/p/{package}").status_code == 404
    assert people.ann.get("/api/access/ann/p/").json == {"users": ["ann"]}, "Quilt knew no classes"
    everybody = {"audience": "class", "name": "User", "role": "read"}
    assert people.ann.put(ROLES, json=everybody).json == {"roles": [body, everybody]}
    assert people.eve.get(f"/api/package/ann/p/{package}").status_code == 200


def test_everyone_may_be_let_read_only_and_is_then_no_team(people, package):
    assert give(people.ann, "read", None, "team").status_code == 200
    assert people.eve.get(f"/api/package/ann/p/{package}").status_code == 200
    assert people.eve.put("/api/tag/ann/p/t", json={"hash": package}).status_code == 403
    assert people.ann.get("/api/access/ann/p/").json == {"users": ["ann"]}
    assert give(people.ann, "write", None, "team").status_code == 200
    assert people.ann.get("/api/access/ann/p/").json == {"users": ["ann", "team"]}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (
            {"audience": "public", "role": "write"},
            400,
            "The audience public can have no more than the role read",
        ),
        (
            {"audience": "team", "role": "manage"},
            400,
            "The audience team can have no more than the role write",
        ),
        ({"audience": "public", "role": "read"}, 403, "Public access not allowed"),
        ({"audience": "team", "name": "bob", "role": "read"}, 400, "The audience team has no name"),
        ({"audience": "user", "role": "read"}, 400, "The audience user needs a name"),
        ({"audience": "user", "name": "none", "role": "read"}, 404, "User none does not exist"),
        ({"audience": "class", "name": "none", "role": "read"}, 404, "Class none does not exist"),
        ({"audience": "class", "name": "\x00", "role": "read"}, 400, None),
        ({"audience": "galaxy", "name": "bob", "role": "read"}, 400, None),
        ({"audience": "user", "name": "bob", "role": "own"}, 400, None),
        ({"audience": "user", "name": "bob"}, 400, None),
    ],
)
def test_a_role_that_cannot_be_is_refused(people, package, body, status, message):
    answer = people.ann.put(ROLES, json=body)
    assert answer.status_code == status, answer.text
    assert message in (None, answer.json["message"])
    assert people.ann.get(ROLES).json == {"roles": []}


def test_roles_are_the_business_of_who_manages(people, package):
    assert give(people.eve, "read", "eve").status_code == 404
    people.ann.put("/api/access/ann/p/bob")
    assert give(people.bob, "manage").status_code == 403
    assert people.nobody.get(ROLES).status_code == 401


def test_a_role_is_written_down(people, package):
    give(people.ann, "write")
    event = db.session.scalar(select(Event).where(Event.name == "registry.access.changed"))
    assert (
        event.payload.items() >= {"user": "bob", "audience": "user", "role": "write", "granted": True}.items()
    )
