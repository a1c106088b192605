"""Any history of uploads, references, sweeps and rot: what is here can be read, and nothing is left over."""

import hashlib
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select

from core.db import db, now, own_transaction
from core.storage import Blob, BlobStore, Pack, sweep, verify
from core.storage.backends import key_of
from core.storage.folder import Folder

NONE = timedelta(0)
LATER = timedelta(days=3)
BLOBS = [b"%d" % number * (1 + number % 3) for number in range(24)]
DIGESTS = [hashlib.sha256(data).hexdigest() for data in BLOBS]
WHICH = st.integers(0, len(BLOBS) - 1)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), WHICH),
        st.tuples(st.just("put_many"), st.tuples(WHICH, st.sampled_from([3, 16, 20]))),
        st.tuples(st.just("refer"), WHICH),
        st.tuples(st.just("forget"), st.none()),
        st.tuples(st.just("sweep"), st.sampled_from([NONE, timedelta(hours=1)])),
        st.tuples(st.just("rot"), WHICH),
    ),
    min_size=4,
    max_size=14,
)


class History:
    """A store in a new folder, and what has to be in it."""

    def __init__(self, folder, photos):
        self.store = BlobStore(Folder(folder))
        self.photos = photos
        self.needed = set()  # numbers of blobs that a photo refers to
        self.rotten = set()

    def put(self, number):
        self.store.put(BLOBS[number], digest=DIGESTS[number])
        self.repair([number])

    def put_many(self, these):
        first, count = these
        numbers = [number % len(BLOBS) for number in range(first, first + count)]
        self.store.put_many((DIGESTS[number], None, BLOBS[number]) for number in numbers)
        self.repair(numbers)

    def repair(self, numbers):
        db.session.rollback()
        assert self.store.present(DIGESTS[number] for number in numbers) == {DIGESTS[n] for n in numbers}
        self.rotten -= set(numbers)

    def refer(self, number):
        db.session.rollback()
        if self.store.present([DIGESTS[number]], hold=True):
            db.session.execute(insert(self.photos).values(digest=DIGESTS[number]))
            self.needed.add(number)
        db.session.commit()

    def forget(self, _):
        db.session.execute(delete(self.photos))
        db.session.commit()
        self.needed = set()

    def sweep(self, grace):
        sweep(self.store.backend, grace=grace)

    def rot(self, number):
        """Change a byte of the blob, and find it."""
        blob = self.store.find(DIGESTS[number])
        if blob is None:
            return
        place = blob.place
        path = self.store.backend.root / key_of(place.name)
        data = bytearray(path.read_bytes())
        data[place.start] ^= 1
        path.unlink()
        path.write_bytes(data)
        found = {one.digest for one in verify(self.store.backend) if one.problem}
        self.rotten.add(number)
        assert DIGESTS[number] in found <= {DIGESTS[one] for one in self.rotten}
        db.session.rollback()

    def check(self):
        """Whatever is said to be here can be read; whatever is needed and was not damaged is here."""
        db.session.rollback()
        here = self.store.present(DIGESTS)
        for digest, data in zip(DIGESTS, BLOBS, strict=True):
            if digest in here:
                with self.store.open(digest) as stream:
                    assert stream.read() == data
        wanted = [digest for digest in DIGESTS if digest in here]
        assert [hashlib.sha256(data).hexdigest() for data in self.store.read_many(wanted)] == wanted
        assert {DIGESTS[number] for number in self.needed - self.rotten} <= here
        db.session.rollback()

    def end(self):
        """Nothing is needed any more, and nothing is left."""
        self.forget(None)
        for _ in range(2):
            sweep(self.store.backend, grace=NONE, at=now() + LATER)
        assert [path for path in self.store.backend.root.rglob("*") if path.is_file()] == []
        with own_transaction() as session:
            assert session.scalars(select(Blob.digest)).all() == session.scalars(select(Pack.id)).all() == []


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_happens_what_is_here_can_be_read_and_nothing_is_left(photos, tmp_path_factory, steps):
    history = History(tmp_path_factory.mktemp("history"), photos)
    for name, argument in steps:
        getattr(history, name)(argument)
        history.check()
    history.end()
