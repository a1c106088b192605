"""Pushing: the dry run, the links, the real push, and every check in its order."""

import pytest
from registry_kit import leaf, local, root, sha, sizes_of
from sqlalchemy import func, select

from core.db import db
from registry.models import Readme, Revision
from registry.services.readmes import find_text

README = b"# Hello <script>"


def test_a_push_as_the_published_client_makes_it(people):
    ann = people.ann
    contents = [b"a,b\n1,2\n", b"", b'{"about":"x"}']
    tree = root(
        data=leaf(
            contents[0], metadata={"q_ext": "csv", "q_path": "d\\a.csv", "q_target": "pandas", "x": [1]}
        ),
        sub={"type": "GROUP", "children": {"café": leaf(contents[1], metadata_hash=sha(contents[2]))}},
    )

    dry = ann.request_push("ann/pkg", tree, dry_run=True, is_public=False, is_team=False)

    assert dry.status_code == 200
    urls = dry.json["upload_urls"]
    assert urls.keys() == sizes_of(contents).keys()
    assert ann.get("/api/package/ann/").json == {"packages": []}, "a dry run changes nothing"
    for content in contents:
        pair = urls[sha(content)]
        assert people.nobody.head(local(pair["head"])).status_code == 404
        assert people.nobody.put(local(pair["put"]), data=content).status_code == 201
        assert people.nobody.head(local(pair["head"])).status_code == 200
    real = ann.request_push("ann/pkg", tree, sizes_of(contents), dry_run=False)
    assert real.status_code == 200
    assert real.json["package_url"] == "http://localhost/packages/ann/pkg"
    tagged = ann.put("/api/tag/ann/pkg/latest", json={"hash": real.json["package_hash"]})
    assert (tagged.status_code, tagged.json) == (200, {})
    assert ann.get(f"/api/package/ann/pkg/{real.json['package_hash']}").json["contents"] == tree


def test_wrong_bytes_do_not_enter_through_a_link(people):
    tree = root(a=leaf(b"right"))
    put = people.ann.request_push("ann/pkg", tree, dry_run=True).json["upload_urls"][sha(b"right")]["put"]

    assert people.nobody.put(local(put), data=b"wrong").status_code == 400
    answer = people.ann.request_push("ann/pkg", tree, sizes_of([b"right"]))
    assert (answer.status_code, answer.json["objects"]) == (400, [sha(b"right")])


def test_a_push_names_what_is_missing_or_of_another_size(people):
    people.ann.send(b"here")
    tree = root(a=leaf(b"here"), b=leaf(b"away"))

    answer = people.ann.request_push("ann/pkg", tree, sizes_of([b"here", b"away"]))
    assert answer.status_code == 400
    assert answer.json["objects"] == [sha(b"away")]
    assert answer.json.keys() == {"message", "code", "request_id", "objects"}

    answer = people.ann.request_push("ann/pkg", root(a=leaf(b"here")), {sha(b"here"): 5})
    assert (answer.status_code, answer.json["objects"]) == (400, [sha(b"here")])
    assert people.ann.get("/api/package/ann/pkg/").status_code == 404


def test_the_list_of_missing_objects_is_capped(people):
    contents = [bytes([n]) for n in range(150)]
    tree = root(all=leaf(*contents))

    answer = people.ann.request_push("ann/pkg", tree, sizes_of(contents))

    assert answer.json["message"].startswith("150 objects are missing")
    assert len(answer.json["objects"]) == 100


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"sizes": {sha(b"b"): 1}}, 400, "Sizes don't match the hashes"),
        ({"digest": "0" * 64}, 400, "Wrong contents hash"),
        ({"digest": "0" * 70}, 400, "Wrong contents hash"),
        ({"handle": "ann/1pkg"}, 400, "Invalid package name"),
        ({"handle": "ann/" + "p" * 65}, 400, "Invalid package name"),
        ({"handle": "ann/a-b"}, 400, "Invalid package name"),
        ({"contents": leaf(b"a")}, 400, "Unexpected node type"),
        ({"is_public": True}, 403, "Public access not allowed"),
        ({"handle": "bob/pkg"}, 403, "Only the package owner can create packages."),
        ({"handle": "nobody_here/pkg"}, 403, "Only the package owner can create packages."),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_push_is_refused_in_the_words_of_the_protocol(people, change, status, message, dry_run):
    people.ann.send(b"a")
    given = {"handle": "ann/pkg", "contents": root(a=leaf(b"a")), "sizes": sizes_of([b"a"]), **change}
    if dry_run and "Sizes" in message:
        status, message = 200, None  # a dry run does not know the sizes yet

    answer = people.ann.request_push(dry_run=dry_run, **given)

    assert (answer.status_code, answer.json.get("message")) == (status, message)


def test_team_access_can_be_switched_off(people, settings):
    settings(REGISTRY_ALLOW_TEAM=False)
    answer = people.ann.request_push("ann/pkg", root(), is_team=True)
    assert (answer.status_code, answer.json["message"]) == (403, "Team access not allowed")


def test_the_first_check_that_fails_answers(people):
    wrong_hash_and_name = people.ann.request_push("bob/1", root(), digest="0" * 64)
    assert wrong_hash_and_name.json["message"] == "Invalid package name"
    wrong_hash_and_owner = people.ann.request_push("bob/pkg", root(), digest="0" * 64)
    assert wrong_hash_and_owner.json["message"] == "Wrong contents hash"


def test_names_that_differ_only_by_case_are_one(people):
    people.ann.push("ann/Data", {"a": b"a"})

    answer = people.ann.request_push("ann/dATA", root())

    assert (answer.status_code, answer.json["message"]) == (403, "Package already exists: ann/Data")
    assert people.ann.get("/api/package/ann/data/").status_code == 404


def test_a_name_that_the_client_cannot_write_owns_nothing(app, people, user_factory, api_key_factory):
    key = api_key_factory(user_factory("Ann-Marie", "registry_push"))
    answer = app.test_client().put(
        "/api/package/Ann-Marie/pkg/" + "3e659fce4c878d0ad00f6df85ca1aef2aa1bcef25137f030312f01f39d256a82",
        json={"description": "", "contents": root(), "sizes": {}},
        headers={"Authorization": key},
    )
    assert answer.status_code == 403
    assert "cannot own packages" in answer.json["message"]


def test_pushing_a_hash_again_takes_the_new_tree_and_is_logged(people):
    ann = people.ann
    ann.send(b"a")
    trees = [root(a=leaf(b"a", metadata={"q_path": path})) for path in ("one", "two")]
    digests = {ann.request_push("ann/pkg", tree, sizes_of([b"a"])).json["package_hash"] for tree in trees}

    assert len(digests) == 1
    digest = digests.pop()
    assert ann.get(f"/api/package/ann/pkg/{digest}").json["contents"] == trees[1]
    assert ann.get("/api/package/ann/pkg/").json == {"hashes": [digest]}
    assert [entry["hash"] for entry in ann.get("/api/log/ann/pkg/").json["logs"]] == [digest, digest]


def test_flags_open_a_new_package_and_not_an_old_one(people, public_site):
    ann = people.ann
    ann.push("ann/open", {"a": b"a"}, is_public=True)
    ann.push("ann/open", {"a": b"b"})  # without the flag it stays public
    assert ann.get("/api/package/ann/").json["packages"] == [
        {"name": "open", "is_public": True, "is_team": False}
    ]
    ann.push("ann/closed", {"a": b"a"})
    for flag, word in (("is_public", "public"), ("is_team", "team")):
        answer = ann.request_push("ann/closed", root(a=leaf(b"a")), sizes_of([b"a"]), **{flag: True})
        assert answer.status_code == 403
        assert answer.json["message"] == (
            f"ann/closed is private. To make it {word}, run `quilt access add ann/closed {word}`."
        )


def test_a_team_may_push_and_readers_may_not(people):
    people.ann.push("ann/ours", {"a": b"a"}, is_team=True)
    digest = people.bob.push("ann/ours", {"a": b"of bob"})
    assert people.ann.get("/api/log/ann/ours/").json["logs"][-1]["author"] == "bob"
    assert people.bob.put("/api/tag/ann/ours/t", json={"hash": digest}).status_code == 200

    people.ann.push("ann/mine", {"a": b"a"})
    people.ann.put("/api/access/ann/mine/bob")
    answer = people.bob.request_push("ann/mine", root())
    assert (answer.status_code, answer.json["message"]) == (
        403,
        "Only the package owner can push private packages.",
    )
    unseen = people.eve.request_push("ann/mine", root())
    assert unseen.json["message"] == "Only the package owner can create packages.", "it is not there for eve"


def test_the_old_name_of_the_public_flag_is_known(people, public_site):
    body = {"description": "", "contents": root(), "sizes": {}, "public": True}
    digest = "3e659fce4c878d0ad00f6df85ca1aef2aa1bcef25137f030312f01f39d256a82"
    assert people.ann.put(f"/api/package/ann/pkg/{digest}", json=body).status_code == 200
    assert people.nobody.get("/api/package/ann/pkg/").status_code == 200


def test_an_empty_tree_is_a_package(people):
    assert people.ann.push("ann/empty", {}) == (
        "3e659fce4c878d0ad00f6df85ca1aef2aa1bcef25137f030312f01f39d256a82"
    )


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"README": b"h\xc3\xa9\xff\x00!"}, "hé!"),
        ({"README": b""}, ""),
        ({"README": b"first", "README.md": b"second"}, "first"),
        ({"README.md": b"second", "README.txt": b"third"}, "second"),
        ({"README": b"x" * 700_000}, "x" * 640 * 1024),
        ({"readme": b"no"}, None),
    ],
)
def test_the_beginning_of_the_readme_is_kept_as_text(people, files, text):
    people.ann.push("ann/p", files)
    digest = db.session.scalar(select(Revision.readme))
    assert find_text(digest) == text
    people.ann.push("ann/p", files | {"more": b"1"})
    assert db.session.scalar(select(func.count()).select_from(Readme)) == (text is not None)


def test_a_table_or_a_group_of_that_name_is_no_readme(people):
    people.ann.send(b"1", b"2")
    for node in (
        leaf(b"1", metadata={"q_target": "pandas"}),
        leaf(b"1", b"2"),
        {"type": "GROUP", "children": {"README": leaf(b"1")}},
        {"type": "TABLE", "hashes": [sha(b"1")], "format": "PARQUET"},
        leaf(),
    ):
        tree = root(README=node)
        needed = sizes_of(content for content in (b"1", b"2") if sha(content) in str(node))
        assert people.ann.request_push("ann/p", tree, needed).status_code == 200
    assert set(db.session.scalars(select(Revision.readme))) == {None}
