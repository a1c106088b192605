"""Making, seeing, replacing and deleting carts; the files are in a folder."""

import hashlib
import json

import pytest
from cart_kit import READY, Person, entry

from core.conftest import add_permissions
from core.db import db
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


@pytest.mark.parametrize("uid", ["a b", "ä", "x" * 256, "%00", "a;b", "a\\b"])
def test_an_odd_uid_is_refused(ann, foo, uid):
    for method in ("post", "delete"):
        answer = getattr(ann.client, method)(f"/cart/{uid}")
        assert answer.status_code == 400
        assert answer.json["status"] == "400 Bad Request"
    assert ann.client.head(f"/cart/{uid}").headers["X-Pacifica-Status"] == "error"


def test_the_longest_uid_is_fine(ann, foo):
    uid = "x" * 255
    ann.makes(uid, foo)
    assert ann.state(uid) == READY


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_document_is_json_whatever_it_is_called(ann, foo, kind):
    body = json.dumps({"fileids": [foo]})
    assert ann.client.post("/cart/u", data=body, content_type=kind).status_code == 201
    assert ann.state("u") == READY


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"null", b"[]", b"3", b'{"fileids": 3}', b"{}", b"[[[[["]
)
def test_what_is_no_document_is_refused(ann, body):
    answer = ann.client.post("/cart/u", data=body)
    assert answer.status_code == 400
    assert answer.json["message"]
    assert answer.json["traceback"] == ""
    assert ann.state("u")[0] == 404


@pytest.mark.parametrize(
    ("change", "member"),
    [
        ({"id": None}, "id"),
        ({"id": True}, "id"),
        ({"id": 1.5}, "id"),
        ({"id": []}, "id"),
        ({"id": ""}, "id"),
        ({"path": 7}, "path"),
        ({"path": "a/../b"}, "path"),
        ({"path": "a/"}, "path"),
        ({"path": "///"}, "path"),
        ({"hashtype": "md6"}, "hashtype"),
        ({"hashtype": "shake_128"}, "hashtype"),
        ({"hashtype": 5}, "hashtype"),
        ({"hashsum": "xyz"}, "hashsum"),
        ({"hashsum": "0" * 31}, "hashsum"),
        ({"hashsum": False}, "hashsum"),
        ({"size": -1}, "size"),
        ({"size": "1"}, "size"),
        ({"source": "nowhere"}, "source"),
        ({"source": {}}, "source"),
    ],
)
def test_a_bad_entry_is_named_with_its_member(ann, foo, change, member):
    answer = ann.post("u", foo, foo | {"path": "other"} | change)

    assert answer.status_code == 400
    assert [(one["entry"], one["member"]) for one in answer.json["errors"]] == [(1, member)]
    assert ann.state("u")[0] == 404


def test_all_bad_entries_are_listed_up_to_a_hundred(ann, foo):
    answer = ann.post("u", *[foo | {"hashtype": "none"}] * 300)
    assert [one["entry"] for one in answer.json["errors"]] == list(range(100))
    assert "299 more" in answer.json["message"]


@pytest.mark.parametrize("member", ["id", "path", "hashtype", "hashsum"])
def test_a_missing_member_is_named(ann, foo, member):
    del foo[member]
    answer = ann.post("u", foo)
    assert answer.status_code == 400
    assert answer.json["errors"][0] == {"entry": 0, "member": member, "reason": "missing"}


def test_two_files_at_one_path_or_a_file_for_a_folder_are_refused(ann, foo, folder):
    (folder / "bar").write_bytes(b"bar")
    bar = entry(b"bar", "1/2/3/foo.txt", "bar")
    assert ann.post("u", foo, bar).status_code == 400
    assert ann.post("u", foo, bar | {"path": "1/2/3/foo.txt/x"}).status_code == 400
    assert ann.post("u", foo, bar | {"path": "1/2/3"}).status_code == 400


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


@pytest.mark.parametrize("name", ["MD5", "sha-256", "SHA3_256", "blake2b"])
def test_algorithms_are_known_by_any_spelling(ann, foo, name):
    digest = hashlib.new(name.lower().replace("-2", "2"), DATA).hexdigest().upper()
    ann.makes("u", foo | {"hashtype": name, "hashsum": digest})
    assert ann.state("u") == READY


def test_without_a_hash_a_file_is_not_verified_and_said_to_be_so(ann, foo, settings):
    ann.makes("u", foo | {"hashsum": ""})
    assert ann.state("u") == READY
    line = json.loads(ann.client.get("/cart/u/manifest").text)
    assert line["verified"] is False

    settings(CART_REQUIRE_HASH=True)
    assert ann.post("v", foo | {"hashsum": ""}).status_code == 400


@pytest.mark.parametrize(
    "identifier", ["../secret", "/etc/hostname", "link", "1", "gone", "a\x7f", "x" * 300]
)
def test_nothing_outside_the_folder_can_be_had(ann, foo, folder, identifier):
    (folder.parent / "secret").write_bytes(b"secret")
    (folder / "link").symlink_to(folder.parent / "secret")
    ann.makes("u", foo | {"id": identifier, "hashsum": ""})
    status, state, message = ann.state("u")
    assert (status, state) == (500, "error")
    assert "not available" in message


def test_a_link_inside_the_folder_is_followed(ann, foo, folder):
    (folder / "link").symlink_to("1/foo.txt")
    ann.makes("u", foo | {"id": "link"})
    assert ann.state("u") == READY


def test_ids_can_be_numbers_as_the_archive_keeps_them(ann, folder, settings):
    settings(CART_DIRECTORY_SCHEME="numbers")
    (folder / "d2").mkdir()
    (folder / "d2" / "4d2").write_bytes(b"1234")
    (folder / "file.4d").write_bytes(b"77")
    ann.makes("u", entry(b"1234", "a", 1234), entry(b"77", "b", "77"))
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


@pytest.mark.parametrize("method", ["put", "patch"])
def test_other_methods_are_refused_with_those_that_there_are(ann, method):
    answer = getattr(ann.client, method)("/cart/u")
    assert answer.status_code == 405
    assert {"DELETE", "HEAD", "POST"} <= set(answer.headers["Allow"].split(", "))
    assert answer.json["status"] == "405 Method Not Allowed"


def test_a_path_below_a_cart_that_means_nothing_is_not_found(ann):
    assert ann.client.get("/cart/u/what/ever").status_code == 404


def test_too_many_entries_and_too_long_a_document_are_refused(ann, foo, settings, app):
    settings(CART_MAX_ENTRIES=2)
    answer = ann.post("u", *({**foo, "path": str(n)} for n in range(3)))
    assert answer.status_code == 413
    assert answer.json["message"]


def test_who_waits_is_told_at_once_when_nothing_can_change(ann, foo):
    ann.makes("u", foo)
    assert ann.status("u", wait=30)["state"] == "ready"
    assert ann.client.get("/cart/u/status?wait=nan").status_code == 400


def test_a_manifest_can_be_read_by_sha256sum(ann, folder):
    digest = hashlib.sha256(DATA).hexdigest()
    (folder / "a b").write_bytes(DATA)
    ann.makes("u", {"id": "a b", "path": "x\ny", "hashtype": "sha256", "hashsum": digest})
    assert ann.client.get("/cart/u/manifest?format=sha256sum").text == f"\\{digest}  x\\ny\n"


def test_a_large_local_file_is_verified_by_a_job(ann, foo, settings, work):
    settings(CART_VERIFY_BYTES=1)
    ann.makes("u", foo)
    assert ann.state("u") == (202, "waiting", "")
    work()
    assert ann.state("u") == READY
    ann.makes("v", foo)  # what was verified once is known
    assert ann.state("v") == READY
