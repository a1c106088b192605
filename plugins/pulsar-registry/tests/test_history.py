"""What the log says of a push, and that it can be trusted."""

import hashlib
import json

import pytest
from registry_kit import leaf, root, run_at_once, sizes_of

from registry.services import history

PROVENANCE = {
    "client": "pulsar-client 0.1.0",
    "command": ["pulsar", "build", "ann/p", "flights.csv"],
    "sources": {"flights.csv": "1" * 64},
    "transform": "csv",
    "git_commit": "2" * 40,
    "parent": None,
    "näme": [1, {"deep": True}, "\u2028"],
}


def log(person, handle="ann/p"):
    return person.get(f"/api/log/{handle}/").json["logs"]


def entry_hash(entry):
    """As docs/formats/log.md says, and not as the site computes it."""
    parts = {key: entry[key] for key in ("author", "hash", "message", "previous", "provenance")}
    parts["created"] = round(entry["created"] * 10**6)
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def assert_is_chained(entries):
    assert [entry["entry"] for entry in entries] == [entry_hash(entry) for entry in entries]
    hashes = [entry["entry"] for entry in entries]
    assert [entry["previous"] for entry in entries] == [None, *hashes[:-1]]


def test_a_push_says_what_it_is_and_where_it_comes_from(people):
    people.ann.push("ann/p", {"a": b"1"}, message="First\nof two", provenance=PROVENANCE)
    people.ann.push("ann/p", {"a": b"2"})
    first, second = log(people.ann)
    assert (first["message"], first["provenance"]) == ("First\nof two", PROVENANCE)
    assert (second["message"], second["provenance"]) == ("", {})
    assert (first["author"], first["tags"], first["versions"]) == ("ann", None, None)


def test_each_entry_has_the_hash_of_the_one_before(people):
    people.ann.push("ann/p", {"a": b"1"}, is_team=True, message="é \U0001f600", provenance=PROVENANCE)
    people.bob.push("ann/p", {"a": b"1"}, message="again")
    people.bob.push("ann/p", {"a": b"3"})
    people.ann.push("ann/other", {"a": b"1"})
    entries = log(people.ann)
    assert [entry["author"] for entry in entries] == ["ann", "bob", "bob"]
    assert_is_chained(entries)
    assert_is_chained(log(people.ann, "ann/other"))
    people.ann.delete("/api/package/ann/p/")
    people.ann.push("ann/p", {"a": b"1"})
    assert len(log(people.ann)) == 1
    assert_is_chained(log(people.ann))


def test_pushes_at_once_make_one_chain(people):
    people.ann.send(b"1")
    push = lambda: people.ann.request_push("ann/p", root(a=leaf(b"1")), sizes_of([b"1"]))  # noqa: E731
    answers = run_at_once(*[push] * 6)
    assert {answer.status_code for answer in answers} == {200}
    entries = log(people.ann)
    assert len(entries) == 6
    assert_is_chained(entries)


@pytest.mark.parametrize("pushes", [1, 3, 4, 6, 7])
def test_a_long_log_is_whole(people, pushes, monkeypatch):
    monkeypatch.setattr(history, "READ_ENTRIES", 3)
    digests = [people.ann.push("ann/p", {"a": bytes([number])}) for number in range(pushes)]
    people.ann.put("/api/tag/ann/p/last", json={"hash": digests[-1]})
    entries = log(people.ann)
    assert [entry["hash"] for entry in entries] == digests
    assert entries[-1]["tags"] == ["last"]
    assert_is_chained(entries)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"message": 7}, "message"),
        ({"message": "m" * 10_241}, "message"),
        ({"message": "\x00"}, "cannot be stored"),
        ({"provenance": []}, "Not an object"),
        ({"provenance": None}, "provenance"),
        ({"provenance": {"x": "\ud800"}}, "cannot be stored"),
        ({"provenance": {"x": "y" * 2**16}}, "bytes of JSON are more than 65536"),
        ({"provenance": {"é" * 8000: "é" * 8000}}, "bytes of JSON are more than 65536"),
    ],
)
def test_what_a_push_says_of_itself_has_limits(people, more, says):
    people.ann.send(b"1")
    answer = people.ann.request_push("ann/p", root(a=leaf(b"1")), sizes_of([b"1"]), **more)
    assert answer.status_code == 400
    assert says in answer.json["message"]
    assert people.ann.get("/api/package/ann/").json == {"packages": []}


def test_the_limit_of_a_provenance_is_told_and_can_be_moved(people, settings):
    settings(REGISTRY_PROVENANCE_BYTES=20)
    assert people.nobody.get("/api/capabilities").json["limits"]["provenance_bytes"] == 20
    people.ann.push("ann/p", {"a": b"1"}, provenance={"x": "y" * 12})
    answer = people.ann.request_push("ann/p", root(), provenance={"x": "y" * 13})
    assert answer.status_code == 400
