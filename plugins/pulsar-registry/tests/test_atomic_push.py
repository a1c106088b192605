"""A push that moves its tag: both or neither, and only from where the pusher thinks it is."""

from itertools import pairwise

import pytest
from registry_kit import leaf, root, run_at_once, sizes_of

NEVER = "0" * 64
CLIENTS = 8


def tree(content):
    return root(a=leaf(content))


@pytest.fixture
def push(people):
    """``push(b"bytes", tag=..., expect=...)``: the answer to a push of ann/p with one file."""

    def make(content, person=people.ann, **more):
        person.send(content)
        return person.request_push("ann/p", tree(content), sizes_of([content]), **more)

    return make


def tag(people, name="latest"):
    return people.ann.get(f"/api/tag/ann/p/{name}").json.get("hash")


def hashes(people):
    return people.ann.get("/api/package/ann/p/").json.get("hashes")


def test_the_tag_moves_with_the_push(people, push):
    first = push(b"1", tag="latest").json["package_hash"]
    assert tag(people) == first
    second = push(b"2", tag="latest").json["package_hash"]
    assert tag(people) == second
    again = push(b"1", tag="old one").json["package_hash"]
    assert (again, tag(people, "old one"), tag(people)) == (first, first, second)
    push(b"3")
    assert tag(people) == second, "a push without a tag moves none"


def test_only_what_is_expected_is_replaced(people, push):
    first = push(b"1", tag="latest", expect=None).json["package_hash"]
    before = people.ann.get("/api/log/ann/p/").json

    for expected in (None, NEVER):
        for dry_run in (True, False):
            answer = push(b"2", tag="latest", expect=expected, dry_run=dry_run)
            assert answer.status_code == 409
            assert (answer.json["code"], answer.json["hash"]) == ("conflict", first)
            assert answer.json["message"].startswith(f"The tag 'latest' names {first}:")
    assert (hashes(people), tag(people)) == ([first], first)
    assert people.ann.get("/api/log/ann/p/").json == before

    second = push(b"2", tag="latest", expect=first)
    assert second.status_code == 200
    assert tag(people) == second.json["package_hash"]
    assert push(b"1", tag="latest", expect=first).status_code == 409


def test_a_package_is_not_made_for_a_tag_that_cannot_be_there(people, push):
    answer = push(b"1", tag="latest", expect=NEVER)
    assert (answer.status_code, answer.json["hash"]) == (409, None)
    assert people.ann.get("/api/package/ann/").json == {"packages": []}


def test_a_refused_push_moves_no_tag(people, push):
    first = push(b"1", tag="latest").json["package_hash"]
    missing = people.ann.request_push("ann/p", tree(b"away"), sizes_of([b"away"]), tag="latest")
    assert missing.status_code == 400
    assert tag(people) == first


@pytest.mark.parametrize(
    "more",
    [
        {"expect": None},
        {"expect": NEVER},
        {"tag": None},
        {"tag": ""},
        {"tag": "a/b"},
        {"tag": "t" * 65},
        {"tag": "a\nb"},
        {"tag": 7},
        {"tag": "t", "expect": "latest"},
        {"tag": "t", "expect": NEVER[:-1]},
        {"tag": "t", "expect": "*"},
    ],
)
def test_tags_and_expectations_of_the_wrong_shape_are_bad_requests(people, push, more):
    assert push(b"1", **more).status_code == 400
    assert people.ann.get("/api/package/ann/").json == {"packages": []}


def test_of_many_who_expect_the_same_one_wins(people, push):
    contents = [bytes([number]) for number in range(CLIENTS)]
    people.ann.send(*contents)
    for expected in (None, ...):
        expected = tag(people) if expected is ... else expected
        before = len(hashes(people) or [])
        answers = run_at_once(
            *(
                lambda content=content, expected=expected: people.ann.request_push(
                    "ann/p", tree(content), sizes_of([content]), tag="latest", expect=expected
                )
                for content in contents
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * (CLIENTS - 1)
        (won,) = (answer.json["package_hash"] for answer in answers if answer.status_code == 200)
        assert tag(people) == won
        assert len(hashes(people)) == before + 1
        contents = [content + b"!" for content in contents]
        people.ann.send(*contents)


def test_who_tries_again_from_the_new_place_loses_nothing(people, push):
    """Each of several people adds a file to what is there, again and again until it works."""
    push(b"start", tag="latest")

    def work(number):
        name, content = f"file{number}", f"of {number}".encode()
        people.ann.send(content)
        for _ in range(20 * CLIENTS):
            before = tag(people)
            found = people.ann.get(f"/api/package/ann/p/{before}").json
            contents, sizes = found["contents"], found["sizes"] | sizes_of([content])
            contents["children"][name] = leaf(content)
            answer = people.ann.request_push("ann/p", contents, sizes, tag="latest", expect=before)
            if answer.status_code == 200:
                return before, answer.json["package_hash"]
            assert answer.status_code == 409, answer.text
        raise AssertionError("never")

    steps = dict(run_at_once(*(lambda number=number: work(number) for number in range(4))))

    latest = people.ann.get(f"/api/package/ann/p/{tag(people)}").json["contents"]
    assert latest["children"].keys() == {"a", "file0", "file1", "file2", "file3"}
    logged = [entry["hash"] for entry in people.ann.get("/api/log/ann/p/").json["logs"]]
    assert list(pairwise(logged)) == sorted(steps.items(), key=lambda step: logged.index(step[0]))


def test_who_may_not_push_hears_nothing_of_a_tag(people, push):
    push(b"1", tag="latest")
    answer = people.eve.request_push("ann/p", root(), tag="latest", expect=NEVER)
    assert (answer.status_code, answer.json["message"]) == (
        403,
        "Only the package owner can create packages.",
    )
