"""Bytes and rows together."""

import hashlib
import io
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from core.db import db, now
from core.errors import BadRequest, NotFound, Unavailable
from core.storage import Blob, BlobProof, BlobStore, digest_of
from core.storage.folder import Folder
from core.users.models import UserClass

DATA = b"some bytes"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def files(store):
    return [path for path in store.backend.root.rglob("*") if path.is_file()]


def count(model):
    db.session.rollback()
    return db.session.scalar(select(func.count()).select_from(model))


def test_a_stored_blob_is_described_and_readable(store):
    blob = store.put(io.BytesIO(DATA))
    expected = digest_of(io.BytesIO(DATA))

    assert (blob.digest, blob.size, blob.blake3, blob.crc32) == (
        expected.sha256,
        expected.size,
        expected.blake3,
        expected.crc32,
    )
    with store.open(blob.digest, 5, 8) as part:
        assert part.read() == DATA[5:8]
    assert store.get(blob.digest) is blob
    assert store.present([blob.digest, sha256(b"other")]) == {blob.digest}


def test_crc_and_size_use_their_whole_range(store):
    # The CRC-32 of this text has the highest bit set: it does not fit a signed 32-bit column.
    data = next(
        b"%d" % number for number in range(100) if digest_of(io.BytesIO(b"%d" % number)).crc32 >= 2**31
    )

    assert store.put(data).crc32 == digest_of(io.BytesIO(data)).crc32


def test_the_same_bytes_are_kept_once(store):
    first = store.put(DATA).created_at

    again = store.put(io.BytesIO(DATA), digest=sha256(DATA), size=len(DATA))

    assert again.created_at == first
    assert count(Blob) == 1
    assert len(list(store.backend.iter_found())) == 1
    assert list((store.backend.root / "tmp").iterdir()) == []


def test_refused_bytes_leave_no_row(store):
    with pytest.raises(BadRequest):
        store.put(DATA, digest=sha256(b"other"), user_id=1)

    assert count(Blob) == count(BlobProof) == 0


def test_a_blob_is_stored_whatever_becomes_of_the_request(store):
    digest = store.put(DATA).digest

    db.session.rollback()

    assert store.find(digest) is not None


def test_bytes_must_come_before_rows(store):
    db.session.add(UserClass(name="pending"))
    with pytest.raises(RuntimeError):
        store.put(DATA)

    if db.engine.dialect.name == "sqlite":  # the others lock rows only, so an upload is not in the way
        db.session.flush()
        with pytest.raises(RuntimeError):
            store.put(DATA)
    db.session.rollback()


def test_no_transaction_is_open_while_bytes_arrive(store):
    class Looking:
        def read(self, size):
            opened.append(db.session.in_transaction())
            return b""

    opened = []
    db.session.scalar(select(func.count()).select_from(Blob))
    assert db.session.in_transaction()

    store.put(Looking())

    assert opened == [False]


def test_who_sent_the_bytes_may_be_told(store):
    blob = store.put(DATA, user_id=1)
    store.put(b"other", user_id=2)

    assert store.known_to([blob.digest, sha256(b"other")], 1) == {blob.digest}
    assert store.known_to([blob.digest], 2) == set()
    store.put(DATA, user_id=2)
    store.put(DATA, user_id=2)
    assert store.known_to([blob.digest], 2) == {blob.digest}


def test_many_blobs_are_stored_in_order(store, query_counter):
    blobs = [b"blob %d" % number for number in range(2500)]
    items = [
        (sha256(data), len(data), data if number % 2 else io.BytesIO(data))
        for number, data in enumerate(blobs)
    ]

    with query_counter() as statements:
        stored = store.put_many(items, user_id=1)

    assert [one.sha256 for one in stored] == [sha256(data) for data in blobs]
    assert store.present(one.sha256 for one in stored) == {sha256(data) for data in blobs}
    assert len(store.known_to([one.sha256 for one in stored], 1)) == len(blobs)
    assert len(statements) < 40, "statements do not grow with the blobs"
    assert list((store.backend.root / "tmp").iterdir()) == []


def test_many_may_hold_the_same_bytes_twice(store):
    store.put(b"old")

    stored = store.put_many([(None, None, data) for data in (b"old", b"new", b"new")])

    assert [one.size for one in stored] == [3, 3, 3]
    assert count(Blob) == 2
    assert list((store.backend.root / "tmp").iterdir()) == []
    assert store.put_many([]) == []


def test_one_wrong_blob_among_many_ends_it_and_is_not_kept(store):
    with pytest.raises(BadRequest):
        store.put_many([(None, None, b"right"), (sha256(b"x"), None, b"wrong")])

    assert store.present([sha256(b"wrong")]) == set()
    assert files(store) == []


def test_condemned_and_damaged_blobs_count_as_absent(store):
    condemned, damaged, sound = (store.put(data, user_id=1).digest for data in (b"1", b"2", b"3"))
    db.session.execute(update(Blob).where(Blob.digest == condemned).values(condemned_at=now()))
    db.session.execute(update(Blob).where(Blob.digest == damaged).values(damaged_at=now()))
    db.session.commit()
    everything = [condemned, damaged, sound]

    assert store.present(everything) == store.known_to(everything, 1) == {sound}
    assert store.find(condemned) is None
    assert store.find(damaged) is None
    with pytest.raises(NotFound):
        store.get(condemned)
    with pytest.raises(Unavailable):
        store.get(damaged)


def test_sending_damaged_bytes_again_repairs_them(store):
    blob = store.put(DATA)
    path = store.backend.local_path(blob.digest)
    path.unlink()
    path.write_bytes(b"rot")
    blob.damaged_at = now()
    db.session.commit()

    store.put(DATA)

    assert path.read_bytes() == DATA
    assert store.get(blob.digest).damaged_at is None


def test_sending_bytes_whose_file_is_gone_brings_it_back(store):
    blob = store.put(DATA)
    store.backend.local_path(blob.digest).unlink()

    store.put(DATA)

    assert store.backend.local_path(blob.digest).read_bytes() == DATA


def test_asking_for_an_old_idle_blob_starts_its_grace_anew(store):
    blob = store.put(DATA)
    blob.idle_since = long_ago = now() - timedelta(days=3)
    db.session.commit()

    store.touch([blob.digest])
    db.session.commit()

    assert store.get(blob.digest).idle_since > long_ago + timedelta(days=2)


def test_references_are_found_in_tables_no_model_is_known_of(store, refer):
    digest = store.put(DATA).digest
    assert store.references(digest) == []

    refer(digest)
    refer(digest)

    (reference,) = store.references(digest)
    assert (reference.referrer.table, reference.referrer.column, reference.rows) == ("photos", "digest", 2)


def test_a_proof_is_not_a_reference(store):
    assert store.references(store.put(DATA, user_id=1).digest) == []


def test_a_failure_while_writing_down_leaves_no_row_and_no_temporary_file(clean_database, tmp_path):
    class Failing(Folder):
        def place(self, staged):
            raise Unavailable

    store = BlobStore(Failing(tmp_path))
    with pytest.raises(Unavailable):
        store.put(DATA, user_id=1)

    assert count(Blob) == count(BlobProof) == 0
    assert list((tmp_path / "tmp").iterdir()) == []
