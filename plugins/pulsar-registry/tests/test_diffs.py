"""Two revisions compared: nodes, sizes, metadata, tables."""

import json

import pytest
from registry_kit import group, leaf, parquet, root, sha, sizes_of, table

from registry.differences import compare, path_of
from registry.manifest import top_hash


def told(old, new):
    """The changes in short: kind, path, and where it was."""
    return [
        (
            change.kind,
            path_of(change.trail),
            *([path_of(change.origin)] if change.origin else []),
            *change.fields,
        )
        for change in compare(old, new)
    ]


A, B, C = leaf(b"a"), leaf(b"b"), leaf(b"c")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (root(), root(), []),
        (root(a=A, g=group(b=B)), root(g=group(b=B), a=A), []),
        (root(), root(a=A), [("added", "a")]),
        (root(a=A, g=group(b=B)), root(a=A), [("removed", "g/b")]),
        (root(a=A), root(a=B), [("changed", "a", "hashes")]),
        (root(a=A), root(b=A), [("moved", "b", "a")]),
        (root(a=A), root(a=A, b=A), [("added", "b")]),
        (root(a=A, b=A), root(c=A), [("removed", "b"), ("moved", "c", "a")]),
        (root(a=A, b=B), root(a=B, b=A), [("changed", "a", "hashes"), ("changed", "b", "hashes")]),
        (
            root(g=group(a=A, b=B)),
            root(h=group(a=A, b=B)),
            [("moved", "h/a", "g/a"), ("moved", "h/b", "g/b")],
        ),
        (root(a=leaf()), root(b=leaf()), [("removed", "a"), ("added", "b")]),
        (root(a=A), root(b=leaf(b"a", metadata_hash=sha(b"m"))), [("moved", "b", "a", "metadata_hash")]),
        (root(g=group()), root(), [("removed", "g")]),
        (root(g=group(a=A)), root(g=group()), [("removed", "g/a")]),
        (root(g=group(a=A)), root(g=A), [("moved", "g", "g/a")]),
        (root(g=B), root(g=group(a=A)), [("removed", "g"), ("added", "g/a")]),
        (root(a=A), root(a=leaf(b"a", metadata={"x": 1})), [("changed", "a", "metadata")]),
        (root(a=A), root(a=leaf(b"a", metadata={}, metadata_hash=None)), []),
        (
            root(a=leaf(b"a")),
            root(a={"type": "TABLE", "hashes": [sha(b"a")], "format": "PARQUET"}),
            [("changed", "a", "type")],
        ),
        (root(), root() | {"metadata_hash": sha(b"m")}, [("changed", "", "metadata_hash")]),
        (root(a=A, Z=A, z=A), root(), [("removed", "Z"), ("removed", "a"), ("removed", "z")]),
    ],
)
def test_trees_are_compared(old, new, expected):
    assert told(old, new) == expected


def test_comparing_forth_and_back_says_the_same():
    old, new = root(a=A, b=B, g=group(c=C)), root(a=A, c=C, g=group(a=B, d=A))
    opposite = {"added": "removed", "removed": "added"}
    forth = sorted((opposite[c.kind], path_of(c.trail)) for c in compare(old, new) if c.kind in opposite)
    back = sorted((c.kind, path_of(c.trail)) for c in compare(new, old) if c.kind in opposite)
    assert forth == back


def test_a_deep_tree_is_compared_without_recursion():
    old, new = leaf(b"a"), leaf(b"b")
    for _ in range(5000):
        old, new = group(g=old), group(g=new)
    (change,) = compare(root(g=old), root(g=new))
    assert (change.kind, len(path_of(change.trail))) == ("changed", 2 * 5001 - 1)


ONE = parquet({"day": [1, 2], "dest": ["x", "y"], "old": [1.0, 2.0], "same": [1, 1]})
TWO = parquet({"day": [1, 5, 7], "dest": [1, 2, 3], "new": ["a", None, "c"], "same": [1, 1, 1]})


@pytest.fixture
def revisions(people):
    """The top hashes of two revisions of ann/p."""
    old = root(
        t=table(ONE), gone=leaf(b"123"), same=leaf(b"s"), m=leaf(b"m", metadata={"q_ext": "csv", "x": 1})
    )
    new = root(
        t=table(TWO), came=leaf(b"12345"), same=leaf(b"s"), m=leaf(b"m", metadata={"q_ext": "id", "x": 1})
    )
    first = people.ann.push_tree("ann/p", old, ONE, b"123", b"s", b"m")
    second = people.ann.push_tree("ann/p", new, TWO, b"12345", b"s", b"m")
    people.ann.put("/api/tag/ann/p/latest", json={"hash": second})
    people.ann.put("/api/version/ann/p/1.0", json={"hash": first})
    return first, second


def diff(person, references, query="", handle="ann/p"):
    answer = person.get(f"/api/diff/{handle}/{references}{query}")
    assert answer.status_code == 200, answer.text
    return answer.json


def test_two_revisions_are_compared_with_sizes_metadata_and_tables(people, revisions, work):
    first, second = revisions
    assert diff(people.ann, f"{first}/{second}")["changes"][-1]["table"] is None, "nobody has looked yet"
    work()

    found = diff(people.ann, f"1.0.0/{second[:6].upper()}")

    assert (found["from"], found["to"]) == revisions
    assert found == diff(people.ann, f"{first[:7]}/latest")
    assert found["summary"] == {"added": 1, "removed": 1, "moved": 0, "changed": 2}
    sizes = sizes_of([ONE, TWO])
    assert found["bytes"] == {
        "from": sizes[sha(ONE)] + 5,
        "to": sizes[sha(TWO)] + 7,
        "new": sizes[sha(TWO)] + 5,
    }
    came, gone, metadata, changed = found["changes"]
    assert came == {
        "path": "came",
        "change": "added",
        "new": {"type": "FILE", "size": 5, "n_fragments": 1, "hashes": [sha(b"12345")]},
    }
    assert (gone["path"], gone["change"], gone["old"]["size"]) == ("gone", "removed", 3)
    assert (metadata["path"], metadata["fields"]) == ("m", ["metadata"])
    assert metadata["metadata"] == {"q_ext": ["csv", "id"]}
    assert changed["fields"] == ["hashes"]
    assert changed["table"] == {
        "rows": [2, 3],
        "added": [{"name": "new", "type": "string"}],
        "removed": [{"name": "old", "type": "double"}],
        "changed": [
            {"name": "day", "max": [2, 7]},
            {"name": "dest", "type": ["string", "int64"], "min": ["x", 1], "max": ["y", 3]},
        ],
    }


def test_a_revision_differs_not_from_itself(people, revisions):
    found = diff(people.ann, "latest/latest")
    assert found["changes"] == []
    assert set(found["summary"].values()) == {0}
    assert found["bytes"]["new"] == 0


def test_fragments_and_broken_tables_are_compared_as_far_as_they_are_known(people, work):
    parts = [parquet({"a": [1]}), parquet({"a": [2], "b": [3]})]
    old = root(more=table(parts[0]), bad=table(parts[0]), text=leaf(parts[0]))
    new = root(more=table(*parts), bad=table(b"x"), text=leaf(parts[1]))
    first = people.ann.push_tree("ann/p", old, parts[0])
    second = people.ann.push_tree("ann/p", new, *parts, b"x")
    work()
    bad, more, text = diff(people.ann, f"{first}/{second}")["changes"]
    assert bad["table"] is None
    assert more["table"] == {"rows": [1, 2], "added": [], "removed": [], "changed": []}
    assert "table" not in text


def test_changes_come_in_pages(people):
    names = [f"f{n:04}" for n in range(25)]
    first = people.ann.push_tree("ann/p", root())
    second = people.ann.push_tree("ann/p", root(**dict.fromkeys(names, leaf(b"1"))), b"1")
    seen = []
    for page in (1, 2, 3, 4):
        answer = people.ann.get(f"/api/diff/ann/p/{first}/{second}?page={page}&limit=10")
        assert answer.headers["X-Total-Count"] == "25"
        assert answer.json["summary"]["added"] == 25
        seen.append([change["path"] for change in answer.json["changes"]])
    assert seen == [names[:10], names[10:20], names[20:], []]


def test_a_comparison_is_for_those_who_may_read(people, revisions):
    first, second = revisions
    people.ann.push("ann/other", {"x": b"1"})
    for person, path, status in (
        (people.bob, f"ann/p/{first}/{second}", 404),
        (people.nobody, f"ann/p/{first}/{second}", 401),
        (people.ann, f"ann/other/{first}/{second}", 404),
        (people.ann, f"ann/p/{first}/none", 404),
        (people.ann, f"ann/p/{first}/{first[:5]}", 404),
        (people.ann, f"ann/p/{'0' * 64}/latest", 404),
        (people.ann, "ann/p/%00/latest", 404),
        (people.ann, f"ann/p/{'9' * 400}/latest", 404),
        (people.ann, "ann/p/latest/latest?limit=5001", 400),
        (people.ann, "ann/p/latest/latest?page=0", 400),
        (people.ann, "ann/p/latest/latest?page=99999999999999999999", 400),
    ):
        answer = person.get(f"/api/diff/{path}")
        assert answer.status_code == status, (path, answer.text)
        assert isinstance(answer.json["message"], str)
    people.ann.put("/api/access/ann/p/bob")
    assert diff(people.bob, "1.0/latest")["summary"]["changed"] == 2


def test_a_tag_goes_before_a_version_and_both_before_the_beginning_of_a_hash(people):
    hashes = [people.ann.push("ann/p", {"a": bytes([n])}) for n in range(3)]
    beginning = hashes[0][:6]
    assert diff(people.ann, f"{beginning}/{hashes[0]}")["from"] == hashes[0]
    people.ann.put(f"/api/tag/ann/p/{beginning}", json={"hash": hashes[1]})
    assert diff(people.ann, f"{beginning}/{hashes[0]}")["from"] == hashes[1]
    people.ann.put("/api/version/ann/p/1.0", json={"hash": hashes[2]})
    assert diff(people.ann, f"v1/{hashes[0]}")["from"] == hashes[2]
    people.ann.put("/api/tag/ann/p/v1", json={"hash": hashes[0]})
    assert diff(people.ann, f"v1/{hashes[2]}")["from"] == hashes[0]


def test_an_ambiguous_beginning_is_refused(people):
    seen = {}
    for tree in (root(**{f"n{number}": leaf()}) for number in range(20_000)):
        digest = top_hash(tree)
        if (other := seen.setdefault(digest[:6], tree)) is not tree:
            break
    for one in (tree, other):
        people.ann.push_tree("ann/p", one)
    answer = people.ann.get(f"/api/diff/ann/p/{digest[:6]}/{digest}")
    assert (answer.status_code, answer.json["code"]) == (400, "ambiguous")
    assert diff(people.ann, f"{digest[:20]}/{digest}")["changes"] == []


def test_metadata_that_is_long_is_cut(people):
    long = {f"k{n:03}": "x" * 1000 for n in range(100)}
    first = people.ann.push_tree("ann/p", root(a=leaf(b"1", metadata=long)), b"1")
    second = people.ann.push_tree("ann/p", root(a=leaf(b"2", metadata={"k000": {"y": ["z" * 500]}})), b"2")
    (change,) = diff(people.ann, f"{first}/{second}")["changes"]
    assert change["fields"] == ["hashes", "metadata"]
    assert len(change["metadata"]) == 50
    before, after = change["metadata"]["k000"]
    assert (len(before), len(after)) == (200, 200)
    assert after.startswith(json.dumps({"y": ["z"]})[:9])
