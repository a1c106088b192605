"""Pushing a part of a package: the rest stays, and so do the parts that others push meanwhile."""

import gzip
import json
import threading

import pytest
from registry_kit import leaf, local, root, sha, sizes_of

from registry.manifest import top_hash


def group(**children):
    return {"type": "GROUP", "children": children}


@pytest.fixture
def subpush():
    """``subpush(person, "ann/p/a/b", node, sizes)`` as the published client sends it."""

    def post(person, path, node, sizes=None, **more):
        body = {"dry_run": False, "is_public": False, "is_team": False, "description": ""}
        body |= {"contents": node, "sizes": sizes or {}} | more
        return person.post(
            f"/api/package_update/{path}",
            data=gzip.compress(json.dumps(body).encode()),
            headers={"Content-Encoding": "gzip", "Content-Type": "application/json"},
        )

    return post


@pytest.fixture
def tree_of():
    """``tree_of(person, "ann/p")``: the tree that ``latest`` names."""

    def get(person, handle):
        digest = person.get(f"/api/tag/{handle}/latest").json["hash"]
        found = person.get(f"/api/package/{handle}/{digest}").json
        assert top_hash(found["contents"]) == digest
        assert found["sizes"].keys() == found["urls"].keys()
        return found["contents"]

    return get


def push(person, handle, tree, *contents):
    person.send(*contents)
    digest = person.request_push(handle, tree, sizes_of(contents)).json["package_hash"]
    assert person.put(f"/api/tag/{handle}/latest", json={"hash": digest}).status_code == 200
    return digest


def test_a_part_is_pushed_as_the_published_client_does_it(people, subpush, tree_of):
    ann = people.ann
    before = push(ann, "ann/p", root(a=leaf(b"a"), g=group(b=leaf(b"b"))), b"a", b"b")
    node = leaf(b"new", metadata={"q_path": "n.csv"}, metadata_hash=sha(b"{}"))

    dry = subpush(ann, "ann/p/g/sub/n", node, dry_run=True)

    assert dry.json["upload_urls"].keys() == {sha(b"new"), sha(b"{}")}
    assert ann.get("/api/tag/ann/p/latest").json["hash"] == before, "a dry run changes nothing"
    for content in (b"new", b"{}"):
        put = dry.json["upload_urls"][sha(content)]["put"]
        assert people.nobody.put(local(put), data=content).status_code == 201
    real = subpush(ann, "ann/p/g/sub/n", node, sizes_of([b"new", b"{}"]))
    assert real.status_code == 200
    assert real.json["package_url"] == "http://localhost/packages/ann/p"
    assert tree_of(ann, "ann/p") == root(a=leaf(b"a"), g=group(b=leaf(b"b"), sub=group(n=node)))
    assert real.json["package_hash"] == ann.get("/api/tag/ann/p/latest").json["hash"]
    assert [entry["hash"] for entry in ann.get("/api/log/ann/p/").json["logs"]] == [
        before,
        real.json["package_hash"],
    ]


def test_what_is_at_the_path_is_replaced_and_its_objects_are_no_longer_needed(people, subpush, tree_of):
    push(people.ann, "ann/p", root(g=group(b=leaf(b"b")), x=leaf(b"x")), b"b", b"x")
    people.ann.send(b"c")
    digest = subpush(people.ann, "ann/p/g", leaf(b"c"), sizes_of([b"c"])).json["package_hash"]
    assert tree_of(people.ann, "ann/p") == root(g=leaf(b"c"), x=leaf(b"x"))
    answer = people.ann.get(f"/api/package/ann/p/{digest}").json
    assert answer["sizes"] == sizes_of([b"c", b"x"])
    again = subpush(people.ann, "ann/p/g/", leaf(b"c"), sizes_of([b"c"]))
    assert again.json["package_hash"] == digest, "the same part again is the same revision"


def test_without_a_package_or_a_tag_the_rest_is_empty(people, subpush, tree_of):
    people.ann.send(b"a")
    assert subpush(people.ann, "ann/new/café/b", leaf(b"a"), sizes_of([b"a"])).status_code == 200
    assert tree_of(people.ann, "ann/new") == root(café=group(b=leaf(b"a")))
    people.ann.delete("/api/tag/ann/new/latest")
    assert subpush(people.ann, "ann/new/c", group(), {}).status_code == 200
    assert tree_of(people.ann, "ann/new") == root(c=group())


@pytest.mark.parametrize(
    ("path", "node", "sizes", "status", "message"),
    [
        ("ann/p/a/b", leaf(b"a"), sizes_of([b"a"]), 404, "Target subpath is not a group node: 'a'"),
        ("ann/p/g/b/c/d", leaf(b"a"), sizes_of([b"a"]), 404, "Target subpath is not a group node: 'b'"),
        ("ann/p/g", root(), {}, 400, "Unexpected node type"),
        ("ann/1p/g", leaf(b"a"), sizes_of([b"a"]), 400, "Invalid package name"),
        ("ann/p/g", leaf(b"a"), {}, 400, "Sizes don't match the hashes"),
        ("ann/p/g", leaf(b"a"), sizes_of([b"a", b"b"]), 400, "Sizes don't match the hashes"),
        (
            "ann/p/g",
            leaf(b"a"),
            {sha(b"a"): 2},
            400,
            f"1 objects have another size, the first is {sha(b'a')}.",
        ),
        ("bob/p/g", leaf(b"a"), sizes_of([b"a"]), 403, "Only the package owner can create packages."),
        ("ann/P/g", leaf(b"a"), sizes_of([b"a"]), 403, "Package already exists: ann/p"),
    ],
)
def test_a_part_is_refused_in_the_words_of_the_protocol(people, subpush, path, node, sizes, status, message):
    before = push(people.ann, "ann/p", root(a=leaf(b"a"), g=group(b=leaf(b"b"))), b"a", b"b")
    answer = subpush(people.ann, path, node, sizes)
    assert (answer.status_code, answer.json["message"]) == (status, message)
    assert people.ann.get("/api/package/ann/p/").json["hashes"] == [before]


@pytest.mark.parametrize("path", ["a//b", "a/./b", "a/../b", "%00", "a%1Fb", "x" * 256, "/".join("g" * 101)])
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_path_that_no_tree_has_is_refused(people, subpush, path, dry_run):
    people.ann.send(b"a")
    answer = subpush(people.ann, f"ann/p/{path}", leaf(b"a"), sizes_of([b"a"]), dry_run=dry_run)
    assert answer.status_code == 400
    assert people.ann.get("/api/package/ann/").json == {"packages": []}


@pytest.mark.parametrize(
    "node", [None, [], "x", 1, {}, {"type": "FILE"}, group(x=root()), {"type": "TABLE", "hashes": []}]
)
def test_what_is_no_node_is_refused(people, subpush, node):
    assert subpush(people.ann, "ann/p/a", node).status_code == 400


def test_a_part_needs_the_rights_of_a_push(people, subpush, tree_of, public_site):
    for tag, access in (("closed", None), ("read", "bob"), ("ours", "team"), ("open", "public")):
        push(people.ann, f"ann/{tag}", root(a=leaf(b"a")), b"a")
        if access:
            people.ann.put(f"/api/access/ann/{tag}/{access}")
    people.bob.send(b"b")
    told = {
        name: subpush(people.bob, f"ann/{name}/b", leaf(b"b"), sizes_of([b"b"]))
        for name in ("closed", "read", "ours", "open")
    }
    assert {name: answer.status_code for name, answer in told.items()} == {
        "closed": 403,
        "read": 403,
        "ours": 200,
        "open": 403,
    }
    assert told["closed"].json["message"] == "Only the package owner can create packages.", (
        "as if it were not there"
    )
    assert told["read"].json["message"] == "Only the package owner can push private packages."
    assert tree_of(people.ann, "ann/ours") == root(a=leaf(b"a"), b=leaf(b"b"))
    assert people.ann.get("/api/log/ann/ours/").json["logs"][-1]["author"] == "bob"
    assert subpush(people.nobody, "ann/ours/b", leaf(b"b"), sizes_of([b"b"])).status_code == 401


def test_nobody_gets_at_an_object_of_others_by_naming_it(people, subpush):
    push(people.ann, "ann/secret", root(a=leaf(b"a secret")), b"a secret")
    answer = subpush(people.bob, "bob/p/a", leaf(b"a secret"), sizes_of([b"a secret"]))
    assert (answer.status_code, answer.json["objects"]) == (400, [sha(b"a secret")])


def test_a_part_is_pushed_only_where_it_is_expected_to_go(people, subpush, tree_of):
    digest = push(people.ann, "ann/p", root(a=leaf(b"a")), b"a")
    people.ann.send(b"b")
    sizes = sizes_of([b"b"])
    other = subpush(people.ann, "ann/p/b", leaf(b"b"), sizes, tag="latest", expect="0" * 64)
    assert (other.status_code, other.json["hash"]) == (409, digest)
    wrong = subpush(people.ann, "ann/p/b", leaf(b"b"), sizes, tag="other")
    assert (wrong.status_code, wrong.json["message"]) == (400, "A part is pushed to the tag latest.")
    done = subpush(people.ann, "ann/p/b", leaf(b"b"), sizes, tag="latest", expect=digest, message="with b")
    assert done.status_code == 200
    assert tree_of(people.ann, "ann/p") == root(a=leaf(b"a"), b=leaf(b"b"))
    assert people.ann.get("/api/log/ann/p/").json["logs"][-1]["message"] == "with b"


def test_the_whole_may_not_become_larger_than_a_push(people, subpush, settings):
    settings(REGISTRY_MAX_BODY_BYTES=4000)
    names = [f"{'n' * 250}{number}" for number in range(16)]
    statuses = [subpush(people.ann, f"ann/p/{name}", group()).status_code for name in names]
    assert statuses[0] == 200
    assert statuses[-1] == 413


def test_parts_pushed_at_once_all_survive(people, subpush, tree_of):
    parts = {f"part{number}": bytes([number]) for number in range(6)}
    people.ann.send(*parts.values())
    barrier = threading.Barrier(len(parts))
    statuses = []

    def work(name, content):
        barrier.wait()
        for turn in range(3):
            answer = subpush(people.ann, f"ann/p/{name}/turn{turn}", leaf(content), sizes_of([content]))
            statuses.append(answer.status_code)

    threads = [threading.Thread(target=work, args=part) for part in parts.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [200] * 18
    expected = {
        name: group(**{f"turn{turn}": leaf(content) for turn in range(3)}) for name, content in parts.items()
    }
    assert tree_of(people.ann, "ann/p") == root(**expected)
    assert len(people.ann.get("/api/log/ann/p/").json["logs"]) == 18
