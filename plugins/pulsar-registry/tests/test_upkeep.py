"""``flask registry``: what is wrong is found, what nobody needs goes, what there is is counted."""

import json

import pytest
from registry_kit import leaf, root, sha, sizes_of
from sqlalchemy import delete, func, select, update

from core import storage
from core.db import db, now
from core.storage import Blob
from registry.models import LogEntry, Package, PackageObject, Revision, Usage

A, B, C = b"a" * 10, b"b" * 20, b"c" * 30


@pytest.fixture
def run(runner, people):
    """``run("verify", "--json")``: exit status and output of ``flask registry ...``."""

    def make(*arguments):
        db.session.rollback()
        done = runner.invoke(args=["registry", *arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout

    return make


@pytest.fixture
def pushed(people):
    """Packages with most things that can be in one; top hashes of the three revisions of ann/p."""
    people.ann.push("ann/p", {"a": A}, message="first", provenance={"x": [1.5, None]}, tag="latest")
    tree = root(a=leaf(A), b=leaf(B, metadata_hash=sha(C)), e={"type": "GROUP", "children": {}})
    people.ann.send(B, C)
    sizes = sizes_of([A, B, C])
    for path in ("one", "two"):
        tree["children"]["a"]["metadata"] = {"q_path": path}
        people.ann.request_push("ann/p", tree, sizes)
    people.ann.push("ann/p", {}, tag="empty")
    people.ann.push("ann/gone", {"a": A, "c": b"only here"})
    people.ann.delete("/api/package/ann/gone/")
    people.bob.push("bob/q", {"a": A})
    return people.ann.get("/api/package/ann/p/").json["hashes"]


def commit(*statements):
    db.session.rollback()
    for statement in statements:
        assert db.session.execute(statement).rowcount > 0
    db.session.commit()


def path_of(digest):
    store = storage.store()
    path = store.local_path(store.get(digest))
    assert path is not None
    path.chmod(0o640)
    return path


def flip(digest):
    path = path_of(digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def tree_of(digest):
    db.session.rollback()
    return db.session.scalars(select(Revision.tree).where(Revision.digest == digest)).first()


def entries():
    db.session.rollback()
    query = select(LogEntry.id, LogEntry.entry).join(Package, Package.id == LogEntry.package_id)
    return db.session.execute(query.where(Package.name == "p").order_by(LogEntry.id)).all()


class TestVerify:
    def test_finds_nothing_where_all_is_well(self, run, pushed):
        assert run("verify") == (0, "2 packages with 4 revisions verified, 0 findings\n")
        assert json.loads(run("verify", "--json", "--quick")[1]) == {
            "packages": 2,
            "revisions": 4,
            "findings": [],
        }

    def find(self, run, *arguments):
        """What it finds, by where."""
        status, output = run("verify", *arguments)
        lines = output.splitlines()
        assert (status, lines.pop()) == (1, f"2 packages with 4 revisions verified, {len(lines)} findings")
        as_json = json.loads(run("verify", "--json", *arguments)[1])["findings"]
        assert [f"{one['where']}: {one['problem']}" for one in as_json] == lines
        return [tuple(line.split(": ", 1)) for line in lines]

    def test_finds_the_flipped_byte_of_an_object(self, run, pushed):
        flip(sha(A))
        assert run("verify", "--quick")[0] == 0, "nobody has looked yet"
        status, output = run("verify")
        assert status == 1
        assert output.splitlines()[:-1] == [
            f"ann/p {pushed[0]}: object {sha(A)}: changed",
            f"ann/p {pushed[1]}: object {sha(A)}: changed",
            f"bob/q {pushed[0]}: object {sha(A)}: changed",
        ]
        assert f"object {sha(A)}: damaged" in run("verify", "--quick")[1], "now it is known"

    def test_finds_an_object_that_is_gone(self, run, pushed):
        path_of(sha(C)).unlink()
        assert self.find(run) == [(f"ann/p {pushed[1]}", f"object {sha(C)}: missing")]

    @pytest.mark.parametrize("quick", [[], ["--quick"]])
    def test_finds_a_tree_that_is_gone_or_damaged(self, run, pushed, quick):
        gone, broken = tree_of(pushed[1]), tree_of(pushed[2])
        path_of(gone).unlink()
        flip(broken)
        assert self.find(run, *quick) == [
            (f"ann/p {pushed[1]}", f"the tree {gone} is missing"),
            (f"ann/p {pushed[2]}", f"the tree {broken} is damaged"),
        ]

    def test_finds_a_tree_that_is_another(self, run, pushed):
        other = tree_of(pushed[0])
        commit(update(Revision).where(Revision.digest == pushed[1]).values(tree=other))
        assert self.find(run) == [(f"ann/p {pushed[1]}", f"the tree {other} has the top hash {pushed[0]}")]

    def test_finds_an_object_that_the_package_does_not_hold(self, run, pushed):
        commit(
            delete(PackageObject).where(PackageObject.digest == sha(B)),
            update(Usage).where(Usage.bytes == 60).values(bytes=40),
        )
        (found,) = self.find(run)
        assert found == (f"ann/p {pushed[1]}", f"object {sha(B)} is not among those of the package")

    def test_finds_a_size_that_is_another(self, run, pushed):
        commit(update(Blob).where(Blob.digest == sha(B)).values(size=21))
        assert self.find(run, "--quick") == [
            (f"ann/p {pushed[1]}", f"object {sha(B)} has 21 bytes, not 20"),
            ("ann", "60 bytes are written down, 61 are needed"),
        ]

    def test_finds_a_sum_that_is_another(self, run, pushed):
        commit(update(Usage).where(Usage.bytes == 10).values(bytes=11))
        assert self.find(run) == [("bob", "11 bytes are written down, 10 are needed")]

    @pytest.mark.parametrize(
        "values",
        [
            {"message": "another"},
            {"author": "eve"},
            {"provenance": '{"x":[1.5,false]}'},
            {"provenance": "{"},
            {"created_at": now()},
            {"entry": "0" * 64},
        ],
    )
    def test_finds_an_entry_of_the_log_that_was_changed(self, run, pushed, values):
        first = entries()[0]
        commit(update(LogEntry).where(LogEntry.id == first.id).values(**values))
        found = self.find(run)
        assert found[0] == ("ann/p", f"entry {values.get('entry', first.entry)} of the log was changed")
        assert len(found) == (2 if "entry" in values else 1), "the next one then follows another"

    def test_finds_an_entry_that_is_gone_from_the_middle(self, run, pushed):
        second, third = entries()[1:3]
        commit(delete(LogEntry).where(LogEntry.id == second.id))
        assert self.find(run) == [("ann/p", f"entry {third.entry} of the log does not follow the one before")]

    def test_finds_that_the_last_entry_is_gone(self, run, pushed):
        third, last = entries()[2:]
        commit(delete(LogEntry).where(LogEntry.id == last.id))
        assert self.find(run) == [
            ("ann/p", f"the log ends with entry {third.entry}, not with {last.entry}"),
            ("ann/p", f"no entry of the log names {pushed[2]}"),
        ]

    def test_finds_a_revision_that_is_gone(self, run, pushed):
        commit(delete(Revision).where(Revision.digest == pushed[2]))
        status, output = run("verify")
        assert status == 1
        assert f"names {pushed[2]}, which is not there" in output


class TestCollect:
    def test_what_a_deleted_package_leaves_is_removed_after_its_grace(self, run, people):
        run("gc", "--grace", "0")  # what other tests have left in the folder
        kept = people.ann.push("ann/kept", {"a": A})
        people.ann.push("ann/gone", {"a": A, "b": B})
        tree = db.session.scalars(
            select(Blob.size).join(Revision, Revision.tree == Blob.digest).where(Revision.digest != kept)
        ).one()
        people.ann.delete("/api/package/ann/gone/")

        for arguments in ((), ("--dry-run",), ("--dry-run", "--grace", "0")):
            report = json.loads(run("gc", "--json", *arguments)[1])
            due = tree + 20 if "0" in arguments else 0
            assert report == {
                "objects": 0,
                "skipped": 0,
                "blobs": 2 if due else 0,
                "bytes": due,
                "waiting_bytes": tree + 20 - due,
            }
        assert people.ann.post("/api/objects/missing", json={"objects": sizes_of([B])}).json == {
            "missing": {}
        }
        status, output = run("gc", "--grace", "0")
        assert (status, output) == (
            0,
            f"gave up 0 objects; removed 2 blobs, {tree + 20} bytes; 0 bytes wait for their grace of 0 s\n",
        )
        assert set(db.session.scalars(select(Blob.size))) == {10, tree_size(kept)}
        assert people.ann.get(f"/api/package/ann/kept/{kept}").json["sizes"] == sizes_of([A])
        assert people.ann.post("/api/objects/fetch", json={"objects": [sha(A)]}).status_code == 200
        assert json.loads(run("gc", "--json")[1])["waiting_bytes"] == 0

    def test_rows_that_no_revision_needs_are_given_up(self, run, pushed, people):
        commit(
            delete(LogEntry).where(LogEntry.digest == pushed[1]),
            delete(Revision).where(Revision.digest == pushed[1]),
        )
        assert json.loads(run("gc", "--json", "--dry-run", "--grace", "0")[1])["objects"] == 2
        assert db.session.scalar(select(func.count()).select_from(PackageObject)) == 4
        assert json.loads(run("gc", "--json", "--grace", "0")[1])["objects"] == 2
        db.session.rollback()
        left = db.session.scalars(select(PackageObject.digest)).all()
        assert sorted(left) == sorted([sha(A), sha(A)])
        assert sorted(db.session.scalars(select(Usage.bytes))) == [10, 10]
        assert db.session.get(Blob, sha(B)) is None
        assert people.ann.get(f"/api/package/ann/p/{pushed[0]}").json["sizes"] == sizes_of([A])

    def test_a_package_whose_tree_cannot_be_read_is_left_alone(self, run, pushed):
        path_of(tree_of(pushed[2])).unlink()
        commit(delete(Revision).where(Revision.digest == pushed[1]))
        report = json.loads(run("gc", "--json", "--grace", "0")[1])
        assert (report["skipped"], report["objects"]) == (1, 0)
        assert db.session.get(Blob, sha(B)) is not None

    def test_a_package_that_may_be_pushed_again_afterwards(self, run, people):
        people.ann.push("ann/p", {"a": A})
        people.ann.delete("/api/package/ann/p/")
        run("gc", "--grace", "0")
        assert people.ann.post("/api/objects/missing", json={"objects": sizes_of([A])}).json["missing"]
        people.ann.push("ann/p", {"a": A})
        assert run("verify")[0] == 0


def tree_size(digest):
    return db.session.scalars(
        select(Blob.size).join(Revision, Revision.tree == Blob.digest).where(Revision.digest == digest)
    ).one()


def test_stats_count_what_there_is(run, pushed):
    found = json.loads(run("stats", "--json")[1])
    trees = found.pop("tree_bytes")
    assert trees > 0
    assert found == {
        "packages": 2,
        "revisions": 4,
        "pushes": 5,
        "objects": 3,
        "bytes": 60,
        "owners": {
            "ann": {"packages": 1, "revisions": 3, "bytes": 60},
            "bob": {"packages": 1, "revisions": 1, "bytes": 10},
        },
    }
    lines = run("stats")[1].splitlines()
    assert lines[0].split() == ["packages", "2"]
    assert lines[-1] == "bob: 1 packages, 1 revisions, 10 bytes"


def test_an_empty_registry(run):
    assert run("verify") == (0, "0 packages with 0 revisions verified, 0 findings\n")
    assert json.loads(run("gc", "--json")[1])["bytes"] == 0
    assert json.loads(run("stats", "--json")[1]) == {
        "packages": 0, "revisions": 0, "pushes": 0, "objects": 0, "bytes": 0, "tree_bytes": 0, "owners": {},
    }  # fmt: skip
