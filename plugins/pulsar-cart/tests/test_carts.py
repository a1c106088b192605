"""Making, seeing, replacing and deleting carts; the files are in a folder."""

import hashlib
import json

import pytest
from cart_kit import READY, Person, entry

from core.conftest import add_permissions
from core.db import db
from core.errors import NotFound
from core.users.models import User

DATA = b"some bytes\n"


@pytest.fixture
def foo(folder):
    """A file, and its entry."""
    (folder / "1").mkdir()
    (folder / "1" / "foo.txt").write_bytes(DATA)
    return entry(DATA, "1/2/3/foo.txt", "1/foo.txt")


def test_a_cart_of_local_files_is_ready_with_the_answer(ann, foo):
    ann.makes("36a", foo)

    assert ann.state("36a") == READY
    shown = ann.status("36a")
    assert shown["files"] == {"done": 1, "failed": 0, "total": 1}
    assert shown["bytes"] == {"done": len(DATA), "total": len(DATA)}
    assert shown["errors"] == []


def test_a_cart_that_there_is_not_says_so_in_both_headers(ann):
    assert ann.state("nothing") == (404, "error", "No cart with uid nothing found")
    assert ann.delete("nothing").json["message"] == "Not Found"


def test_the_longest_uid_is_fine(ann, foo):
    uid = "x" * 255
    ann.makes(uid, foo)
    assert ann.state(uid) == READY


def test_one_file_at_two_paths_counts_twice_and_one_entry_posted_twice_once(ann, foo):
    ann.makes("u", foo, foo, foo | {"path": "copy"})
    assert ann.status("u")["files"]["total"] == 2


def test_an_empty_cart_is_ready(ann, folder):
    ann.makes("u")
    assert ann.state("u") == READY


def test_unknown_members_are_ignored(ann, foo):
    ann.makes("u", foo | {"more": [1, {"x": 2}]}, other={"a": 1})
    assert ann.state("u") == READY


def test_a_wrong_hash_fails_the_cart(ann, foo):
    ann.makes("u", foo | {"hashsum": "0" * 32})
    status, state, message = ann.state("u")
    assert (status, state) == (500, "error")
    assert "File hash does not match provided hash" in message
    assert "1/foo.txt" in message
    assert "1 of 1" in message


def test_without_a_hash_a_file_is_not_verified_and_said_to_be_so(ann, foo, settings):
    ann.makes("u", foo | {"hashsum": ""})
    assert ann.state("u") == READY
    line = json.loads(ann.client.get("/cart/u/manifest").text)
    assert line["verified"] is False

    settings(CART_REQUIRE_HASH=True)
    assert ann.post("v", foo | {"hashsum": ""}).status_code == 400


def test_a_link_inside_the_folder_is_followed(ann, foo, folder):
    (folder / "link").symlink_to("1/foo.txt")
    ann.makes("u", foo | {"id": "link"})
    assert ann.state("u") == READY


def test_the_same_document_again_changes_nothing(ann, foo):
    ann.makes("u", foo)
    first = ann.status("u")
    ann.makes("u", foo)
    again = ann.status("u")
    assert first["created"] == again["created"]
    assert first["ready"] == again["ready"]


def test_another_document_replaces_the_cart(ann, foo, folder):
    ann.makes("u", foo)
    (folder / "bar").write_bytes(b"bar")
    ann.makes("u", entry(b"bar", "bar"))
    assert [json.loads(line)["path"] for line in ann.client.get("/cart/u/manifest").text.splitlines()] == [
        "bar"
    ]


def test_a_failed_cart_is_made_anew_by_the_same_document(ann, foo, folder):
    bar = entry(b"bar", "bar")
    ann.makes("u", bar)
    assert ann.state("u")[1] == "error"
    (folder / "bar").write_bytes(b"bar")
    ann.makes("u", bar)
    assert ann.state("u") == READY


def test_a_deleted_cart_is_gone_and_its_uid_free(ann, foo):
    ann.makes("u", foo)
    assert ann.delete("u").json == {"message": "Cart Deleted Successfully"}
    assert ann.state("u")[0] == 404
    assert ann.delete("u").status_code == 404
    ann.makes("u", foo)
    assert ann.state("u") == READY


def test_carts_of_others_are_not_there(ann, people, foo):
    bob = people("bob")
    ann.makes("u", foo)
    assert bob.state("u")[0] == 404
    assert bob.delete("u").status_code == 404
    assert bob.client.get("/cart/u/status").status_code == 404
    bob.makes("u", foo | {"path": "mine"})
    assert bob.delete("u").status_code == 200
    assert ann.state("u") == READY


def test_who_may_see_those_of_others_sees_them(app, ann, people, foo):
    root = people("root")
    ann.makes("u", foo)
    add_permissions(app, "cart_view_others", user_id=root.id)
    assert root.state("u") == READY


def test_without_credentials_nothing_works_unless_the_site_says_so(
    app, folder, foo, clean_database, settings
):
    nobody = Person(app)
    answer = nobody.post("u", foo)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert nobody.head("u").status_code == 401

    settings(CART_ANONYMOUS=True)
    nobody.makes("u", foo)
    assert nobody.state("u") == READY
    assert nobody.delete("u").status_code == 200


def test_a_wrong_password_is_refused_even_where_nobody_needs_one(app, folder, foo, clean_database, settings):
    settings(CART_ANONYMOUS=True)
    assert Person(app, "ann", "wrong").post("u", foo).status_code == 401


def test_each_right_is_asked_for(app, ann, foo, api_key_factory):
    key = api_key_factory(db.session.get(User, ann.id), permissions=["cart_read"])
    reader = Person(app, "ann", key)
    assert reader.post("u", foo).status_code == 403
    assert reader.delete("u").status_code == 403
    assert reader.state("u")[0] == 404


def test_the_root_says_that_the_service_runs_and_lists_ones_carts(app, ann, people, foo):
    alive = {"message": "Pacifica Cartd Interface Up and Running"}
    assert Person(app).client.get("/cart").json == alive
    assert Person(app).client.head("/cart/").status_code == 200
    ann.makes("one", foo)
    ann.makes("two", foo, label="for bob")
    people("bob").makes("three", foo)
    answer = ann.client.get("/cart?limit=1")
    assert [(cart["uid"], cart["label"]) for cart in answer.json["carts"]] == [("two", "for bob")]
    assert answer.headers["X-Total-Count"] == "2"


def test_who_waits_is_told_at_once_when_nothing_can_change(ann, foo):
    ann.makes("u", foo)
    assert ann.status("u", wait=30)["state"] == "ready"
    assert ann.client.get("/cart/u/status?wait=nan").status_code == 400


def test_a_manifest_can_be_read_by_sha256sum(ann, folder):
    digest = hashlib.sha256(DATA).hexdigest()
    (folder / "a b").write_bytes(DATA)
    wanted = [{"path": "x\ny", "hashtype": "sha256", "hashsum": digest}]
    wanted += [{"path": path, "hashtype": "md5", "hashsum": ""} for path in "zw"]
    ann.makes("u", *({"id": "a b"} | one for one in wanted))
    url = "/cart/u/manifest?format=sha256sum"
    assert ann.client.get(url).text == f"{digest}  w\n\\{digest}  x\\ny\n{digest}  z\n"
    (folder / "a b").write_bytes(DATA + b"more")
    with pytest.raises(NotFound, match="has changed"):
        ann.client.get(url)


def test_a_large_local_file_is_verified_by_a_job(ann, foo, settings, work):
    settings(CART_VERIFY_BYTES=1)
    ann.makes("u", foo)
    assert ann.state("u") == (202, "waiting", "")
    work()
    assert ann.state("u") == READY
    ann.makes("v", foo)  # what was verified once is known
    assert ann.state("v") == READY
