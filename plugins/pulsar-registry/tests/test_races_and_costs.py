"""Many at once, and many things: no duplicates, nothing lost, no statement per thing."""

from collections import Counter

import pytest
from registry_kit import leaf, root, run_at_once, sha, sizes_of
from sqlalchemy import func, select

from core.db import db
from registry.models import LogEntry, Package, PackageObject, Revision

THREADS, PUSHES = 6, 4


def test_pushes_at_once_make_one_package_and_lose_nothing(people):
    shared, own = root(a=leaf(b"shared")), [root(a=leaf(bytes([n]))) for n in range(THREADS)]
    people.ann.send(b"shared", *(bytes([n]) for n in range(THREADS)))

    def work(number):
        answers = []
        for _ in range(PUSHES):
            answers.append(people.ann.request_push("ann/p", shared, sizes_of([b"shared"])))
            answers.append(people.ann.request_push("ann/p", own[number], sizes_of([bytes([number])])))
            tag = people.ann.put("/api/tag/ann/p/latest", json={"hash": answers[-1].json["package_hash"]})
            assert tag.status_code == 200, tag.text
        return answers

    results = run_at_once(*(lambda number=number: work(number) for number in range(THREADS)))

    assert [r for r in results if isinstance(r, BaseException)] == []
    statuses = Counter(answer.status_code for answers in results for answer in answers)
    assert statuses == {200: THREADS * PUSHES * 2}
    db.session.rollback()
    assert db.session.scalar(select(func.count()).select_from(Package)) == 1
    assert db.session.scalar(select(func.count()).select_from(Revision)) == THREADS + 1
    assert db.session.scalar(select(func.count()).select_from(LogEntry)) == THREADS * PUSHES * 2
    assert (
        people.ann.get("/api/tag/ann/p/latest").json["hash"]
        in people.ann.get("/api/package/ann/p/").json["hashes"]
    )


def test_one_version_is_made_once(people):
    digests = [people.ann.push("ann/p", {"a": bytes([n])}) for n in range(THREADS)]
    answers = run_at_once(
        *(lambda d=digest: people.ann.put("/api/version/ann/p/1.0", json={"hash": d}) for digest in digests)
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * (THREADS - 1)


def test_names_that_differ_by_case_do_not_both_win_a_race(people):
    names = ("data", "Data", "DATA", "dAta")
    answers = run_at_once(*(lambda n=n: people.ann.request_push(f"ann/{n}", root()) for n in names))
    assert sorted(answer.status_code for answer in answers) == [200, 403, 403, 403]
    assert len(people.ann.get("/api/package/ann/").json["packages"]) == 1


def test_a_push_and_a_deletion_at_once_leave_a_whole_package_or_none(people):
    people.ann.push("ann/p", {"a": b"1"})
    for _ in range(5):
        pushed, deleted = run_at_once(
            lambda: people.ann.request_push("ann/p", root(a=leaf(b"1")), sizes_of([b"1"])),
            lambda: people.ann.delete("/api/package/ann/p/"),
        )
        assert pushed.status_code == 200
        assert deleted.status_code in (200, 404)
        log = people.ann.get("/api/log/ann/p/")
        if log.status_code == 200:
            digest = log.json["logs"][-1]["hash"]
            assert people.ann.get(f"/api/package/ann/p/{digest}").json["sizes"] == {sha(b"1"): 1}


def pushed(people, query_counter, count, prefix):
    contents = [f"{prefix}{n}".encode() for n in range(count)]
    people.ann.send(*contents)
    tree = root(**{f"f{n}": leaf(content) for n, content in enumerate(contents)})
    with query_counter() as statements:
        answer = people.ann.request_push(f"ann/p{prefix}", tree, sizes_of(contents))
    assert answer.status_code == 200
    return len(statements), answer.json["package_hash"]


def test_a_push_costs_statements_by_the_batch_and_an_install_does_not_count_entries(people, query_counter):
    people.ann.push("ann/warm", {"a": b"1"})
    small, first = pushed(people, query_counter, 10, "a")
    large, second = pushed(people, query_counter, 400, "b")
    huge, third = pushed(people, query_counter, 1400, "c")
    assert small == large
    assert huge - large <= 2 * 6  # two batches more

    costs = []
    for name, digest in (("pa", first), ("pb", second), ("pc", third)):
        with query_counter() as statements:
            assert people.ann.get(f"/api/package/ann/{name}/{digest}").json["contents"]
        costs.append(len(statements))
    assert costs[0] == costs[1] == costs[2] <= 5


def test_lists_cost_the_same_for_one_and_for_many(people, query_counter, freeze_time):
    freeze_time(0)  # or the last use of a key would be written in between, if the machine is slow

    def cost(path):
        with query_counter() as statements:
            assert people.bob.get(path).status_code == 200
        return len(statements)

    paths = [
        "/api/package/ann/",
        "/api/log/ann/p0/",
        "/api/tag/ann/p0/",
        "/api/version/ann/p0/",
        "/api/access/ann/p0/",
        "/api/package/ann/p0/",
    ]

    def grow(first, last):
        for n in range(first, last):
            digest = people.ann.push("ann/p0", {"a": bytes([n])})
            people.ann.push(f"ann/p{n}", {"a": b"1"})
            people.ann.put(f"/api/access/ann/p{n}/bob")
            people.ann.put(f"/api/tag/ann/p0/t{n}", json={"hash": digest})
            people.ann.put(f"/api/version/ann/p0/{n}", json={"hash": digest})

    grow(0, 1)
    cost("/api/package/ann/")  # the first request of a key also reads whose it is
    before = [cost(path) for path in paths]
    grow(1, 12)
    assert [cost(path) for path in paths] == before
    assert max(before) <= 6  # SQLite's BEGIN is one of them
    assert len(people.bob.get("/api/package/ann/").json["packages"]) == 12


@pytest.mark.parametrize("again", [False, True])
def test_only_new_objects_write_rows(people, again, query_counter):
    contents = [str(n).encode() for n in range(600)]
    people.ann.push("ann/p", {f"f{n}": content for n, content in enumerate(contents)})
    if not again:
        contents.append(b"new")
        people.ann.send(b"new")
    tree = root(**{f"f{n}": leaf(content) for n, content in enumerate(contents)})
    with query_counter() as statements:
        assert people.ann.request_push("ann/p", tree, sizes_of(contents)).status_code == 200
    inserts = [s for s in statements if s.startswith("INSERT INTO registry_package_objects")]
    assert len(inserts) == (0 if again else 1)
    db.session.rollback()
    assert db.session.scalar(select(func.count()).select_from(PackageObject)) == len(contents)
