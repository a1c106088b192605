"""The tree: the top hash of the protocol, what is valid, and that nothing breaks the reader."""

import hashlib
import io
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.manifest import BadTree, NoSuchNode, check_tree, find_node, find_objects, top_hash
from registry.packs import BadPack, pack_head, read_pack
from registry.stored import BadStoredTree, StoredTree, pack_tree

ONE, TWO, B, C, D = (digit * 64 for digit in "12bcd")


def file(*hashes, **more):
    return {"type": "FILE", "hashes": list(hashes), **more}


def root(children=None, **more):
    return {"type": "ROOT", "children": children or {}, **more}


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (root(), "3e659fce4c878d0ad00f6df85ca1aef2aa1bcef25137f030312f01f39d256a82"),
        (
            root({"a": file(ONE, metadata={"q_ext": "csv"})}),
            "e5833d6ab0d84605bac1d206f582e1840393f80f3ff84bb470f9c378e05c9f1d",
        ),
        (
            root({"a": {"type": "TABLE", "hashes": [ONE, TWO], "format": "PARQUET"}}),
            "6e0ed24593fae6733b90d680598dcf21afa39328e1867f1856353d9caf13d5d5",
        ),
        (
            root(
                {
                    "g": {"type": "GROUP", "children": {}, "metadata_hash": C},
                    "café": file(ONE, metadata_hash=B),
                    "B": {"type": "GROUP", "children": {"x": file()}},
                },
                metadata_hash=D,
            ),
            "154a6f919515323cd5b3d6913ccce39bab519f91ca4b3306e432e947b1f30227",
        ),
    ],
)
def test_the_top_hash_is_that_of_the_protocol(tree, expected):
    check_tree(tree)
    assert top_hash(tree) == expected


def recursive_hash(node):
    """The definition of the protocol, word for word."""

    def number(n):
        return n.to_bytes(4)

    def text(s):
        return number(len(s)) + s.encode()

    parts = [text(node["type"])]
    if node["type"] in ("FILE", "TABLE"):
        parts += [number(len(node["hashes"])), *map(text, node["hashes"])]
    else:
        parts.append(number(len(node["children"])))
        for name in sorted(node["children"]):
            parts += [text(name), recursive_hash(node["children"][name])]
    if node.get("metadata_hash") is not None:
        parts.append(text(node["metadata_hash"]))
    return b"".join(parts)


digests = st.text("0123456789abcdef", min_size=64, max_size=64)
names = st.text(min_size=1, max_size=20).filter(
    lambda s: s not in (".", "..") and s.isprintable() and "/" not in s
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
own_metadata = st.fixed_dictionaries({}, optional={"metadata_hash": digests})
leaves: st.SearchStrategy[Any] = st.builds(
    dict,
    own_metadata,
    type=st.just("FILE"),
    hashes=st.lists(digests, max_size=3),
    metadata=st.dictionaries(st.text(), values, max_size=3),
)
nodes: st.SearchStrategy[Any] = st.recursive(
    leaves,
    lambda inner: st.builds(
        dict, own_metadata, type=st.just("GROUP"), children=st.dictionaries(names, inner, max_size=4)
    ),
    max_leaves=12,
)
trees: st.SearchStrategy[Any] = st.builds(
    dict, own_metadata, type=st.just("ROOT"), children=st.dictionaries(names, nodes, max_size=4)
)


@given(trees)
def test_any_valid_tree_passes_and_has_the_hash_of_the_definition(tree):

    check_tree(tree)
    assert top_hash(tree) == hashlib.sha256(recursive_hash(tree)).hexdigest()


@given(trees)
def test_a_stored_tree_comes_back_as_it_was(tree):
    objects = find_objects(tree)
    sizes = {digest: index for index, digest in enumerate(objects.objects)}
    packed = pack_tree(tree, sizes, objects.metadata)

    assert packed == pack_tree(tree, sizes, objects.metadata)
    again = StoredTree(io.BytesIO(packed))
    assert (again.sizes, again.metadata) == (sizes, list(objects.metadata))
    assert again.load() == tree


@given(trees, st.data())
def test_a_damaged_stored_tree_is_noticed(tree, data):
    packed = pack_tree(tree, {}, ())
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(BadStoredTree):
        StoredTree(io.BytesIO(packed[:cut])).load()


rubbish = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["ROOT", "FILE", ONE]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "children", "hashes", "metadata", "metadata_hash", "format", "a", ""]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(rubbish)
def test_rubbish_is_refused_or_has_a_hash(tree):
    try:
        check_tree(tree)
    except BadTree:
        return
    assert len(top_hash(tree)) == 64
    find_objects(tree)


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ([], "must be an object"),
        ({}, "type must be"),
        ({"type": []}, "type must be"),
        ({"type": "ROOT"}, "children must be an object"),
        (root(extra=1), "has no key 'extra'"),
        (root({"a": root()}), "only be at the top"),
        (root({"": file()}), "cannot be the name"),
        (root({".": file()}), "cannot be the name"),
        (root({"..": file()}), "cannot be the name"),
        (root({"a/b": file()}), "cannot be the name"),
        (root({"a\x00": file()}), "cannot be the name"),
        (root({"a\x9f": file()}), "cannot be the name"),
        (root({"\ud800": file()}), "cannot be the name"),
        (root({"n" * 256: file()}), "cannot be the name"),
        (root({"a": {"type": "FILE"}}), "hashes must be a list"),
        (root({"a": file("1" * 70)}), "hashes must be a list"),
        (root({"a": file(ONE + "\n")}), "hashes must be a list"),
        (root({"a": file("\u0661" * 64)}), "hashes must be a list"),
        (root({"a": file(B.upper())}), "hashes must be a list"),
        (root({"a": file(7)}), "hashes must be a list"),
        (root({"a": file(metadata_hash="x")}), "metadata_hash is not"),
        (root({"a": file(metadata=[])}), "metadata must be an object"),
        (root({"a": file(metadata={"x": [1e999]})}), "number that is too large"),
        (root({"a": {"type": "TABLE", "hashes": [], "format": "HDF5"}}), "format of a TABLE"),
        (root({"a": {"type": "TABLE", "hashes": []}}), "format of a TABLE"),
    ],
)
def test_a_tree_that_breaks_a_rule_is_refused_and_says_which(tree, says):
    with pytest.raises(BadTree, match=says):
        check_tree(tree)


def test_names_of_every_other_kind_are_fine():
    check_tree(
        root({name: file() for name in ("a b", "-", "名前", "n" * 255, "...", "con", " ", "😀", "__a")})
    )


def test_depth_is_a_limit_and_not_a_crash():
    tree = file()
    for _ in range(10_000):
        tree = {"type": "GROUP", "children": {"g" * 255: tree}}
    with pytest.raises(BadTree, match="deeper than 100 levels"):
        check_tree(root({"a": tree}))
    check_tree(root({"a": tree}), max_depth=20_000)
    assert len(top_hash(tree)) == 64
    assert find_objects(tree).objects == []


def test_metadata_has_a_depth_too():
    deep = {}
    for _ in range(10_000):
        deep = {"x": deep}
    with pytest.raises(BadTree, match="metadata is deeper"):
        check_tree(root({"a": file(metadata=deep)}))


def test_objects_come_once_in_the_order_of_the_tree():
    tree = root(
        {"z": file(TWO, ONE), "a": {"type": "GROUP", "children": {"x": file(TWO)}, "metadata_hash": B}},
        metadata_hash=TWO,
    )
    found = find_objects(tree)
    assert (found.data, found.metadata, found.objects) == ((TWO, ONE), (TWO, B), [TWO, ONE, B])


def test_a_node_is_found_by_its_path():
    tree = root({"a": {"type": "GROUP", "children": {"b": file(ONE)}}})
    assert find_node(tree, "") is tree
    assert find_node(tree, "a/b") == file(ONE)
    for path, missing in (("x", "x"), ("a/x", "x"), ("a/b/c", "c"), ("a//b", "")):
        with pytest.raises(NoSuchNode) as refusal:
            find_node(tree, path)
        assert refusal.value.args == (missing,)


@given(st.lists(st.binary(max_size=50)))
def test_a_pack_comes_back_as_it_was(contents):
    packed = b"".join(pack_head(ONE, len(content)) + content for content in contents)
    assert list(read_pack(io.BytesIO(packed), 50)) == [(ONE, content) for content in contents]


@given(st.binary(max_size=200))
def test_a_pack_of_rubbish_is_refused_or_read(data):
    try:
        found = list(read_pack(io.BytesIO(data), 100))
    except BadPack:
        return
    assert sum(40 + len(content) for _, content in found) == len(data)


def test_a_pack_is_refused_before_a_large_object_is_read():
    class Endless(io.BytesIO):
        def read(self, size=-1):
            assert size <= 100
            return super().read(size)

    with pytest.raises(BadPack, match=r"at most 100\."):
        list(read_pack(Endless(pack_head(ONE, 2**64 - 1)), 100))


def test_a_stored_tree_is_text_that_others_can_read():

    head, tree, end = zlib.decompress(pack_tree(root({"é": file(ONE)}), {ONE: 5}, ())).split(b"\n")
    assert json.loads(head) == {"sizes": {ONE: 5}, "metadata": []}
    assert json.loads(tree) == root({"é": file(ONE)})
    assert end == b""
