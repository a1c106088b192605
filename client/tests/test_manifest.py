import copy
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsar_client.errors import ManifestError
from pulsar_client.manifest import (
    MAX_DEPTH,
    Group,
    Leaf,
    add_node,
    dump,
    find_node,
    get_top_digest,
    list_blobs,
    parse,
    walk,
)

ONE, TWO, B, C, D = ("1" * 64, "2" * 64, "b" * 64, "c" * 64, "d" * 64)
VECTORS = [
    (
        {"type": "ROOT", "children": {}},
        "3e659fce4c878d0ad00f6df85ca1aef2aa1bcef25137f030312f01f39d256a82",
    ),
    (
        {"type": "ROOT", "children": {"a": {"type": "FILE", "hashes": [ONE], "metadata": {"q_ext": "x"}}}},
        "e5833d6ab0d84605bac1d206f582e1840393f80f3ff84bb470f9c378e05c9f1d",
    ),
    (
        {"type": "ROOT", "children": {"a": {"type": "TABLE", "hashes": [ONE, TWO], "format": "PARQUET"}}},
        "6e0ed24593fae6733b90d680598dcf21afa39328e1867f1856353d9caf13d5d5",
    ),
    (
        {
            "type": "ROOT",
            "metadata_hash": D,
            "children": {
                "g": {"type": "GROUP", "metadata_hash": C, "children": {}},
                "café": {"type": "FILE", "hashes": [ONE], "metadata_hash": B},
                "B": {"type": "GROUP", "children": {"x": {"type": "FILE", "hashes": []}}},
            },
        },
        "154a6f919515323cd5b3d6913ccce39bab519f91ca4b3306e432e947b1f30227",
    ),
]

digests = st.text("0123456789abcdef", min_size=64, max_size=64)
names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="/"), min_size=1
)
names = names.filter(lambda name: name not in {".", ".."} and len(name) <= 255)
metadata = st.none() | st.dictionaries(st.text(), st.none() | st.integers() | st.text(), max_size=3)
leaves = st.builds(
    Leaf, st.lists(digests, max_size=3).map(tuple), metadata, st.none() | digests, st.booleans()
)


def groups(nodes):
    return st.builds(Group, st.dictionaries(names, nodes, max_size=4), st.none() | digests)


trees = groups(st.recursive(leaves, groups, max_leaves=10))


@pytest.mark.parametrize(("wire", "digest"), VECTORS)
def test_the_top_digest_is_that_of_the_protocol(wire, digest):
    assert get_top_digest(parse(wire)) == digest


@given(trees)
def test_a_tree_survives_the_wire(tree):
    assert parse(dump(tree)) == tree


@given(trees)
def test_the_top_digest_equals_its_plain_recursive_definition(tree):
    def text(value):
        return len(value).to_bytes(4, "big") + value.encode()

    def node(wire):
        parts = text(wire["type"])
        if wire["type"] in {"TABLE", "FILE"}:
            parts += len(wire["hashes"]).to_bytes(4, "big") + b"".join(map(text, wire["hashes"]))
        else:
            parts += len(wire["children"]).to_bytes(4, "big")
            for name, child in sorted(wire["children"].items()):
                parts += text(name) + node(child)
        return parts + (text(wire["metadata_hash"]) if "metadata_hash" in wire else b"")

    assert get_top_digest(tree) == hashlib.sha256(node(dump(tree))).hexdigest()


def test_needed_blobs_are_data_and_metadata_each_once():
    root = parse(VECTORS[3][0])

    assert list_blobs(root) == {ONE, B, C, D}
    assert list_blobs(root, metadata_only=True) == {B, C, D}
    assert list_blobs(root.children["B"]) == set()


def test_a_tree_deeper_than_the_stack_has_a_digest_and_can_be_walked():
    root = Group()
    group = root
    for _ in range(20_000):
        group.children["a"] = group = Group()
    group.children["end"] = Leaf((ONE,))

    assert len(get_top_digest(root)) == 64
    assert list_blobs(root) == {ONE}
    assert sum(1 for _ in walk(root)) == 20_002


def test_a_tree_too_deep_for_json_is_refused_on_the_way_in_and_when_built():
    wire = {"type": "GROUP", "children": {}}
    for _ in range(MAX_DEPTH + 1):
        wire = {"type": "GROUP", "children": {"a": wire}}
    wire["type"] = "ROOT"

    with pytest.raises(ManifestError, match="deeper than"):
        parse(wire)
    with pytest.raises(ManifestError, match="deeper than"):
        add_node(Group(), ("a",) * (MAX_DEPTH + 2), Leaf(()))


def test_entries_are_found_by_path():
    root = Group()
    add_node(root, ("sub", "x.csv"), Leaf((ONE,)))

    assert find_node(root, ("sub", "x.csv")) == Leaf((ONE,))
    assert find_node(root, ("sub", "x.csv", "deeper")) is None
    assert find_node(root, ("nothing",)) is None


@pytest.mark.parametrize("clash", [("a",), ("a", "b"), ("a", "b", "c")])
def test_an_entry_cannot_be_where_another_is(clash):
    root = Group()
    add_node(root, ("a", "b"), Leaf(()))

    with pytest.raises(ManifestError):
        add_node(root, clash, Leaf(()))


def change(**changes):
    wire = copy.deepcopy(VECTORS[1][0])
    wire["children"]["a"].update(changes)
    return wire


@pytest.mark.parametrize(
    "wire",
    [
        None,
        [],
        {"type": "GROUP", "children": {}},
        {"type": "ROOT"},
        {"type": "ROOT", "children": []},
        {"type": "ROOT", "children": {}, "extra": 1},
        {"type": "ROOT", "children": {}, "metadata_hash": "x"},
        {"type": "ROOT", "children": {"a": 1}},
        {"type": "ROOT", "children": {"a": {"type": "ROOT", "children": {}}}},
        *(
            {"type": "ROOT", "children": {name: {"type": "FILE", "hashes": []}}}
            for name in ("", ".", "..", "a/b")
        ),
        *(
            {"type": "ROOT", "children": {n: {"type": "FILE", "hashes": []}}}
            for n in ("a\0", "\n", "x" * 256)
        ),
        change(hashes="x"),
        change(hashes=[ONE + "1"]),
        change(hashes=[ONE.replace("1", "A")]),
        change(hashes=[ONE + "\n"]),
        change(hashes=[1]),
        change(type="LINK"),
        change(type=["FILE"]),
        change(metadata=[]),
        change(metadata_hash=1),
        change(format="PARQUET"),
        change(type="TABLE", format="HDF5"),
        change(type="TABLE"),
        change(metadata={"q_target": "file"}, hashes=[ONE, TWO]),
    ],
)
def test_what_the_protocol_does_not_allow_is_refused(wire):
    with pytest.raises(ManifestError):
        parse(wire)
