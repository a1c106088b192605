"""Whatever comes in, the answer is a clear 4xx with a message, never a 500 and never a full memory."""

import gzip
import json
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registry_kit import leaf, root, sha

pytestmark = pytest.mark.any_database

PUSH = "/api/package/ann/p/" + "0" * 64


def put_text(person, text, **headers):
    return person.put(PUSH, data=text, headers=headers)


def refused(answer, status=400):
    assert answer.status_code == status, answer.text
    assert isinstance(answer.json["message"], str)
    return answer.json["message"]


def push_body(contents="{}", sizes="{}", more=""):
    return f'{{"description":"","contents":{contents},"sizes":{sizes}{more}}}'


def test_a_zip_bomb_is_refused_before_it_is_unzipped(people):
    bomb = gzip.compress(b" " * (150 * 2**20), compresslevel=9)
    tracemalloc.start()
    answer = put_text(people.ann, bomb, **{"Content-Encoding": "gzip"})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    refused(answer, 413)
    assert peak < 250 * 2**20


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"not gzip", {"Content-Encoding": "gzip"}),
        (gzip.compress(b"{}" * 1000, mtime=0)[:-9], {"Content-Encoding": "gzip"}),
        (b"{}", {"Content-Encoding": "br"}),
        (b"{", {}),
        (b"\xff\xfe", {}),
        (b"[]", {}),
        (b"null", {}),
        (b"", {}),
        (b'{"a":1,"a":1}', {}),
        (b"NaN", {}),
    ],
)
def test_a_body_that_cannot_be_read_is_a_bad_request(people, body, headers):
    refused(put_text(people.ann, body, **headers))


def test_a_tree_10000_levels_deep_is_a_bad_request(people):
    depth = 10_000
    tree = '{"type":"GROUP","children":{"g":' * depth + '{"type":"FILE","hashes":[]}' + "}}" * depth
    body = push_body(f'{{"type":"ROOT","children":{{"a":{tree}}}}}')
    assert "too deep" in refused(put_text(people.ann, body))
    tree = '{"type":"GROUP","children":{"g":' * 120 + '{"type":"FILE","hashes":[]}' + "}}" * 120
    body = push_body(f'{{"type":"ROOT","children":{{"a":{tree}}}}}')
    assert "deeper than 100 levels" in refused(put_text(people.ann, body))
    assert "too deep" in refused(put_text(people.ann, "[" * 100_000))


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        push_body("[]"),
        push_body("null"),
        push_body('"ROOT"'),
        push_body('{"type":"ROOT","children":{"a\\u0000":{"type":"FILE","hashes":[]}}}'),
        push_body('{"type":"ROOT","children":{"\\ud800":{"type":"FILE","hashes":[]}}}'),
        push_body('{"type":"ROOT","children":{"a":1,"a":2}}'),
        push_body('{"type":"ROOT","children":{},"x":1}'),
        push_body('{"type":"ROOT","children":{"a":{"type":"FILE","hashes":["' + "1" * 70 + '"]}}}'),
        push_body('{"type":"ROOT","children":{"a":{"type":"FILE","hashes":[],"metadata":{"x":1e999}}}}'),
        push_body(
            '{"type":"ROOT","children":{"a":{"type":"FILE","hashes":[],"metadata":{"x":' + "9" * 5000 + "}}}}"
        ),
        push_body('{"type":"ROOT","children":{}}', "[]"),
        push_body('{"type":"ROOT","children":{}}', '{"x":1}'),
        *(
            push_body('{"type":"ROOT","children":{}}', f'{{"{"1" * 64}":{size}}}')
            for size in ("-5", "1.5", '"1"', "true", "null", "1e3", "9" * 30, "[]", "NaN")
        ),
        push_body('{"type":"ROOT","children":{}}', more=',"dry_run":"true"'),
        push_body('{"type":"ROOT","children":{}}', more=',"is_public":1'),
        push_body('{"type":"ROOT","children":{}}', more=',"public":true,"is_public":true'),
        push_body('{"type":"ROOT","children":{}}', more=',"unknown":1'),
        '{"description":7,"contents":{"type":"ROOT","children":{}},"sizes":{}}',
        '{"description":"\\u0000","contents":{"type":"ROOT","children":{}},"sizes":{}}',
        '{"description":"' + "d" * 20_000 + '","contents":{"type":"ROOT","children":{}},"sizes":{}}',
    ],
)
def test_a_push_of_the_wrong_shape_is_a_bad_request(people, body):
    refused(put_text(people.ann, body))
    assert people.ann.get("/api/package/ann/").json == {"packages": []}


CALLS = [
    ("put", PUSH),
    ("put", "/api/tag/ann/p/t"),
    ("put", "/api/version/ann/p/1"),
    ("post", "/api/objects/missing"),
    ("post", "/api/objects/heads"),
    ("post", "/api/objects/fetch"),
    ("post", "/api/get_objects"),
    ("post", "/api/log"),
    ("post", "/api/objects/pack"),
]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["1" * 64, "ROOT"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["objects", "hash", "contents", "sizes", "description", "type", "children", "1" * 64]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=10,
)


@pytest.mark.parametrize(("method", "path"), CALLS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values)
def test_no_json_breaks_a_call(people, method, path, value):
    answer = getattr(people.ann, method)(path, data=json.dumps(value))
    assert answer.status_code < 500


@pytest.mark.parametrize(
    "part", ["%00", "%ff", "..", "a%00b", "x" * 300, "%F0%9F%98%80", "'\"", "%0a", "ann"]
)
def test_no_name_in_a_path_breaks_a_call(people, part):
    people.ann.push("ann/p", {"a": b"1"})
    for path in (
        f"/api/package/{part}/",
        f"/api/package/{part}/p/",
        f"/api/package/ann/{part}/",
        f"/api/log/{part}/{part}/",
        f"/api/package/ann/p/{part}",
        f"/api/tag/ann/p/{part}",
        f"/api/version/ann/p/{part}",
        f"/api/access/ann/p/{part}",
        f"/packages/{part}/{part}",
        f"/api/package/ann/p/x?subpath={part}&meta_only={part}",
    ):
        for method in ("get", "put", "delete"):
            answer = getattr(people.ann, method)(path, json={"hash": "0" * 64})
            assert answer.status_code < 500, (method, path, answer.text)


def test_a_tree_with_names_and_metadata_of_every_kind_comes_back(people):
    people.ann.send(b"x")
    tree = root(
        **{
            name: leaf(b"x", metadata={"q_path": name, "é": [1.5, None, {"deep": [True]}], "n": -(2**70)})
            for name in ("名前", "😀", "a b", "…", "'", '"', "<b>", "n" * 255)
        }
    )
    answer = people.ann.request_push("ann/p", tree, {sha(b"x"): 1})
    assert answer.status_code == 200
    digest = answer.json["package_hash"]
    assert people.ann.get(f"/api/package/ann/p/{digest}").json["contents"] == tree
    assert people.ann.get(f"/api/package/ann/p/{digest}?subpath=名前").json["sizes"] == {sha(b"x"): 1}
