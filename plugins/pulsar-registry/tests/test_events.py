"""What happens to packages is written down, by whom, and only if it happened."""

import pytest
from registry_kit import leaf, root, sizes_of

from core.conftest import KEY_OF_USER_1, add_permissions


@pytest.fixture
def log(app, people):
    """``log()``: what happened so far, as the audit log tells it, oldest first."""
    add_permissions(app, "site_view_audit")
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Token {KEY_OF_USER_1}"

    def read():
        found = client.get("/audit?name=registry.*").json["response"][::-1]
        assert {event["target"] for event in found} <= {"package:ann/p"}
        return [
            (event["name"].removeprefix("registry."), event["actor"], event["payload"]) for event in found
        ]

    return read


def test_a_push_makes_a_package_once(people, log, public_site):
    first = people.ann.push("ann/p", {"a": b"1"}, is_public=True)
    again = people.ann.push("ann/p", {"a": b"2"})
    assert log() == [
        ("package.created", "ann", {"shared": ["public"]}),
        ("package.pushed", "ann", {"hash": first, "public": True, "subpath": ""}),
        ("package.pushed", "ann", {"hash": again, "public": False, "subpath": ""}),
    ]


def test_tags_versions_access_and_the_end(people, log):
    digest = people.ann.push("ann/p", {"a": b"1"})
    before = len(log())
    steps = [
        people.ann.put("/api/tag/ann/p/latest", json={"hash": digest}),
        people.ann.delete("/api/tag/ann/p/latest"),
        people.ann.put("/api/version/ann/p/1.0", json={"hash": digest}),
        people.ann.put("/api/access/ann/p/bob"),
        people.ann.delete("/api/access/ann/p/bob"),
        people.ann.put("/api/access/ann/p/team"),
        people.bob.put("/api/tag/ann/p/new", json={"hash": digest}),
        people.ann.delete("/api/package/ann/p/"),
    ]
    assert [step.status_code for step in steps] == [200] * len(steps)
    assert log()[before:] == [
        ("tag.changed", "ann", {"tag": "latest", "hash": digest}),
        ("tag.changed", "ann", {"tag": "latest", "hash": None}),
        ("version.created", "ann", {"version": "1.0", "hash": digest}),
        ("access.changed", "ann", {"user": "bob", "granted": True}),
        ("access.changed", "ann", {"user": "bob", "granted": False}),
        ("access.changed", "ann", {"user": "team", "granted": True}),
        ("tag.changed", "bob", {"tag": "new", "hash": digest}),
        ("package.deleted", "ann", {}),
    ]


def test_what_was_refused_did_not_happen(people, log):
    digest = people.ann.push("ann/p", {"a": b"1"})
    before = log()
    tree = root(a=leaf(b"never sent"))
    refused = [
        people.ann.request_push("ann/p", tree, sizes_of([b"never sent"])),
        people.eve.put("/api/tag/ann/p/latest", json={"hash": digest}),
        people.ann.delete("/api/tag/ann/p/latest"),
        people.ann.put("/api/access/ann/p/ann"),
        people.ann.delete("/api/access/ann/p/bob"),
        people.eve.delete("/api/package/ann/p/"),
        people.ann.put("/api/version/ann/p/none", json={"hash": digest}),
    ]
    assert [answer.status_code // 100 for answer in refused] == [4] * len(refused)
    assert log() == before
