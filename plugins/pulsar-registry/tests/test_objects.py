"""Many objects in one call; and that naming a digest gets nobody anything."""

import gzip
import json
import struct

import pytest
from registry_kit import leaf, local, pack, root, sha, sizes_of, unpack
from sqlalchemy import select

from core.db import db
from core.storage import Blob

SECRET = b"ann's private results"


def ask_missing(person, sizes):
    answer = person.post(
        "/api/objects/missing",
        data=gzip.compress(json.dumps({"objects": sizes}).encode()),
        headers={"Content-Encoding": "gzip"},
    )
    assert answer.status_code == 200, answer.text
    missing = answer.json["missing"]
    # Asked for without links, the answer is the same.
    heads = person.post("/api/objects/heads", data=make_heads(sizes))
    assert (heads.status_code, heads.mimetype) == (200, "application/octet-stream")
    assert heads.data == make_heads({digest: sizes[digest] for digest in missing})
    return missing


def make_heads(sizes):
    return b"".join(bytes.fromhex(digest) + struct.pack(">Q", size) for digest, size in sizes.items())


def test_objects_go_in_and_out_in_packs(people):
    contents = [b"", b"one", b"x" * 100_000, b"one"]
    assert people.ann.send(*contents).json == {"stored": 4}
    tree = root(**{f"f{n}": leaf(content) for n, content in enumerate(contents)})
    assert people.ann.request_push("ann/p", tree, sizes_of(contents)).status_code == 200

    wanted = [sha(contents[2]), sha(b""), sha(b"one"), sha(b"")]
    answer = people.ann.post("/api/objects/fetch", json={"objects": wanted})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert int(answer.headers["Content-Length"]) == len(answer.data) == 3 * 40 + 100_003
    assert list(unpack(answer.data).items()) == [
        (digest, found)
        for digest, found in {sha(content): content for content in (contents[2], b"", b"one")}.items()
    ]


def test_what_is_missing_comes_with_a_link_for_it(people):
    people.ann.send(b"sent")
    missing = ask_missing(people.ann, sizes_of([b"sent", b"new"]))
    assert missing.keys() == {sha(b"new")}
    assert people.nobody.put(local(missing[sha(b"new")]), data=b"new").status_code == 201
    assert ask_missing(people.ann, sizes_of([b"sent", b"new"])) == {}


def test_a_wrong_size_is_missing_and_cannot_be_sent(people):
    people.ann.send(b"sent")
    link = ask_missing(people.ann, {sha(b"sent"): 5})[sha(b"sent")]
    assert people.nobody.put(local(link), data=b"sent").status_code == 400


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (pack([b"good"]) + pack([b"evil"], [sha(b"other")]), sha(b"other")),
        (pack([b"good"]) + b"\x00" * 39, "ends within the head"),
        (pack([b"good"])[:-1], "ends within the object"),
        (b"\xff" * 40, "at most 1048576"),
        (bytes(32) + (2**20 + 1).to_bytes(8), "at most 1048576"),
    ],
)
def test_a_bad_pack_is_refused_and_says_where(people, data, says):
    answer = people.ann.post("/api/objects/pack", data=data)
    assert answer.status_code == 400
    assert says in answer.json["message"]
    assert not {sha(b"other"), sha(b"evil")} & set(db.session.scalars(select(Blob.digest)))
    assert ask_missing(people.ann, sizes_of([b"evil", b"other"])).keys() == {sha(b"evil"), sha(b"other")}


@pytest.mark.parametrize(
    ("data", "headers", "status", "code"),
    [
        (b"\x00" * 39, {}, 400, "bad_pack"),
        (b"\x00" * 41, {}, 400, "bad_pack"),
        (bytes(32) + b"\xff" * 8, {}, 400, "bad_pack"),
        (gzip.compress(bytes(40), mtime=0), {"Content-Encoding": "gzip"}, 400, "unsupported_media_type"),
        (bytes(40 * 3), {}, 413, "too_large"),
    ],
    ids=["less than one", "one and a bit", "too large an object", "zipped", "too many"],
)
def test_a_bad_list_of_heads_is_refused(people, settings, data, headers, status, code):
    settings(REGISTRY_MISSING_OBJECTS=2)
    answer = people.ann.post("/api/objects/heads", data=data, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (status, code)


def test_an_empty_list_of_heads_misses_nothing(people):
    answer = people.ann.post("/api/objects/heads", data=b"")
    assert (answer.status_code, answer.data) == (200, b"")
    assert people.nobody.post("/api/objects/heads", data=bytes(40)).status_code == 401


def test_an_empty_pack_is_a_pack(people):
    assert people.ann.post("/api/objects/pack", data=b"").json == {"stored": 0}


def test_limits_of_the_object_calls_are_told(people, settings):
    settings(REGISTRY_MISSING_OBJECTS=2, REGISTRY_PACK_BYTES=2**20, REGISTRY_MAX_OBJECT_BYTES=2**20)
    sizes = sizes_of([b"1", b"2", b"3"])
    for path, objects in (("missing", sizes), ("fetch", list(sizes))):
        answer = people.ann.post(f"/api/objects/{path}", json={"objects": objects})
        assert (answer.status_code, answer.json["code"]) == (400, "too_many")
    assert people.ann.post("/api/objects/pack", data=b"0" * (2**20 + 1)).status_code == 413
    large = people.ann.post("/api/objects/missing", json={"objects": {"0" * 64: 2**20 + 1}})
    assert (large.status_code, large.json["objects"]) == (400, ["0" * 64])


def test_objects_too_large_for_a_pack_are_named(people, settings):
    settings(REGISTRY_PACK_OBJECT_BYTES=2**10)
    people.ann.push("ann/p", {"small": b"s"})
    link = ask_missing(people.ann, {sha(b"l" * 2000): 2000})[sha(b"l" * 2000)]
    people.nobody.put(local(link), data=b"l" * 2000)
    tree = root(large=leaf(b"l" * 2000))
    people.ann.request_push("ann/p", tree, {sha(b"l" * 2000): 2000})
    answer = people.ann.post("/api/objects/fetch", json={"objects": [sha(b"s"), sha(b"l" * 2000)]})
    assert (answer.status_code, answer.json["objects"]) == (400, [sha(b"l" * 2000)])


def test_get_objects_leaves_out_what_is_not_the_callers(people):
    people.ann.push("ann/p", {"a": SECRET, "b": b"b"})
    asked = [sha(SECRET), sha(b"b"), "0" * 64]
    found = people.ann.post("/api/get_objects", json=asked).json
    assert found["sizes"] == sizes_of([SECRET, b"b"])
    assert found["urls"].keys() == found["sizes"].keys()
    assert people.nobody.get(local(found["urls"][sha(SECRET)])).data == SECRET
    assert people.bob.post("/api/get_objects", json=asked).json == {"sizes": {}, "urls": {}}
    people.ann.put("/api/access/ann/p/bob")
    assert people.bob.post("/api/get_objects", json=asked).json["sizes"] == found["sizes"]
    for rubbish in ({"a": 1}, ["x"], [7], "x"):
        assert people.ann.post("/api/get_objects", json=rubbish).status_code == 400
    assert people.nobody.post("/api/get_objects", json=asked).status_code == 401


def test_a_digest_alone_gets_nobody_anything(people):
    """Eve knows the digest of ann's private object, and nothing else."""
    people.ann.push("ann/p", {"a": SECRET})
    eve, digest = people.eve, sha(SECRET)
    sizes = {digest: len(SECRET)}
    unknown = {"f" * 64: len(SECRET)}

    # Probing: an object that is here looks like one that is not.
    assert ask_missing(eve, sizes).keys() == {digest}
    pairs = [
        eve.request_push(
            "eve/p", {"type": "ROOT", "children": {"x": {"type": "FILE", "hashes": [d]}}}, dry_run=True
        ).json["upload_urls"][d]
        for d in (digest, "f" * 64)
    ]
    heads = [people.nobody.head(local(pair["head"])) for pair in pairs]
    assert [head.status_code for head in heads] == [404, 404]
    assert people.nobody.get(local(pairs[0]["head"])).status_code == 403
    # Claiming: a push that names it is refused in the same words.
    answers = [
        eve.request_push(
            "eve/p", {"type": "ROOT", "children": {"x": {"type": "FILE", "hashes": [d]}}}, {d: size}
        )
        for claimed in (sizes, unknown)
        for d, size in claimed.items()
    ]
    assert [answer.status_code for answer in answers] == [400, 400]
    texts = [
        answer.json["message"].replace(d, "?") for answer, d in zip(answers, (digest, "f" * 64), strict=True)
    ]
    assert texts[0] == texts[1]
    # Fetching, and as metadata.
    assert eve.post("/api/objects/fetch", json={"objects": [digest]}).status_code == 404
    sneaky = {"type": "ROOT", "children": {}, "metadata_hash": digest}
    assert eve.request_push("eve/p", sneaky, sizes).status_code == 400

    # Whoever has the bytes may send them, and then has a right to them of his own.
    eve.send(SECRET)
    assert ask_missing(eve, sizes) == {}
    assert eve.request_push("eve/p", root(x=leaf(SECRET)), sizes).status_code == 200
    assert eve.get("/api/package/ann/p/").status_code == 404


def test_a_stored_tree_cannot_be_claimed_either(people):
    people.ann.push("ann/p", {"a": b"1"})
    trees = set(db.session.scalars(select(Blob.digest))) - {sha(b"1")}
    assert trees
    for digest in trees:
        assert ask_missing(people.ann, {digest: db.session.get(Blob, digest).size}).keys() == {digest}


def test_readers_share_what_they_read(people):
    """Bob may read ann's package, so he need not send its objects to push them himself."""
    people.ann.push("ann/p", {"a": SECRET})
    people.ann.put("/api/access/ann/p/bob")
    tree, sizes = root(copy=leaf(SECRET)), {sha(SECRET): len(SECRET)}

    assert ask_missing(people.bob, sizes) == {}
    head = people.bob.request_push("bob/p", tree, dry_run=True).json["upload_urls"][sha(SECRET)]["head"]
    assert people.nobody.head(local(head)).status_code == 200
    assert people.bob.request_push("bob/p", tree, sizes).status_code == 200
    people.ann.delete("/api/package/ann/p/")
    assert people.bob.post("/api/objects/fetch", json={"objects": [sha(SECRET)]}).status_code == 200


def test_revocation_ends_the_proof(people):
    people.ann.push("ann/p", {"a": SECRET})
    people.ann.put("/api/access/ann/p/bob")
    people.ann.delete("/api/access/ann/p/bob")
    sizes = {sha(SECRET): len(SECRET)}
    assert ask_missing(people.bob, sizes).keys() == sizes.keys()
    assert people.bob.request_push("bob/p", root(copy=leaf(SECRET)), sizes).status_code == 400
