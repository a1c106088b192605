"""Installing, lists, log, tags, versions, access, deletion: calls of the client that read or name."""

import json

import pytest
from registry_kit import leaf, local, root, sha, sizes_of
from sqlalchemy import select

from core import storage
from core.db import db
from core.storage.verifying import verify
from core.users import services
from registry.models import Revision

pytestmark = pytest.mark.any_database

META = [b'{"of":"root"}', b'{"of":"group"}', b'{"of":"leaf"}']


@pytest.fixture
def tree(people):
    """A tree with metadata everywhere, pushed to ann/deep; ``(tree, top hash)``."""
    contents = [b"one", b"two", b"three", *META]
    made = root(
        a=leaf(b"one", metadata_hash=sha(META[2])),
        g={
            "type": "GROUP",
            "children": {"b": leaf(b"two", b"three"), "e": {"type": "GROUP", "children": {}}},
            "metadata_hash": sha(META[1]),
        },
    )
    made["metadata_hash"] = sha(META[0])
    people.ann.send(*contents)
    answer = people.ann.request_push("ann/deep", made, sizes_of(contents))
    return made, answer.json["package_hash"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?subpath=&meta_only=", [b"one", b"two", b"three", *META]),
        ("?subpath=g&meta_only=", [b"two", b"three", *META]),
        ("?subpath=g/b", [b"two", b"three", *META]),
        ("?subpath=g/e/", META),
        ("?meta_only=true", META),
        ("?subpath=g&meta_only=true", META),
        ("?meta_only=false&subpath=a", [b"one", *META]),
    ],
)
def test_an_install_gets_the_whole_tree_and_the_objects_it_asked_for(people, tree, query, expected):
    answer = people.ann.get(f"/api/package/ann/deep/{tree[1]}{query}", content_type="application/json")

    assert answer.status_code == 200
    assert answer.json["contents"] == tree[0]
    assert answer.json["sizes"] == sizes_of(expected)
    assert answer.json["urls"].keys() == answer.json["sizes"].keys()
    assert answer.json["created_by"] == answer.json["updated_by"] == "ann"
    assert isinstance(answer.json["created_at"], float)
    for content in expected:
        got = people.nobody.get(local(answer.json["urls"][sha(content)]), headers={"Range": "bytes=0-"})
        assert (got.status_code, got.data) == (206, content)


def test_an_install_that_cannot_be_says_why(people, tree):
    ann, (_, digest) = people.ann, tree
    for path, message in (
        (f"ann/deep/{'0' * 64}", "Package hash does not exist"),
        (f"ann/deep/{digest[:10]}", "Package hash does not exist"),
        (f"ann/other/{digest}", "Package hash does not exist"),
        (f"ann/deep/{digest}?subpath=g/x", "Invalid subpath: 'x'"),
        (f"ann/deep/{digest}?subpath=a/x", "Invalid subpath: 'x'"),
    ):
        answer = ann.get(f"/api/package/{path}")
        assert (answer.status_code, answer.json["message"]) == (404, message)
    hidden = people.bob.get(f"/api/package/ann/deep/{digest}")
    assert (hidden.status_code, hidden.json["message"]) == (404, "Package hash does not exist")


def test_log_tags_and_versions_tell_one_story(people):
    ann = people.ann
    first = ann.push("ann/p", {"a": b"1"})
    second = ann.push("ann/p", {"a": b"2"})
    for tag, digest in (("latest", second), ("old", first), ("b", second)):
        assert ann.put(f"/api/tag/ann/p/{tag}", json={"hash": digest}).json == {}
    assert ann.put("/api/version/ann/p/1.0", json={"hash": first}).json == {}

    logs = ann.get("/api/log/ann/p/").json["logs"]
    assert [(e["hash"], e["author"], e["tags"], e["versions"]) for e in logs] == [
        (first, "ann", ["old"], ["1.0"]),
        (second, "ann", ["b", "latest"], None),
    ]
    assert logs[0]["created"] <= logs[1]["created"]
    assert ann.get("/api/package/ann/p/").json == {"hashes": [first, second]}
    assert ann.get("/api/tag/ann/p/").json["tags"] == [
        {"tag": "b", "hash": second},
        {"tag": "latest", "hash": second},
        {"tag": "old", "hash": first},
    ]


@pytest.fixture
def rot(app):
    """``rot(content)``: other bytes where these were, and a verification that finds them."""

    def spoil(content):
        with app.app_context():
            backend = storage.store().backend
            path = backend.local_path(sha(content))
            path.chmod(0o640)
            path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
            assert {one.digest for one in verify(backend) if one.problem} >= {sha(content)}

    return spoil


def test_a_tag_tells_whether_its_revision_is_complete(people, rot):
    ann = people.ann
    for tag, files in (("old", {"a": b"first", "b": b"both"}), ("latest", {"a": b"second", "b": b"both"})):
        ann.put(f"/api/tag/ann/p/{tag}", json={"hash": ann.push("ann/p", files)})
    ann.put("/api/tag/ann/other/latest", json={"hash": ann.push("ann/other", {"a": b"else"})})

    def list_complete(*tags):
        answers = [ann.get(f"/api/tag/ann/{tag}?complete=true").json for tag in tags]
        return [answer["complete"] for answer in answers]

    tags = ("p/old", "p/latest", "other/latest")
    assert list_complete(*tags) == [True, True, True]
    rot(b"first")
    assert list_complete(*tags) == [False, True, True]
    rot(b"both")
    assert list_complete(*tags) == [False, False, True]
    ann.send(b"first", b"both")
    assert list_complete(*tags) == [True, True, True]
    assert "complete" not in ann.get("/api/tag/ann/p/old").json
    assert people.eve.get("/api/tag/ann/p/old?complete=true").status_code == 404
    assert ann.get("/api/tag/ann/p/old?complete=perhaps").status_code == 400


def test_a_revision_whose_tree_is_damaged_is_not_complete(people, app, rot):
    digest = people.ann.push("ann/p", {"a": b"1"})
    people.ann.put("/api/tag/ann/p/latest", json={"hash": digest})
    with app.app_context():
        stored = db.session.scalars(select(Revision.tree)).one()
        with storage.store().open(stored) as stream:
            content = stream.read()
    rot(content)

    assert people.ann.get("/api/tag/ann/p/latest?complete=true").json["complete"] is False
    people.ann.push("ann/p", {"a": b"1"})
    assert people.ann.get("/api/tag/ann/p/latest?complete=true").json["complete"] is True


def test_a_tag_moves_and_goes(people):
    ann = people.ann
    first, second = (ann.push("ann/p", {"a": content}) for content in (b"1", b"2"))
    for digest in (first, second):
        ann.put("/api/tag/ann/p/latest", json={"hash": digest})
        found = ann.get("/api/tag/ann/p/latest").json
        assert found["hash"] == digest
    assert found.keys() == {
        "hash",
        "is_public",
        "is_team",
        "created_by",
        "created_at",
        "updated_by",
        "updated_at",
    }
    assert ann.delete("/api/tag/ann/p/latest").json == {}
    again = ann.delete("/api/tag/ann/p/latest")
    assert (again.status_code, again.json["message"]) == (404, "Package ann/p tag 'latest' does not exist")
    gone = ann.get("/api/tag/ann/p/latest")
    assert (gone.status_code, gone.json["message"]) == (404, "Tag 'latest' does not exist")


def test_only_those_who_push_tag(people):
    digest = people.ann.push("ann/p", {"a": b"1"})
    other = people.ann.push("ann/q", {"a": b"2"})
    people.ann.put("/api/access/ann/p/bob")

    refused = people.bob.put("/api/tag/ann/p/t", json={"hash": digest})
    assert (refused.status_code, refused.json["message"]) == (403, "Only the package owner can modify tags")
    assert people.bob.delete("/api/tag/ann/p/t").status_code == 403
    assert people.eve.put("/api/tag/ann/p/t", json={"hash": digest}).status_code == 404
    foreign = people.ann.put("/api/tag/ann/p/t", json={"hash": other})
    assert (foreign.status_code, foreign.json["message"]) == (404, "Package hash does not exist")
    assert people.ann.put(f"/api/tag/ann/p/{'t' * 65}", json={"hash": digest}).status_code == 400
    assert people.ann.put("/api/tag/ann/p/t", json={"hash": digest[:12]}).status_code == 400


def test_versions_are_permanent_and_equal_ones_are_one(people):
    ann = people.ann
    digest, other = (ann.push("ann/p", {"a": content}) for content in (b"1", b"2"))
    for version in ("1.10", "1.9", " 2.0 ", "1.0a1", "v1.0"):
        assert ann.put(f"/api/version/ann/p/{version}", json={"hash": digest}).json == {}
    listed = [entry["version"] for entry in ann.get("/api/version/ann/p/").json["versions"]]
    assert listed == ["1.0a1", "v1.0", "1.9", "1.10", "2.0"]
    for version in ("1.0", "1.0.0", "1"):
        assert ann.get(f"/api/version/ann/p/{version}").json["hash"] == digest
        for target in (digest, other):
            again = ann.put(f"/api/version/ann/p/{version}", json={"hash": target})
            assert (again.status_code, again.json["message"]) == (409, "Version already exists")
    bad = ann.put("/api/version/ann/p/one", json={"hash": digest})
    assert (bad.status_code, bad.json["message"]) == (400, "Malformed version")
    assert ann.put(f"/api/version/ann/p/{'1' * 65}", json={"hash": digest}).status_code == 400
    none = ann.get("/api/version/ann/p/7")
    assert (none.status_code, none.json["message"]) == (404, "Version 7 does not exist")
    kept = ann.delete("/api/version/ann/p/1.0")
    assert (kept.status_code, kept.json["code"]) == (405, "method_not_allowed")
    ann.put("/api/access/ann/p/bob")
    refused = people.bob.put("/api/version/ann/p/3", json={"hash": digest})
    assert (refused.status_code, refused.json["message"]) == (
        403,
        "Only the package owner can create versions",
    )


def test_access_is_given_and_taken(people):
    ann, bob = people.ann, people.bob
    digest = ann.push("ann/p", {"a": b"1"})
    paths = [
        f"/api/package/ann/p/{digest}",
        "/api/package/ann/p/",
        "/api/log/ann/p/",
        "/api/tag/ann/p/",
        "/api/version/ann/p/",
        "/api/access/ann/p/",
        "/packages/ann/p",
    ]
    assert {bob.get(path).status_code for path in paths} == {404}

    assert ann.put("/api/access/ann/p/bob", content_type="application/json").json == {}
    assert {bob.get(path).status_code for path in paths} == {200}
    assert bob.get("/api/access/ann/p/").json == {"users": ["ann", "bob"]}
    assert bob.get("/api/package/ann/").json["packages"] == [
        {"name": "p", "is_public": False, "is_team": False}
    ]
    assert ann.get("/api/access/ann/p/bob").json == {}
    assert ann.get("/api/access/ann/p/eve").status_code == 404
    assert bob.get("/api/access/ann/p/bob").status_code == 403

    assert ann.delete("/api/access/ann/p/bob").json == {}
    assert {bob.get(path).status_code for path in paths} == {404}
    assert ann.delete("/api/access/ann/p/bob").status_code == 404


@pytest.mark.parametrize(
    ("who", "method", "user", "status", "message"),
    [
        ("ann", "put", "nobody_here", 404, "User nobody_here does not exist"),
        ("ann", "put", "BOB", 404, "User BOB does not exist"),
        ("ann", "put", "ann", 409, "The user already has access"),
        ("ann", "put", "bob", 409, "The user already has access"),
        ("ann", "put", "public", 403, "Public access not allowed"),
        ("bob", "put", "eve", 403, "Only the package owner can grant access"),
        ("bob", "delete", "bob", 403, "Only the package owner can revoke access"),
        ("ann", "delete", "ann", 403, "Cannot revoke the owner's access"),
        ("eve", "put", "eve", 404, "Package ann/p does not exist"),
    ],
)
def test_access_is_refused_in_the_words_of_the_protocol(people, who, method, user, status, message):
    people.ann.push("ann/p", {"a": b"1"})
    people.ann.put("/api/access/ann/p/bob")
    answer = getattr(getattr(people, who), method)(f"/api/access/ann/p/{user}")
    assert (answer.status_code, answer.json["message"]) == (status, message)


def test_team_and_public_are_rows_like_others(people, public_site, settings):
    ann = people.ann
    ann.push("ann/p", {"a": b"1"})
    for name in ("team", "public"):
        assert ann.put(f"/api/access/ann/p/{name}").json == {}
        assert ann.put(f"/api/access/ann/p/{name}").status_code == 409
    assert ann.get("/api/access/ann/p/").json == {"users": ["ann", "public", "team"]}
    assert people.nobody.get("/api/log/ann/p/").status_code == 200
    ann.delete("/api/access/ann/p/public")
    assert people.nobody.get("/api/log/ann/p/").status_code == 404
    assert people.eve.get("/api/log/ann/p/").status_code == 200
    settings(REGISTRY_ALLOW_TEAM=False)
    assert people.eve.get("/api/log/ann/p/").status_code == 404, "the row no longer counts"


def test_the_public_sees_what_is_shared_with_it_only_where_the_site_says_so(people, settings):
    settings(REGISTRY_ALLOW_PUBLIC=True)
    digest = people.ann.push("ann/p", {"a": b"1"}, is_public=True)
    people.ann.push("ann/hidden", {"a": b"2"})
    path = f"/api/package/ann/p/{digest}"
    assert people.nobody.get(path).status_code == 200
    assert [p["name"] for p in people.nobody.get("/api/package/ann/").json["packages"]] == ["p"]
    for hidden in ("hidden", "none"):
        answer = people.nobody.get(f"/api/log/ann/{hidden}/")
        assert answer.status_code == 404
        assert answer.json["message"] == f"Package ann/{hidden} does not exist (do you need to log in?)"

    settings(REGISTRY_ALLOW_PUBLIC=False)
    assert people.nobody.get(path).status_code == 401
    assert people.bob.get(path).status_code == 404


def test_a_key_without_the_right_to_read_sees_what_anybody_sees(people, settings, app, api_key_factory):
    people.ann.push("ann/p", {"a": b"1"})
    key = api_key_factory(services.find_user("ann"), permissions=["registry_push"])
    headers = {"Authorization": f"Token {key}"}
    answer = people.nobody.get("/api/log/ann/p/", headers=headers)
    assert (answer.status_code, answer.json["code"]) == (403, "key_scope")
    settings(REGISTRY_ALLOW_PUBLIC=True)
    assert people.nobody.get("/api/log/ann/p/", headers=headers).status_code == 404
    people.ann.put("/api/access/ann/p/public")
    assert people.nobody.get("/api/log/ann/p/", headers=headers).status_code == 200


def test_a_deleted_package_is_gone_and_a_new_one_starts_empty(people):
    ann = people.ann
    digest = ann.push("ann/p", {"a": b"1"})
    ann.push("ann/same", {"a": b"1"})
    ann.put("/api/access/ann/p/bob")
    ann.put("/api/tag/ann/p/latest", json={"hash": digest})
    refused = people.bob.delete("/api/package/ann/p/")
    assert (refused.status_code, refused.json["message"]) == (
        403,
        "Only the package owner can delete packages.",
    )
    assert people.eve.delete("/api/package/ann/p/").status_code == 404

    assert ann.delete("/api/package/ann/p/").json == {}
    again = ann.delete("/api/package/ann/p/")
    assert (again.status_code, again.json["message"]) == (404, "Package ann/p does not exist")
    assert ann.get(f"/api/package/ann/same/{digest}").status_code == 200, "others keep the objects"

    ann.push("ann/p", {"a": b"2"})
    assert people.bob.get("/api/log/ann/p/").status_code == 404
    assert ann.get("/api/tag/ann/p/").json == {"tags": []}
    assert len(ann.get("/api/log/ann/p/").json["logs"]) == 1


def test_an_administrator_acts_as_the_owner(people, app, user_factory, api_key_factory):
    digest = people.ann.push("ann/p", {"a": b"1"})
    key = api_key_factory(user_factory("root1", "site_god_mode"))
    root_ = app.test_client()
    root_.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    assert root_.get(f"/api/package/ann/p/{digest}").status_code == 200
    assert root_.put("/api/version/ann/p/1.0", json={"hash": digest}).status_code == 200
    assert root_.delete("/api/package/ann/p/").status_code == 200


@pytest.mark.parametrize("form", ["Bearer {}", "Token {}", "bearer {}", "{}"])
def test_a_key_is_taken_as_every_client_sends_it(people, form):
    headers = {"Authorization": form.format(people.ann.key)}
    assert people.nobody.get("/api/access/ann/p/", headers=headers).status_code == 404
    bad = {"Authorization": form.format("x" * 42)}
    for path in ("/api/access/ann/p/", "/api/log/ann/p/", "/api/capabilities"):
        answer = people.nobody.get(path, headers=bad)
        assert answer.status_code == 401
        assert answer.json.keys() == {"message", "code", "request_id"}


def test_without_credentials_every_call_is_401(people):
    for method, path in (
        ("get", "/api/package/ann/"),
        ("get", "/api/package/ann/p/"),
        ("get", "/api/package/ann/p/" + "0" * 64),
        ("put", "/api/package/ann/p/" + "0" * 64),
        ("delete", "/api/package/ann/p/"),
        ("get", "/api/log/ann/p/"),
        ("get", "/api/tag/ann/p/"),
        ("put", "/api/tag/ann/p/t"),
        ("get", "/api/version/ann/p/1"),
        ("get", "/api/access/ann/p/"),
        ("post", "/api/objects/missing"),
        ("post", "/api/objects/pack"),
        ("post", "/packages/ann/p"),
        ("get", "/packages/ann/p"),
    ):
        answer = getattr(people.nobody, method)(path)
        assert answer.status_code in (
            (401,) if not path.startswith("/packages") or method == "get" else (405,)
        )
        assert answer.json.keys() == {"message", "code", "request_id"}, path


def test_errors_of_core_wear_the_words_of_the_registry(people):
    for answer, status, code in (
        (people.ann.get("/api/no/such"), 404, "not_found"),
        (people.ann.patch("/api/capabilities"), 405, "method_not_allowed"),
        (people.ann.get("/packages/ann/none"), 404, "not_found"),
    ):
        assert (answer.status_code, answer.json["code"]) == (status, code)
        assert answer.json["request_id"] == answer.headers["X-Request-Id"]
        assert isinstance(answer.json["message"], str)


def test_the_client_may_tell_what_it_built(people):
    event = {"type": "build", "package": "x" * 32, "dry_run": False, "env": "default"}
    answer = people.nobody.post("/api/log", data=json.dumps([event]), content_type="application/json")
    assert (answer.status_code, answer.json) == (200, {})
    assert people.nobody.post("/api/log", json={"a": 1}).status_code == 400
    assert people.nobody.post("/api/log", data=b"[" + b" " * 100_000 + b"]").status_code == 413


def test_capabilities_are_known_to_everybody(people):
    answer = people.nobody.get("/api/capabilities")
    assert answer.json == {
        "protocol": 2,
        "features": [
            "missing",
            "heads",
            "pack",
            "fetch",
            "tag",
            "provenance",
            "quota",
            "object",
            "statistics",
            "diff",
            "search",
            "roles",
            "metadata",
        ],
        "limits": {
            "missing_objects": 10_000,
            "pack_bytes": 2**28,
            "pack_object_bytes": 2**20,
            "provenance_bytes": 2**16,
            "quota_bytes": None,
        },
    }


def test_a_damaged_tree_is_said_so(app, people):
    digest = people.ann.push("ann/p", {"a": b"1"})
    blobs = app.extensions["pulsar_storage"].store.backend
    path = blobs.local_path(db.session.scalar(select(Revision.tree)))
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:20])
    answer = people.ann.get(f"/api/package/ann/p/{digest}")
    assert (answer.status_code, answer.json["code"]) == (503, "damaged")
    path.unlink()
    assert people.ann.get(f"/api/package/ann/p/{digest}?subpath=a").status_code == 503
    assert people.ann.get("/packages/ann/p").status_code == 200
