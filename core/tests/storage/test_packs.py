"""Many small blobs in one file: stored, read, verified, swept and moved like any others."""

import hashlib
import io
import random
from datetime import timedelta

import pytest
from sqlalchemy import delete, func, select, update

from core.db import db, now, own_transaction
from core.errors import BadRequest, NotFound, Unavailable
from core.storage import Blob, BlobProof, BlobStore, Pack, PackProof, scrub, sweep, verify
from core.storage.backends import key_of
from core.storage.folder import Folder, _PackFile

NONE = timedelta(0)
LATER = timedelta(days=3)
SMALL = [b"small blob %d, " % number * (number % 7) + b"%d" % number for number in range(40)]
LARGE = bytes(range(256)) * 300


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def items(blobs):
    return [(sha256(data), len(data), data) for data in blobs]


def put(store, blobs, **options):
    found = [one.sha256 for one in store.put_many(items(blobs), **options)]
    db.session.rollback()
    return found


def packs(store):
    return [one.name for one in store.backend.iter_packs()]


def read(store, digest):
    db.session.rollback()
    with store.open(digest) as stream:
        return stream.read()


def row(digest):
    db.session.rollback()
    return db.session.get(Blob, digest)


def change_bytes(backend, name, change):
    """Put ``change(bytes)`` where ``bytes`` are, behind the site's back."""
    with backend.open(name) as stream:
        data = change(stream.read())
    if isinstance(backend, Folder):
        path = backend.root / key_of(name)
        path.unlink()
        path.write_bytes(data)
    else:
        backend.client.put_object(Bucket=backend.bucket, Key=f"some/prefix/{key_of(name)}", Body=data)


def flip(backend, name, at):
    change_bytes(backend, name, lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


@pytest.fixture
def any_store(backend, clean_database):
    """A store in every place for bytes, one after the other."""
    return BlobStore(backend)


def test_small_blobs_of_a_batch_share_a_file(any_store):
    digests = put(any_store, [*SMALL[:20], LARGE, b"", *SMALL[20:]], user_id=1)

    assert digests == [sha256(data) for data in (*SMALL[:20], LARGE, b"", *SMALL[20:])]
    assert [one.name for one in any_store.backend.iter_found()] == [sha256(LARGE)]
    assert len(packs(any_store)) == 1
    assert any_store.backend.size(packs(any_store)[0]) == sum(map(len, SMALL))
    assert any_store.known_to(digests, 1) == set(digests)
    for data in (*SMALL, LARGE, b""):
        assert read(any_store, sha256(data)) == data


@pytest.mark.parametrize(("count", "files"), [(15, 15), (16, 0)])
def test_a_few_small_blobs_have_files_of_their_own(any_store, count, files):
    put(any_store, SMALL[:count])

    assert len(list(any_store.backend.iter_found())) == files
    assert len(packs(any_store)) == (files == 0)
    assert [read(any_store, sha256(data)) for data in SMALL[:count]] == SMALL[:count]


def test_streams_of_known_size_are_packed_too(any_store):
    found = any_store.put_many((sha256(data), len(data), io.BytesIO(data)) for data in SMALL)

    assert [one.size for one in found] == list(map(len, SMALL))
    assert len(packs(any_store)) == 1
    assert read(any_store, sha256(SMALL[9])) == SMALL[9]


@pytest.mark.parametrize(("start", "stop"), [(0, None), (3, 9), (5, 5), (9, 3), (20, 10**6), (10**6, None)])
def test_any_part_of_a_packed_blob_can_be_read_and_no_other(any_store, start, stop):
    put(any_store, SMALL)
    data = SMALL[20]

    with any_store.open(sha256(data), start, stop) as part:
        assert part.read() == data[start:stop]


@pytest.mark.parametrize("seed", [None, 1])
def test_many_are_read_in_any_order(any_store, seed):
    put(any_store, SMALL)
    put(any_store, [b"%d, of another pack" % number for number in range(20)])
    everything = [*SMALL, *(b"%d, of another pack" % number for number in range(20)), LARGE, b""]
    put(any_store, [LARGE, b""])
    if seed:
        random.Random(seed).shuffle(everything)

    found = any_store.read_many([sha256(data) for data in everything])

    assert list(found) == everything
    assert list(any_store.read_many([])) == []
    with pytest.raises(NotFound):
        any_store.read_many([sha256(SMALL[0]), sha256(b"nobody sent this")])


def test_neighbours_are_read_with_one_request(store):
    class Counting(Folder):
        opened = 0

        def open(self, *args):
            self.opened += 1
            return super().open(*args)

    put(store, SMALL)
    counting = Counting(store.backend.root)

    assert list(BlobStore(counting).read_many([sha256(data) for data in SMALL])) == SMALL
    assert counting.opened == 1


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ((sha256(b"x"), None, b"wrong"), "wrong_digest"),
        ((None, 4, b"wrong"), "wrong_size"),
        ((None, 6, io.BytesIO(b"wrong")), "wrong_size"),
        ((None, 4, io.BytesIO(b"wrong")), "wrong_size"),
    ],
)
def test_one_wrong_blob_leaves_no_pack(any_store, item, code):
    with pytest.raises(BadRequest) as refusal:
        any_store.put_many([*items(b"%d" % number * 2000 for number in range(99)), item])

    assert refusal.value.code == code
    assert packs(any_store) == list(any_store.backend.iter_found()) == []
    assert any_store.backend.sweep_temporary(now() + LATER) == 0
    assert any_store.present([sha256(b"1" * 2000)]) == set()


def test_what_is_here_already_makes_no_second_pack(any_store):
    put(any_store, SMALL)
    (name,) = packs(any_store)

    put(any_store, [*SMALL, *SMALL], user_id=2)

    assert packs(any_store) == [name]
    assert any_store.known_to([sha256(data) for data in SMALL], 2) == {sha256(data) for data in SMALL}
    assert db.session.scalars(select(Pack.name)).all() == [name]


def test_new_ones_among_those_that_are_here_are_kept(any_store):
    put(any_store, SMALL[:20])
    (first,) = packs(any_store)

    put(any_store, SMALL)

    assert len(packs(any_store)) == 2
    assert row(sha256(SMALL[0])).place.name == first
    assert [read(any_store, sha256(data)) for data in SMALL] == SMALL


# Proofs.


def digests_of(blobs):
    return {sha256(data) for data in blobs}


def count(model):
    return db.session.scalar(select(func.count()).select_from(model))


def test_who_brought_a_pack_is_known_by_one_row(any_store):
    put(any_store, SMALL, user_id=1)

    assert (count(PackProof), count(BlobProof)) == (1, 0)
    assert any_store.known_to(digests_of([*SMALL, LARGE]), 1) == digests_of(SMALL)
    assert any_store.known_to(digests_of(SMALL), 2) == set()


def test_a_pack_proves_nothing_of_what_others_brought_before_or_after(any_store):
    put(any_store, SMALL[:20], user_id=1)
    put(any_store, SMALL[10:], user_id=2)

    assert any_store.known_to(digests_of(SMALL), 1) == digests_of(SMALL[:20])
    assert any_store.known_to(digests_of(SMALL), 2) == digests_of(SMALL[10:])


def test_a_blob_that_is_moved_stays_known_to_those_who_sent_it(any_store, refer):
    put(any_store, SMALL, user_id=1)
    put(any_store, SMALL[5:6], user_id=2)
    refer(sha256(SMALL[5]))

    assert sweep(any_store.backend, grace=NONE).moved == 1
    assert sweep(any_store.backend, grace=NONE, at=now() + LATER).packs == 1

    db.session.rollback()
    assert any_store.known_to(digests_of(SMALL), 1) == digests_of(SMALL[5:6])
    assert any_store.known_to(digests_of(SMALL), 2) == digests_of(SMALL[5:6])
    assert any_store.known_to(digests_of(SMALL), 3) == set()


@pytest.mark.parametrize("again", [SMALL[17:18], SMALL], ids=["alone", "in a pack"])
def test_a_blob_that_is_repaired_stays_known_to_those_who_sent_it(any_store, again):
    put(any_store, SMALL, user_id=1)
    place = row(sha256(SMALL[17])).place
    flip(any_store.backend, place.name, place.start)
    assert [one.problem for one in verify(any_store.backend) if one.problem] == ["changed"]
    db.session.rollback()

    put(any_store, again, user_id=2)

    assert row(sha256(SMALL[17])).place != place
    assert any_store.known_to(digests_of(SMALL), 1) == digests_of(SMALL)
    assert any_store.known_to(digests_of(SMALL), 2) == digests_of(again)


def test_proofs_go_with_their_pack(any_store):
    put(any_store, SMALL, user_id=1)
    sweep(any_store.backend, grace=NONE)
    sweep(any_store.backend, grace=NONE, at=now() + LATER)
    db.session.rollback()
    assert count(PackProof) == 0

    put(any_store, SMALL, user_id=2)
    assert any_store.known_to(digests_of(SMALL), 1) == set()


def test_a_pack_of_several_parts_reaches_the_object_store(s3, clean_database):
    store = BlobStore(s3)
    blobs = [b"%d" % number * 15_000 for number in range(100, 300)]  # 9 MB: two parts of 5 MiB

    put(store, blobs)

    assert len(packs(store)) == 1
    assert [read(store, sha256(data)) for data in blobs[::20]] == blobs[::20]


def test_a_file_of_one_blob_is_offered_and_that_of_many_is_not(any_store):
    put(any_store, SMALL)
    alone = any_store.put(LARGE)

    assert any_store.local_path(row(sha256(SMALL[0]))) is None
    assert any_store.download_url(row(sha256(SMALL[0])), name="", media_type="", life=60) is None
    assert any_store.local_path(alone) == any_store.backend.local_path(alone.digest)
    assert any_store.is_whole(alone)


# Crashes: the process dies, nobody cleans up behind it.


class Crash(BaseException):
    """The process dies here."""


class Abandoned(_PackFile):
    def discard(self):
        pass


class Dying(Folder):
    """A folder in which the process dies at the moment ``phase``."""

    def __init__(self, root, phase):
        super().__init__(root)
        self.phase = phase

    def stage_pack(self):
        pack = Abandoned(*self._new_file(), self._write)
        pack.write(b"")
        if self.phase == "writing":
            raise Crash
        return pack

    def settle(self, staged):
        if self.phase == "syncing":
            raise Crash
        super().settle(staged)

    def place(self, staged):
        if self.phase == "placing":
            raise Crash
        if self.phase == "committing" and not any(isinstance(one, Abandoned) for one in staged):
            raise Crash
        super().place(staged)
        if self.phase == "placed":
            raise Crash


@pytest.mark.parametrize("phase", ["writing", "syncing", "placing", "placed", "committing"])
def test_an_upload_killed_at_any_point_is_swept(store, phase):
    dying = BlobStore(Dying(store.backend.root, phase))
    with pytest.raises(Crash):
        put(dying, SMALL)

    db.session.rollback()
    assert store.present([sha256(data) for data in SMALL]) == set()
    assert sweep(store.backend, grace=NONE).temporary == 0, "it might be on its way"
    assert len([path for path in store.backend.root.rglob("*") if path.is_file()]) == 1
    assert sweep(store.backend, grace=NONE, dry_run=True, at=now() + LATER).temporary == 1
    assert sweep(store.backend, grace=NONE, at=now() + LATER).temporary == 1
    assert [path for path in store.backend.root.rglob("*") if path.is_file()] == []
    put(store, SMALL)
    assert read(store, sha256(SMALL[3])) == SMALL[3]


def test_a_failure_before_the_commit_leaves_no_pack(any_store):
    """The proofs name a user who is not there: the database refuses them."""
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        put(any_store, SMALL, user_id=999_999)

    db.session.rollback()
    assert packs(any_store) == []
    assert any_store.present([sha256(data) for data in SMALL]) == set()
    assert db.session.scalars(select(Pack.id)).all() == []


# Rot.


def test_a_flipped_byte_in_a_pack_is_blamed_on_its_blob_and_repaired_by_its_bytes(any_store):
    put(any_store, SMALL)
    digest = sha256(SMALL[17])
    place = row(digest).place
    flip(any_store.backend, place.name, place.start + 3)

    assert {one.digest: one.problem for one in verify(any_store.backend) if one.problem} == {
        digest: "changed"
    }
    db.session.rollback()
    with pytest.raises(Unavailable):
        any_store.get(digest)

    put(any_store, SMALL)
    assert read(any_store, digest) == SMALL[17]
    assert [one.problem for one in verify(any_store.backend)] == [None] * len(SMALL)
    db.session.rollback()
    assert any_store.find(digest) is not None


def test_a_damaged_packed_blob_sent_alone_gets_a_file(any_store):
    put(any_store, SMALL)
    digest = sha256(SMALL[17])
    flip(any_store.backend, row(digest).place.name, row(digest).place.start)
    assert [one.digest for one in verify(any_store.backend) if one.problem] == [digest]
    db.session.rollback()

    assert any_store.put(SMALL[17]).pack is None

    assert read(any_store, digest) == SMALL[17]
    assert [one.problem for one in verify(any_store.backend)] == [None] * len(SMALL)


def test_a_short_and_a_missing_pack_are_found(any_store):
    put(any_store, SMALL)
    (name,) = packs(any_store)
    last = sha256(SMALL[-1])
    change_bytes(any_store.backend, name, lambda data: data[:-3])
    found = {one.digest: one.problem for one in verify(any_store.backend) if one.problem}
    assert found == {last: f"{len(SMALL[-1]) - 3} bytes instead of {len(SMALL[-1])}"}

    any_store.backend.delete([name])
    found = {one.digest: one.problem for one in verify(any_store.backend)}
    assert found == {sha256(data): "missing" for data in SMALL}
    db.session.rollback()
    assert any_store.present(found) == set()

    put(any_store, SMALL)
    assert [read(any_store, sha256(data)) for data in SMALL] == SMALL


def test_bytes_whose_pack_is_gone_are_taken_again(any_store):
    put(any_store, SMALL)
    any_store.backend.delete(packs(any_store))

    put(any_store, SMALL[:5])  # in files of their own
    put(any_store, SMALL[5:])  # in another pack

    assert [read(any_store, sha256(data)) for data in SMALL] == SMALL


def test_scrubbing_reads_what_was_not_read_for_longest(any_store):
    put(any_store, SMALL)
    long_ago = {sha256(SMALL[3]): now() - timedelta(days=40), sha256(SMALL[8]): now() - timedelta(days=30)}
    for digest, at in long_ago.items():
        db.session.execute(update(Blob).where(Blob.digest == digest).values(verified_at=at))
    db.session.execute(update(Blob).where(Blob.digest == sha256(SMALL[5])).values(verified_at=None))
    db.session.commit()

    assert list(scrub(any_store.backend, 0)) == []
    assert [one.digest for one in scrub(any_store.backend, 1)] == [sha256(SMALL[5])]
    assert [one.digest for one in scrub(any_store.backend, 1)] == [sha256(SMALL[3])]
    assert [one.digest for one in scrub(any_store.backend, 1)] == [sha256(SMALL[8])]
    assert sum(1 for one in scrub(any_store.backend, 10**9)) == len(SMALL), (
        "each once, however much is allowed"
    )


def test_scrubbing_does_not_come_back_to_what_is_known_to_be_damaged(any_store):
    put(any_store, SMALL)
    any_store.backend.delete(packs(any_store))

    assert {one.problem for one in scrub(any_store.backend, 10**9)} == {"missing"}
    assert list(scrub(any_store.backend, 10**9)) == []


# The sweep.


def test_a_pack_goes_when_nothing_in_it_is_needed(any_store, refer, forget):
    put(any_store, SMALL)
    refer(sha256(SMALL[0]))
    refer(sha256(SMALL[1]))
    first = packs(any_store)

    report = sweep(any_store.backend, grace=NONE)
    assert (report.blobs, report.packs, report.moved) == (len(SMALL) - 2, 0, 2)
    forget(sha256(SMALL[0]))
    report = sweep(any_store.backend, grace=NONE)
    assert (report.blobs, report.packs) == (1, 1)
    assert not set(first) & set(packs(any_store))
    assert read(any_store, sha256(SMALL[1])) == SMALL[1]
    forget(sha256(SMALL[1]))
    report = sweep(any_store.backend, grace=NONE)

    assert report.packs >= 1
    assert packs(any_store) == list(any_store.backend.iter_found()) == []
    db.session.rollback()
    assert db.session.scalars(select(Pack.id)).all() == []


def test_a_pack_of_which_half_is_needed_stays(any_store, refer):
    blobs = [b"%02d" % number for number in range(20)]
    put(any_store, blobs)
    for data in blobs[::2]:
        refer(sha256(data))
    first = packs(any_store)

    assert sweep(any_store.backend, grace=NONE).moved == 0
    assert packs(any_store) == first
    assert [read(any_store, sha256(data)) for data in blobs[::2]] == blobs[::2]


def test_what_is_left_of_several_packs_is_moved_into_one_after_the_grace(any_store, refer):
    for first in (0, 20):
        put(any_store, SMALL[first : first + 20])
    kept = [SMALL[5], SMALL[6], SMALL[30]]
    for data in kept:
        refer(sha256(data))
    old = packs(any_store)
    at = now()

    assert sweep(any_store.backend, grace=timedelta(days=1), at=at + timedelta(days=1, hours=1)).moved == 3
    assert len(packs(any_store)) == 3, "the old ones stay for those who read in them"
    assert [read(any_store, sha256(data)) for data in kept] == kept
    sweep(any_store.backend, grace=timedelta(days=1), at=at + timedelta(days=2))
    assert len(packs(any_store)) == 3
    assert sweep(any_store.backend, grace=timedelta(days=1), at=at + timedelta(days=4)).packs == 2

    (new,) = packs(any_store)
    assert new not in old
    assert any_store.backend.size(new) == sum(map(len, kept))
    assert [read(any_store, sha256(data)) for data in kept] == kept
    assert [one.problem for one in verify(any_store.backend)] == [None] * 3


@pytest.mark.parametrize("phase", ["writing", "syncing", "placing", "placed"])
def test_a_move_killed_at_any_point_loses_nothing_and_is_made_later(store, refer, phase):
    put(store, SMALL)
    refer(sha256(SMALL[5]))

    with pytest.raises(Crash):
        sweep(Dying(store.backend.root, phase), grace=NONE)

    assert read(store, sha256(SMALL[5])) == SMALL[5]
    assert sweep(store.backend, grace=NONE).moved == 1
    sweep(store.backend, grace=NONE, at=now() + LATER)
    assert read(store, sha256(SMALL[5])) == SMALL[5]
    assert len([path for path in store.backend.root.rglob("*") if path.is_file()]) == 1


def test_rot_is_not_moved_but_marked(any_store, refer):
    put(any_store, SMALL)
    kept = [SMALL[5], SMALL[6]]
    for data in kept:
        refer(sha256(data))
    place = row(sha256(SMALL[5])).place
    flip(any_store.backend, place.name, place.start)

    assert sweep(any_store.backend, grace=NONE).moved == 1
    assert sweep(any_store.backend, grace=NONE).moved == 0

    assert row(sha256(SMALL[5])).damaged_at is not None
    assert read(any_store, sha256(SMALL[6])) == SMALL[6]
    put(any_store, kept)
    sweep(any_store.backend, grace=NONE)
    assert [read(any_store, sha256(data)) for data in kept] == kept


def test_a_pack_that_is_gone_does_not_stop_the_sweep(any_store, refer):
    put(any_store, SMALL)
    refer(sha256(SMALL[5]))
    any_store.backend.delete(packs(any_store))

    assert sweep(any_store.backend, grace=NONE).moved == 0
    assert row(sha256(SMALL[5])).place.is_packed


@pytest.mark.parametrize("how", ["removed", "sent alone"])
def test_a_blob_that_changes_while_it_is_moved_is_left_alone(store, refer, forget, how):
    class Racing(Folder):
        def settle(self, staged):
            super().settle(staged)
            if how == "removed":
                forget(sha256(SMALL[5]))
                with own_transaction() as session:
                    session.execute(delete(Blob).where(Blob.digest == sha256(SMALL[5])))
            else:
                with own_transaction() as session:
                    session.execute(update(Blob).values(damaged_at=now()))
                store.put(SMALL[5])

    put(store, SMALL)
    refer(sha256(SMALL[5]))

    assert sweep(Racing(store.backend.root), grace=NONE).moved == 0
    if how == "removed":
        assert row(sha256(SMALL[5])) is None
    else:
        assert not row(sha256(SMALL[5])).place.is_packed
        assert read(store, sha256(SMALL[5])) == SMALL[5]
    sweep(store.backend, grace=NONE, at=now() + LATER)
    assert packs(store) == []


def test_a_reader_who_was_told_the_old_place_finds_the_new_one(any_store, refer):
    put(any_store, SMALL)
    digest = sha256(SMALL[5])
    refer(digest)
    told = any_store.get(digest)
    assert told.place.is_packed
    for _ in range(2):  # moves it, and removes where it was
        sweep(any_store.backend, grace=NONE)

    with any_store.open(digest) as found:
        assert found.read() == SMALL[5]


def test_a_condemned_blob_in_a_pack_is_saved_by_its_bytes(store):
    put(store, SMALL)
    db.session.execute(update(Blob).values(condemned_at=now()))
    db.session.commit()

    put(store, SMALL[:20])  # into a pack
    store.put(SMALL[20])  # into a file

    assert store.present([sha256(data) for data in SMALL]) == {sha256(data) for data in SMALL[:21]}
    assert [read(store, sha256(data)) for data in SMALL[:21]] == SMALL[:21]
    assert sweep(store.backend, grace=timedelta(hours=1)).blobs == 19
    assert [read(store, sha256(data)) for data in SMALL[:21]] == SMALL[:21]


def test_a_file_that_a_pack_took_over_from_is_swept(any_store, refer):
    for data in SMALL[:2]:
        refer(any_store.put(data).digest)
    with own_transaction() as session:
        session.execute(update(Blob).values(damaged_at=now()))
    db.session.rollback()
    put(any_store, SMALL)
    assert len(list(any_store.backend.iter_found())) == 2

    sweep(any_store.backend, grace=timedelta(days=1), at=now() + timedelta(hours=1))
    assert len(list(any_store.backend.iter_found())) == 2, "it may be on its way"
    sweep(any_store.backend, grace=timedelta(hours=1), at=now() + timedelta(hours=1, minutes=1))

    assert list(any_store.backend.iter_found()) == []
    assert [read(any_store, sha256(data)) for data in SMALL[:2]] == SMALL[:2]
