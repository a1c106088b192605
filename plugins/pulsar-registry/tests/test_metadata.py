"""What is said of nodes can be read without downloading them."""

import json

import pytest
from registry_kit import group, leaf, root, sha, sizes_of

pytestmark = pytest.mark.any_database

META = json.dumps({"site": "JFK", "é": [1, None]}).encode()
BROKEN = b'{"a": NaN}'
LARGE = json.dumps({"a": "x" * (16 << 10)}).encode()
DEEP = b'{"a":' * 200 + b"1" + b"}" * 200
LIST = b"[1]"


@pytest.fixture
def package(people):
    contents = [b"1", b"22", META, BROKEN, LARGE, DEEP, LIST]
    tree = root(
        z=leaf(b"1", metadata={"q_ext": "csv"}, metadata_hash=sha(META)),
        g={**group(x=leaf(b"1", b"22", metadata_hash=sha(BROKEN))), "metadata_hash": sha(META)},
        a=leaf(b"22", metadata_hash=sha(LARGE)),
        d=leaf(b"22", metadata_hash=sha(DEEP)),
        l=leaf(b"22", metadata_hash=sha(LIST)),
    )
    people.ann.send(*contents)
    return people.ann.request_push("ann/p", tree, sizes_of(contents), tag="latest").json["package_hash"]


def test_all_nodes_are_told_of_by_path(people, package):
    answer = people.ann.get("/api/metadata/ann/p/latest")
    assert answer.json["hash"] == package
    nodes = {node["path"]: node for node in answer.json["nodes"]}
    assert list(nodes) == ["", "a", "d", "g", "g/x", "l", "z"]
    assert nodes["z"] == {
        "path": "z",
        "type": "FILE",
        "size": 1,
        "metadata": {"q_ext": "csv"},
        "metadata_hash": sha(META),
        "user_metadata": {"site": "JFK", "é": [1, None]},
    }
    assert nodes["g"] == {
        "path": "g",
        "type": "GROUP",
        "metadata_hash": sha(META),
        "user_metadata": {"site": "JFK", "é": [1, None]},
    }
    assert nodes["g/x"]["size"] == 3
    assert nodes[""] == {"path": "", "type": "ROOT"}


@pytest.mark.parametrize("path", ["a", "d", "g/x", "l"])
def test_what_is_no_metadata_is_only_named(people, package, path):
    nodes = {node["path"]: node for node in people.ann.get(f"/api/metadata/ann/p/{package}").json["nodes"]}
    assert nodes[path]["user_metadata"] is None
    assert len(nodes[path]["metadata_hash"]) == 64


def test_a_page_at_a_time(people, package):
    answer = people.ann.get("/api/metadata/ann/p/latest?limit=3&page=2")
    assert [node["path"] for node in answer.json["nodes"]] == ["g", "g/x", "l"]
    assert answer.headers["X-Total-Count"] == "7"
    assert 'rel="next"' in answer.headers["Link"]


def test_it_is_for_those_who_may_read(people, package):
    for person, status in ((people.eve, 404), (people.nobody, 401)):
        assert person.get("/api/metadata/ann/p/latest").status_code == status
    assert people.ann.get("/api/metadata/ann/p/none").status_code == 404
    assert people.ann.get("/api/metadata/ann/p/latest?limit=1001").status_code == 400
