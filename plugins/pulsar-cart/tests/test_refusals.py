"""What is refused, and in which words; the same on every database."""

import hashlib
import json

import pytest
from cart_kit import READY, entry

DATA = b"some bytes\n"
pytestmark = pytest.mark.any_database


@pytest.fixture
def foo(folder):
    """A file, and its entry."""
    (folder / "1").mkdir()
    (folder / "1" / "foo.txt").write_bytes(DATA)
    return entry(DATA, "1/2/3/foo.txt", "1/foo.txt")


@pytest.mark.parametrize("uid", ["a b", "ä", "x" * 256, "%00", "a;b", "a\\b"])
def test_an_odd_uid_is_refused(ann, foo, uid):
    for method in ("post", "delete"):
        answer = getattr(ann.client, method)(f"/cart/{uid}")
        assert answer.status_code == 400
        assert answer.json["status"] == "400 Bad Request"
    assert ann.client.head(f"/cart/{uid}").headers["X-Pacifica-Status"] == "error"


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


@pytest.mark.parametrize("name", ["MD5", "sha-256", "SHA3_256", "blake2b"])
def test_algorithms_are_known_by_any_spelling(ann, foo, name):
    digest = hashlib.new(name.lower().replace("-2", "2"), DATA).hexdigest().upper()
    ann.makes("u", foo | {"hashtype": name, "hashsum": digest})
    assert ann.state("u") == READY


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


def test_ids_can_be_numbers_as_the_archive_keeps_them(ann, folder, settings):
    settings(CART_DIRECTORY_SCHEME="numbers")
    (folder / "d2").mkdir()
    (folder / "d2" / "4d2").write_bytes(b"1234")
    (folder / "file.4d").write_bytes(b"77")
    ann.makes("u", entry(b"1234", "a", 1234), entry(b"77", "b", "77"))
    assert ann.state("u") == READY


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
