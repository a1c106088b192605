"""What administrators see of packages and people, and that nobody else does."""

import time

import pytest
from registry_kit import Person

from core.conftest import add_permissions
from core.users import services

pytestmark = pytest.mark.any_database

ADMIN_CALLS = [
    "/api/audit/ann/",
    "/api/audit/ann/p/",
    "/api/admin/package_summary",
    "/api/admin/package_list/ann/",
]


@pytest.fixture
def admin(app, people, user_factory, api_key_factory):
    client = app.test_client()
    key = api_key_factory(user_factory("boss", "site_god_mode"))
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return Person("boss", client)


@pytest.fixture
def history(people, public_site):
    """What was done to ``ann/p``, oldest first, and its top hash."""
    digest = people.ann.push("ann/p", {"a": b"1"}, is_public=True)
    people.ann.put("/api/tag/ann/p/latest", json={"hash": digest})
    people.nobody.get(f"/api/package/ann/p/{digest}?subpath=a")
    people.bob.get(f"/api/package/ann/p/{digest}?meta_only=true")
    people.ann.put("/api/version/ann/p/1.0", json={"hash": digest})
    people.ann.put("/api/access/ann/p/bob")
    people.ann.delete("/api/package/ann/p/")
    return digest


@pytest.mark.parametrize("path", ADMIN_CALLS)
def test_only_administrators_may_ask(people, admin, path):
    refused = people.ann.get(path)
    assert (refused.status_code, refused.json["message"]) == (
        403,
        "Must be authenticated as an admin to use this endpoint.",
    )
    assert people.nobody.get(path).status_code == 401
    assert admin.get(path).status_code == 200


def test_the_audit_log_of_a_package_is_what_the_client_prints(history, people, admin):
    before = time.time()
    events = admin.get("/api/audit/ann/p/").json["events"]
    assert [(e["type"], e["user"], e["package_hash"]) for e in reversed(events)] == [
        ("PUSH", "ann", history),
        ("TAG", "ann", history),
        ("INSTALL", "anonymous", history),
        ("INSTALL", "bob", history),
        ("VERSION", "ann", history),
        ("ACCESS", "ann", None),
        ("DELETE", "ann", None),
    ]
    for event in events:
        assert isinstance(event["created"], float)
        assert before - 600 < event["created"] <= before + 1
        assert (event["package_owner"], event["package_name"]) == ("ann", "p")
    extras = [event["extra"] for event in reversed(events)]
    assert extras[0] == {"public": True, "subpath": ""}
    assert extras[2] == {"subpath": "a", "meta_only": False}
    assert extras[3] == {"subpath": "", "meta_only": True}


def test_the_audit_log_of_a_user_has_what_the_user_did(history, people, admin):
    people.nobody.post("/api/login", json={"username": "bob", "password": "correct horse 1!"})
    assert [event["type"] for event in admin.get("/api/audit/bob/").json["events"]] == ["LOGIN", "INSTALL"]
    assert [event["type"] for event in admin.get("/api/audit/anonymous/").json["events"]] == ["INSTALL"]
    assert admin.get("/api/audit/nobody_here/").json == {"events": []}


def test_the_audit_log_is_read_in_pages(history, admin):
    everything = admin.get("/api/audit/ann/p/").json["events"]
    found, before = [], ""
    while page := admin.get(f"/api/audit/ann/p/?limit=3{before}").json["events"]:
        assert len(page) <= 3
        found += page
        before = f"&before={page[-1]['id']}"
    assert found == everything
    for bad in ("limit=0", "limit=x", "limit=10001", "before=0", "more=1"):
        assert admin.get(f"/api/audit/ann/p/?{bad}").status_code == 400


def test_the_summary_counts_what_happened_to_each_package(history, people, admin):
    people.ann.push("ann/q", {"a": b"1"})
    found = admin.get("/api/admin/package_summary").json["packages"]
    assert found.keys() == {"ann/p", "ann/q"}
    assert {word: entry["count"] for word, entry in found["ann/p"].items()} == {
        "pushes": 1,
        "installs": 2,
        "previews": 0,
        "deletes": 1,
    }
    assert isinstance(found["ann/p"]["installs"]["latest"], float)
    assert found["ann/q"]["installs"] == {"count": 0}


def test_an_administrator_lists_private_packages_with_and_without_the_slash(people, admin):
    people.ann.push("ann/own", {"a": b"1"})
    expected = {"packages": [{"name": "own", "is_public": False, "is_team": False}]}
    assert admin.get("/api/admin/package_list/ann/").json == expected
    assert admin.client.get("/api/admin/package_list/ann", follow_redirects=True).json == expected
    assert admin.get("/api/admin/package_list/nobody_here/").json == {"packages": []}


def test_a_key_without_the_right_is_no_administrator(app, people, api_key_factory):
    ann = services.find_user("ann")
    add_permissions(app, "site_god_mode", user_id=ann.id)
    assert people.ann.get("/api/audit/ann/").status_code == 200
    key = api_key_factory(ann, permissions=["registry_read"])
    for path in ADMIN_CALLS:
        assert people.nobody.get(path, headers={"Authorization": f"Bearer {key}"}).status_code == 403


def test_health_and_robots_are_plain_text_for_everybody(people):
    health = people.nobody.get("/healthcheck")
    assert (health.status_code, health.text, health.mimetype) == (200, "ok", "text/plain")
    assert "Access-Control-Allow-Origin" not in health.headers
    robots = people.nobody.get("/robots.txt")
    assert robots.text.splitlines() == ["User-agent: *", "Disallow: /"]
