"""The contract of a place for bytes: the same tests for every place."""

import hashlib
import io
from datetime import timedelta
from urllib.request import Request, urlopen

import pytest

from core.db import now
from core.errors import BadRequest, NotFound, TooLarge
from core.storage import digest_of
from core.storage.backends import Expected
from core.storage.s3 import S3

MiB = 2**20
SMALL = b"a small blob"
LARGE = bytes(range(256)) * (4096 * 11) + b"tail"  # 11 MiB and a bit: three parts of 5 MiB on S3


class Endless:
    """A stream that never ends, and knows how much was taken."""

    taken = 0

    def read(self, size):
        self.taken += size
        return b"x" * size


class Broken:
    """A sender who goes away after some bytes."""

    def __init__(self, data):
        self.pieces = iter([data])

    def read(self, size):
        try:
            return next(self.pieces)
        except StopIteration:
            raise ConnectionResetError from None


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def keep(backend, data, expected=None):
    staged = backend.stage(data if isinstance(data, bytes) else io.BytesIO(data), expected or Expected())
    backend.settle([staged])
    backend.place([staged])
    return staged.digests.sha256


def assert_nothing_is_left(backend):
    assert list(backend.iter_found()) == []
    assert backend.sweep_temporary(now() + timedelta(days=1)) == 0


@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_what_is_placed_can_be_read_back(backend, data, declared, stream):
    expected = Expected(len(data), None, sha256(data)) if declared else Expected()

    staged = backend.stage(io.BytesIO(data) if stream else data, expected)
    digest = staged.digests.sha256
    assert staged.digests == digest_of(io.BytesIO(data))
    assert backend.size(digest) is None, "nothing is visible before it is placed"
    backend.settle([staged])
    backend.place([staged])

    with backend.open(digest) as found:
        assert found.read() == data
    assert backend.size(digest) == len(data)
    assert [(one.name, one.size) for one in backend.iter_found()] == [(digest, len(data))]
    assert backend.sweep_temporary(now() + timedelta(days=1)) == 0


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, None), (0, 0), (0, 5), (3, 3), (3, 9), (5 * MiB - 3, 5 * MiB + 3), (11 * MiB, None)],
)
def test_any_part_can_be_read(backend, start, stop):
    digest = keep(backend, LARGE)

    with backend.open(digest, start, stop) as part:
        assert part.read() == LARGE[start:stop]


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("expected", "code"),
    [
        (lambda data: Expected(sha256=sha256(b"other bytes")), "wrong_digest"),
        (lambda data: Expected(size=len(data) + 1), "wrong_size"),
        (lambda data: Expected(size=len(data) - 1), "wrong_size"),
        (lambda data: Expected(size=len(data) - 1, sha256=sha256(data)), "wrong_size"),
    ],
)
def test_other_bytes_than_announced_are_refused_and_leave_nothing(backend, data, expected, code):
    with pytest.raises(BadRequest) as refusal:
        backend.stage(io.BytesIO(data), expected(data))

    assert refusal.value.code == code
    assert_nothing_is_left(backend)


def test_a_stream_over_the_limit_is_cut_and_leaves_nothing(backend):
    endless = Endless()

    with pytest.raises(TooLarge):
        backend.stage(endless, Expected(max_bytes=7 * MiB))

    assert endless.taken <= 8 * MiB
    assert_nothing_is_left(backend)


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_a_sender_who_goes_away_leaves_nothing(backend, data):
    with pytest.raises(ConnectionResetError):
        backend.stage(Broken(data), Expected(size=len(data) + 1))

    assert_nothing_is_left(backend)


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_what_is_discarded_leaves_nothing(backend, data):
    staged = backend.stage(io.BytesIO(data), Expected())

    staged.discard()
    staged.discard()

    assert_nothing_is_left(backend)


def test_discarding_what_was_placed_does_nothing(backend):
    staged = backend.stage(io.BytesIO(LARGE), Expected())
    backend.settle([staged])
    backend.place([staged])

    staged.discard()

    assert backend.size(staged.digests.sha256) == len(LARGE)


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_placing_again_repairs(backend, data, tmp_path):
    digest = keep(backend, data)
    if path := backend.local_path(digest):
        path.unlink()
        path.write_bytes(b"rot")
    else:
        backend.client.put_object(
            Bucket=backend.bucket, Key=f"some/prefix/sha256/{digest[:2]}/{digest[2:]}", Body=b"rot"
        )

    keep(backend, data)

    with backend.open(digest) as found:
        assert found.read() == data


def test_many_are_placed_together(backend):
    blobs = [b"%d" % number for number in range(100)]
    staged = [backend.stage(data, Expected()) for data in blobs]

    backend.settle(staged)
    backend.place(staged)

    assert {one.name for one in backend.iter_found()} == {sha256(data) for data in blobs}


def test_what_is_not_there_is_said_so(backend):
    with pytest.raises(NotFound):
        backend.open(sha256(b"nobody sent this"))
    assert backend.size(sha256(b"nobody sent this")) is None
    assert list(backend.iter_found()) == []


def test_deleting_removes_and_does_not_mind_what_is_gone(backend):
    digests = [keep(backend, b"%d" % number) for number in range(5)]

    backend.delete([*digests[:3], sha256(b"nobody sent this")])

    assert {one.name for one in backend.iter_found()} == set(digests[3:])
    backend.delete([])


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_only_old_remains_are_swept(backend, data):
    staged = backend.stage(io.BytesIO(data), Expected())
    kept = keep(backend, b"placed")
    remains = backend.sweep_temporary(now() + timedelta(hours=1), dry_run=True)

    assert backend.sweep_temporary(now() - timedelta(days=20_000)) == 0
    assert backend.sweep_temporary(now() + timedelta(hours=1)) == remains
    assert backend.sweep_temporary(now() + timedelta(hours=1)) == 0

    # Small bytes wait in memory on S3: there is nothing to sweep then.
    assert remains == (0 if backend.local_path(kept) is None and data is SMALL else 1)
    assert backend.size(kept) == len(b"placed")
    staged.discard()


def test_a_working_place_says_so(backend):
    backend.check()
    assert_nothing_is_left(backend)


def test_s3_gives_an_address_that_serves_the_blob_itself(s3):
    digest = keep(s3, LARGE)

    url = s3.download_url(digest, name="Größe.bin", media_type="image/png", life=60)
    with urlopen(Request(url, headers={"Range": "bytes=5-9"})) as answer:
        assert answer.status == 206
        assert answer.read() == LARGE[5:10]
        assert answer.headers["Content-Type"] == "image/png"
        assert "filename*=UTF-8''Gr%C3%B6%C3%9Fe.bin" in answer.headers["Content-Disposition"]


def test_what_is_too_large_to_be_copied_at_once_is_copied_in_parts(s3):
    in_parts = S3(s3.client, s3.bucket, "some/prefix", part=s3.part, copy=5 * MiB)

    digest = keep(in_parts, LARGE)  # of which nobody announced the digest

    with s3.open(digest) as found:
        assert found.read() == LARGE
    head = s3.client.head_object(Bucket=s3.bucket, Key=f"some/prefix/sha256/{digest[:2]}/{digest[2:]}")
    assert head["ETag"].strip('"').endswith("-3"), "three parts"
    assert s3.sweep_temporary(now() + timedelta(days=1)) == 0


def test_a_pack_is_a_file_like_any_other(backend):
    pack = backend.stage_pack()
    for data in (SMALL, LARGE, SMALL):
        pack.write(data)
    pack.finish()
    assert backend.size(pack.name) is None, "nothing is visible before it is placed"
    backend.settle([pack])
    backend.place([pack])

    size = len(LARGE) + 2 * len(SMALL)
    assert [(one.name, one.size) for one in backend.iter_packs()] == [(pack.name, size)]
    assert list(backend.iter_found()) == []
    with backend.open(pack.name, len(SMALL) + 5, len(SMALL) + 9) as part:
        assert part.read() == LARGE[5:9]
    pack.discard()
    pack.discard()
    assert list(backend.iter_packs()) == []
    assert_nothing_is_left(backend)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_a_discarded_pack_leaves_nothing(backend, data, finished):
    pack = backend.stage_pack()
    pack.write(data)
    if finished:
        pack.finish()

    pack.discard()

    assert list(backend.iter_packs()) == []
    assert_nothing_is_left(backend)


def test_a_folder_has_no_such_address_but_a_file(folder):
    digest = keep(folder, SMALL)

    assert folder.download_url(digest, name="", media_type="", life=60) is None
    assert folder.local_path(digest).read_bytes() == SMALL
    assert (
        folder.local_path(digest).relative_to(folder.root).as_posix() == f"sha256/{digest[:2]}/{digest[2:]}"
    )
