"""How many bytes an owner's packages may need; and that the sum that is kept is right."""

import gzip
import json

import pytest
from registry_kit import leaf, pack, root, run_at_once, sha, sizes_of
from sqlalchemy import func, select

from core.db import db
from core.storage import Blob
from registry.models import Package, PackageObject, Usage

A, B, C = b"a" * 10, b"b" * 20, b"c" * 30
CLIENTS = 6


@pytest.fixture
def quota(settings):
    """``quota(100)``: what each owner may have from now on."""
    return lambda most: settings(REGISTRY_QUOTA_BYTES=most)


def used():
    """The kept sums by owner, which are also what a count gives."""
    db.session.rollback()
    kept = {owner: size for owner, size in db.session.execute(select(Usage.owner_id, Usage.bytes)) if size}
    objects = (
        select(Package.owner_id, PackageObject.digest)
        .join(Package, Package.id == PackageObject.package_id)
        .distinct()
        .subquery()
    )
    counted = select(objects.c.owner_id, func.sum(Blob.size)).join(Blob, Blob.digest == objects.c.digest)
    assert kept == dict(db.session.execute(counted.group_by(objects.c.owner_id)).all())
    return sorted(kept.values())


def request_push(person, handle, *contents, **more):
    tree = root(**{f"f{number}": leaf(content) for number, content in enumerate(contents)})
    return person.request_push(handle, tree, sizes_of(contents), **more)


def ask_missing(person, *contents, **more):
    return person.post("/api/objects/missing", json={"objects": sizes_of(contents), **more})


def ask_heads(person, *contents, **more):
    heads = b"".join(make_head(content) for content in contents)
    return person.post("/api/objects/heads", data=heads, query_string=more)


def make_head(content):
    return bytes.fromhex(sha(content)) + len(content).to_bytes(8, "big")


def refused(answer, numbers=None):
    """Says whether it was refused for the quota, with these numbers in words and in the body."""
    assert (answer.status_code, answer.json["code"]) == (413, "over_quota"), answer.text
    if numbers is None:
        assert "quota" not in answer.json
        assert not any(character.isdigit() for character in answer.json["message"])
    else:
        used, wanted, allowed = numbers
        assert answer.json["quota"] == {"used": used, "wanted": wanted, "allowed": allowed}
        assert answer.json["message"] == (
            f"This needs {wanted} bytes more; the packages of ann use {used} of the {allowed} allowed."
        )
    return True


def test_the_sum_counts_each_object_of_an_owner_once(people):
    people.ann.push("ann/p", {"a": A, "b": B})
    assert used() == [30]
    people.ann.push("ann/p", {"a": A, "c": C})
    assert used() == [60]
    people.ann.push("ann/q", {"a": A, "b": B})
    assert used() == [60]
    people.bob.push("bob/p", {"a": A})
    assert used() == [10, 60]
    people.ann.delete("/api/package/ann/p/")
    assert used() == [10, 30]
    people.ann.delete("/api/package/ann/q/")
    assert used() == [10]


def test_what_does_not_fit_is_refused_before_it_is_sent(people, quota):
    quota(50)
    people.ann.push("ann/p", {"a": A, "b": B})

    assert refused(request_push(people.ann, "ann/p", A, C, dry_run=True), (30, 30, 50))
    assert refused(ask_missing(people.ann, A, C), (30, 30, 50))
    assert refused(ask_missing(people.ann, A, C, package="ann/new"), (30, 30, 50))
    assert refused(ask_heads(people.ann, A, C), (30, 30, 50))
    assert refused(ask_heads(people.ann, A, C, package="ann/new"), (30, 30, 50))
    assert refused(people.ann.post("/api/objects/pack", data=pack([C])), (30, 30, 50))
    assert not db.session.scalars(select(Blob).where(Blob.digest == sha(C))).all()
    # What the owner has in any package costs nothing.
    assert ask_missing(people.ann, A, B).json == {"missing": {}, "added_bytes": 0}
    assert request_push(people.ann, "ann/q", A, B, dry_run=True).status_code == 200


def test_what_does_not_fit_is_refused_though_it_was_sent(people, quota):
    people.ann.push("ann/p", {"a": A, "b": B})
    people.ann.send(C)
    quota(50)
    assert refused(request_push(people.ann, "ann/p", A, C), (30, 30, 50))
    assert refused(request_push(people.ann, "ann/q", C), (30, 30, 50))
    assert len(people.ann.get("/api/log/ann/p/").json["logs"]) == 1
    assert people.ann.get("/api/package/ann/q/").status_code == 404
    assert used() == [30]
    # To the last byte.
    quota(60)
    assert request_push(people.ann, "ann/p", A, C).status_code == 200
    assert used() == [60]


def test_who_has_too_much_already_may_push_what_is_there(people, quota):
    people.ann.push("ann/p", {"a": A, "b": B})
    quota(5)
    assert request_push(people.ann, "ann/p", B).status_code == 200
    assert refused(request_push(people.ann, "ann/p", C, dry_run=True), (30, 30, 5))
    people.ann.delete("/api/package/ann/p/")
    assert used() == []


def test_without_a_quota_nothing_is_refused_or_told(people):
    assert "added_bytes" not in ask_missing(people.ann, A).json
    assert "X-Added-Bytes" not in ask_heads(people.ann, A).headers
    assert people.nobody.get("/api/capabilities").json["limits"]["quota_bytes"] is None


def test_questions_in_parts_add_up(people, quota):
    quota(55)
    first = ask_missing(people.ann, A, B, package="ann/p").json
    assert first["added_bytes"] == 30
    assert refused(ask_missing(people.ann, C, package="ann/p", added_bytes=30), (0, 60, 55))
    quota(60)
    answer = ask_missing(people.ann, C, package="ann/p", added_bytes=first["added_bytes"])
    assert answer.json["added_bytes"] == 60


def test_questions_of_both_kinds_add_up(people, quota):
    quota(55)
    first = ask_heads(people.ann, A, B, package="ann/p")
    assert (first.data, first.headers["X-Added-Bytes"]) == (make_head(A) + make_head(B), "30")
    assert refused(ask_heads(people.ann, C, package="ann/p", added_bytes=30), (0, 60, 55))
    assert refused(ask_missing(people.ann, C, package="ann/p", added_bytes=30), (0, 60, 55))
    quota(60)
    assert ask_heads(people.ann, C, added_bytes=30).headers["X-Added-Bytes"] == "60"


def test_a_dry_run_without_sizes_still_sees_a_full_house(people, quota):
    """The published client tells the sizes with the real push only."""
    people.ann.push("ann/p", {"a": A})
    quota(10)
    tree = root(a=leaf(A), b=leaf(B))
    assert refused(people.ann.request_push("ann/p", tree, dry_run=True), (10, 1, 10))
    quota(30)
    assert people.ann.request_push("ann/p", tree, dry_run=True).status_code == 200


@pytest.mark.parametrize("package", ["ann", "ann/", "/p", "a/b/c", 7, None, ""])
def test_a_package_that_is_none_is_a_bad_request(people, package):
    assert ask_missing(people.ann, A, package=package).status_code == 400
    if isinstance(package, str):
        answer = people.ann.post("/api/objects/pack", query_string={"package": package}, data=pack([A]))
        assert answer.status_code == 400


@pytest.mark.parametrize("added", [-1, 1.5, "1", None, 2**63])
def test_added_bytes_are_a_number_of_bytes(people, added):
    assert ask_missing(people.ann, A, added_bytes=added).status_code == 400


@pytest.mark.parametrize("added", ["-1", "1.5", "x", str(2**63)])
def test_added_bytes_of_a_query_too(people, added):
    assert ask_heads(people.ann, A, added_bytes=added).status_code == 400


class TestTeams:
    """Bob pushes to ann's package: her quota is filled, and he hears nothing of her other packages."""

    @pytest.fixture(autouse=True)
    def packages(self, people):
        people.ann.push("ann/secret", {"c": C})
        people.ann.push("ann/ours", {"a": A}, is_team=True)

    def test_the_owner_of_the_package_pays(self, people, quota):
        quota(60)
        people.bob.push("ann/ours", {"a": A, "b": B})
        assert used() == [60]
        people.bob.send(b"d")
        assert refused(request_push(people.bob, "ann/ours", b"d"))
        assert refused(request_push(people.bob, "ann/ours", b"d", dry_run=True))
        assert refused(ask_missing(people.bob, b"d", package="ann/ours"))
        answer = people.bob.post("/api/objects/pack", query_string={"package": "ann/ours"}, data=pack([b"d"]))
        assert refused(answer)
        # His own is empty.
        assert ask_missing(people.bob, b"d").json["added_bytes"] == 1
        assert ask_heads(people.bob, b"d").headers["X-Added-Bytes"] == "1"
        assert people.bob.post("/api/objects/pack", data=pack([b"d"])).status_code == 200

    def test_a_digest_alone_does_not_say_what_the_owner_has(self, people, quota):
        """C is in ann's secret package, and bob has only its digest."""
        quota(69)
        unknown = b"u" * len(C)
        for content in (C, unknown):
            assert refused(ask_missing(people.bob, content, package="ann/ours"))
            assert refused(request_push(people.bob, "ann/ours", content, dry_run=True))
        quota(70)
        answers = [ask_missing(people.bob, content, package="ann/ours").json for content in (C, unknown)]
        assert [answer["added_bytes"] for answer in answers] == [30, 30]
        # Ann may know, and for her it is nothing new.
        assert ask_missing(people.ann, C, package="ann/ours").json == {"missing": {}, "added_bytes": 0}

    def test_nobody_else_is_asked_to_pay(self, people, quota):
        quota(100)
        for handle in ("ann/secret", "ann/none", "nobody/p"):
            answer = ask_missing(people.bob, A, package=handle)
            assert answer.status_code == 403
            assert answer.json["message"] == "Only the package owner can create packages."


@pytest.mark.parametrize("same_package", [True, False])
def test_pushes_at_once_do_not_share_the_last_room(people, quota, same_package):
    contents = [bytes([number]) * 10 for number in range(CLIENTS)]
    people.ann.send(*contents)
    quota(35)
    handles = ["ann/p" if same_package else f"ann/p{number}" for number in range(CLIENTS)]
    answers = run_at_once(
        *(
            lambda handle=handle, content=content: request_push(people.ann, handle, content)
            for handle, content in zip(handles, contents, strict=True)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [413] * (CLIENTS - 3)
    assert used() == [30]


def test_pushes_of_the_same_and_deletions_at_once_keep_the_sum(people):
    contents = [bytes([number]) * 10 for number in range(4)]
    people.ann.send(*contents)

    def work(number):
        answers = []
        for step in range(4):
            some = contents[: 1 + (number + step) % 4]
            answers.append(request_push(people.ann, f"ann/p{number}", *some).status_code)
            if step % 2:
                answers.append(people.ann.delete(f"/api/package/ann/p{number}/").status_code)
        answers.append(request_push(people.ann, f"ann/p{number}", contents[number]).status_code)
        return set(answers)

    assert run_at_once(*(lambda number=number: work(number) for number in range(4))) == [{200}] * 4
    assert used() == [40]


def test_it_costs_the_same_however_much_there_is(people, quota, query_counter):
    quota(10**9)

    def cost(content):
        body = gzip.compress(json.dumps({"objects": sizes_of([content])}).encode())
        with query_counter() as statements:
            answer = people.ann.post("/api/objects/missing", data=body, headers={"Content-Encoding": "gzip"})
        assert answer.status_code == 200
        return len(statements)

    people.ann.push("ann/p", {"a": A})
    before = cost(B)
    for number in range(8):
        people.ann.push(f"ann/p{number}", {f"f{n}": bytes([number, n]) for n in range(20)})
    assert cost(C) == before
