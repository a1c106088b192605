"""What nobody refers to goes away; nothing else does, whoever does what at the same time."""

import hashlib
import sqlite3
import threading
from contextlib import closing, suppress
from datetime import timedelta
from sqlite3 import OperationalError

import pytest
from sqlalchemy import delete, event, insert, select

from core.db import db, now, own_transaction
from core.storage import Blob, BlobStore, sweep
from core.storage.backends import Expected
from core.storage.folder import Folder
from core.storage.references import list_referrers
from core.storage.sweeping import remove_condemned

DAY = timedelta(days=1)
NONE = timedelta(0)
DATA = b"some bytes"
DIGEST = hashlib.sha256(DATA).hexdigest()


class Crash(BaseException):
    """The process dies here."""


def condemn(store):
    """What the first half of a sweep leaves, when it is killed before the second."""

    class Dying(Folder):
        def iter_found(self):
            raise Crash

    with pytest.raises(Crash):
        sweep(Dying(store.backend.root), grace=NONE)
    db.session.rollback()


def row(digest=DIGEST):
    db.session.rollback()
    return db.session.get(Blob, digest)


def in_thread(app, task):
    """Run ``task`` in a thread with an app context of its own; ``join`` re-raises what it raised."""
    errors = []

    def run():
        with app.app_context():
            try:
                task()
            except BaseException as exc:
                errors.append(exc)

    thread = threading.Thread(target=run)
    thread.start()

    def join():
        thread.join(30)
        assert not thread.is_alive()
        if errors:
            raise errors[0]

    return join


def test_only_what_nobody_refers_to_is_removed(store, refer):
    kept, gone = store.put(b"kept").digest, store.put(b"gone").digest
    refer(kept)

    report = sweep(store.backend, grace=NONE)

    assert (report.blobs, report.bytes, report.orphans) == (1, 4, 0)
    assert row(gone) is None
    assert store.backend.size(gone) is None
    assert row(kept).idle_since is None
    assert store.backend.size(kept) == 4


def test_nothing_is_removed_before_its_grace_is_over(store):
    start = store.put(DATA).idle_since

    assert sweep(store.backend, grace=DAY, at=start + DAY - timedelta(seconds=1)).blobs == 0
    assert row() is not None
    assert sweep(store.backend, grace=DAY, at=start + DAY).blobs == 1


def test_the_grace_begins_when_the_last_reference_is_found_gone(store, refer, forget):
    start = store.put(DATA).created_at
    refer(DIGEST)
    sweep(store.backend, grace=DAY, at=start + 10 * DAY)
    forget(DIGEST)

    assert sweep(store.backend, grace=DAY, at=start + 20 * DAY).blobs == 0
    assert sweep(store.backend, grace=DAY, at=start + 20 * DAY + DAY / 2).blobs == 0
    assert sweep(store.backend, grace=DAY, at=start + 21 * DAY).blobs == 1


def test_sending_the_bytes_again_starts_the_grace_anew(store):
    blob = store.put(DATA)
    blob.idle_since = now() - 2 * DAY
    db.session.commit()

    store.put(DATA)

    assert sweep(store.backend, grace=DAY).blobs == 0


def test_a_dry_run_counts_and_changes_nothing(store, refer):
    refer(store.put(b"kept").digest)
    store.put(DATA)
    store.backend.place([store.backend.stage(b"orphan", Expected())])

    dry = sweep(store.backend, grace=NONE, dry_run=True)

    assert row().condemned_at is None
    assert sweep(store.backend, grace=NONE) == dry
    assert (dry.blobs, dry.orphans, dry.bytes) == (2, 1, len(DATA) + len(b"orphan"))


def test_bytes_without_a_row_are_removed_after_the_grace(store):
    staged = store.backend.stage(DATA, Expected())
    store.backend.place([staged])

    assert sweep(store.backend, grace=DAY).orphans == 0
    assert store.backend.size(DIGEST) == len(DATA)
    assert sweep(store.backend, grace=NONE).orphans == 1
    assert store.backend.size(DIGEST) is None
    assert row() is None


def test_proofs_go_with_their_blob(store):
    store.put(DATA, user_id=1)

    assert sweep(store.backend, grace=NONE).blobs == 1
    db.session.rollback()
    assert store.known_to([DIGEST], 1) == set()


def test_a_condemned_blob_counts_as_absent_and_is_saved_by_its_bytes(store):
    store.put(DATA)
    condemn(store)
    assert row().condemned_at is not None
    assert store.present([DIGEST]) == set()

    store.put(DATA)

    assert list(remove_condemned(store.backend, [], now())) == []
    assert store.find(DIGEST) is not None
    assert store.backend.size(DIGEST) == len(DATA)


def test_a_sweep_that_was_killed_is_finished_by_the_next(store):
    store.put(DATA)
    condemn(store)

    assert sweep(store.backend, grace=DAY).blobs == 1
    assert row() is None
    assert store.backend.size(DIGEST) is None


def test_a_sweep_killed_between_bytes_and_commit_promises_nothing(store):
    class Dying(Folder):
        def delete(self, digests):
            super().delete(digests)
            raise Crash

    store.put(DATA)
    with pytest.raises(Crash):
        sweep(Dying(store.backend.root), grace=NONE)
    db.session.rollback()

    assert store.present([DIGEST]) == set()
    store.put(DATA)
    assert store.backend.size(DIGEST) == len(DATA)
    assert store.find(DIGEST) is not None


def test_a_reference_that_comes_after_the_condemnation_saves_the_blob(store, refer):
    store.put(DATA)
    condemn(store)
    refer(DIGEST)

    assert sweep(store.backend, grace=NONE).blobs == 0
    assert store.find(DIGEST) is not None
    assert store.backend.size(DIGEST) == len(DATA)


def test_a_referred_blob_whose_bytes_a_killed_sweep_took_is_marked_damaged(store, refer):
    store.put(DATA)
    condemn(store)
    refer(DIGEST)
    store.backend.delete([DIGEST])

    sweep(store.backend, grace=NONE)

    assert row().damaged_at is not None
    assert row().condemned_at is None


def test_the_database_refuses_what_the_ledger_overlooked(store, refer):
    gone, kept = store.put(b"gone").digest, store.put(b"kept").digest
    condemn(store)
    refer(kept)

    sizes = list(remove_condemned(store.backend, [], now()))  # as if no foreign key had been found

    assert sizes == [4]
    assert row(gone) is None
    assert store.backend.size(gone) is None
    assert row(kept).condemned_at is None
    assert store.backend.size(kept) == 4


def test_more_blobs_than_a_batch_are_all_removed(store, refer):
    digests = [one.sha256 for one in store.put_many((None, None, b"%d" % n) for n in range(1203))]
    refer(digests[700])

    assert sweep(store.backend, grace=NONE).blobs == 1202
    with store.open(digests[700]) as kept:
        assert kept.read() == b"700"


def test_bytes_sent_while_they_are_being_removed_stay(app, store):
    """The sweep stands between deleting bytes and its commit while the same bytes are sent again."""
    removing, staged = threading.Event(), threading.Event()

    class Waiting(Folder):
        def delete(self, digests):
            super().delete(digests)
            removing.set()
            assert staged.wait(30)

    class Telling(Folder):
        def settle(self, one):
            super().settle(one)
            staged.set()

    store.put(DATA)
    join_sweep = in_thread(app, lambda: sweep(Waiting(store.backend.root), grace=NONE))
    assert removing.wait(30)
    BlobStore(Telling(store.backend.root)).put(DATA, user_id=1)
    join_sweep()

    assert store.find(DIGEST) is not None
    assert store.backend.local_path(DIGEST).read_bytes() == DATA


def test_an_upload_that_has_the_lock_keeps_the_sweep_away(app, store):
    """The upload stands between making bytes visible and its commit while a sweep runs."""
    placing, swept = threading.Event(), threading.Event()

    class Waiting(Folder):
        def place(self, staged):
            super().place(staged)
            placing.set()
            swept.wait(0 if sqlite else 30)

    sqlite = db.engine.dialect.name == "sqlite"
    db.session.rollback()
    store.put(DATA)
    condemn(store)
    join_upload = in_thread(app, lambda: BlobStore(Waiting(store.backend.root)).put(DATA))
    assert placing.wait(30)
    list(remove_condemned(store.backend, [], now()))  # SQLite: waits for the upload; others: passes it over
    swept.set()
    join_upload()

    assert store.find(DIGEST) is not None
    assert store.backend.local_path(DIGEST).read_bytes() == DATA


def test_on_sqlite_no_upload_gets_between_the_look_and_the_removal(store):
    """Another connection takes the condemnation back as soon as the sweep has seen it, if it can."""
    if db.engine.dialect.name != "sqlite":
        pytest.skip("the servers lock the row itself")
    store.put(DATA)
    condemn(store)
    saved = []

    def save(connection, cursor, statement, parameters, context, many):
        if saved or not statement.startswith("SELECT") or "condemned_at IS NOT NULL" not in statement:
            return
        with closing(sqlite3.connect(db.engine.url.database, timeout=0)) as other, suppress(OperationalError):
            saved.append(False)
            other.execute("UPDATE core_blobs SET condemned_at = NULL")
            other.commit()
            saved[0] = True

    event.listen(db.engine, "after_cursor_execute", save)
    try:
        list(remove_condemned(store.backend, [], now()))
    finally:
        event.remove(db.engine, "after_cursor_execute", save)

    assert len(saved) == 1
    assert (row() is not None) == saved[0], "what an upload has saved stays"


def test_a_held_blob_is_not_condemned(app, store, photos):
    store.put(DATA)
    assert store.present([DIGEST], hold=True) == {DIGEST}
    join = in_thread(app, lambda: sweep(store.backend, grace=NONE))
    db.session.execute(insert(photos).values(digest=DIGEST))
    db.session.commit()
    join()

    assert store.find(DIGEST) is not None
    assert store.backend.size(DIGEST) == len(DATA)


@pytest.mark.parametrize("count", [10, 60], ids=["files", "a pack"])
def test_many_sweeps_and_uploads_at_once_lose_nothing(app, store, refer, count):
    blobs = [b"%d" % number for number in range(count)]
    joins = [in_thread(app, lambda: store.put_many((None, None, data) for data in blobs)) for _ in range(2)]
    joins += [in_thread(app, lambda: sweep(store.backend, grace=NONE)) for _ in range(2)]
    for join in joins:
        join()

    db.session.rollback()
    for blob in db.session.scalars(select(Blob).where(Blob.condemned_at.is_(None))):
        with store.open(blob.digest) as found:
            assert hashlib.sha256(found.read()).hexdigest() == blob.digest
    db.session.rollback()
    sweep(store.backend, grace=NONE)
    assert list(store.backend.iter_found()) == []
    assert list(store.backend.iter_packs()) == []


def test_every_foreign_key_is_in_the_ledger_except_descriptions(store, photos):
    with own_transaction() as session:
        found = list_referrers(session)

    assert [(one.table, one.column) for one in found if one.table == "photos"] == [("photos", "digest")]
    assert "core_blob_proofs" not in {one.table for one in found}


def test_the_database_itself_protects_a_named_blob(store, refer):
    digest = store.put(DATA).digest
    refer(digest)

    with pytest.raises(Exception, match=r"(?i)foreign key"):
        db.session.execute(delete(Blob).where(Blob.digest == digest))
    db.session.rollback()
