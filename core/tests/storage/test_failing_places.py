"""Full, read-only, unreachable: a clear error, and nothing half-kept."""

import hashlib
import io
import os
import subprocess
import sys
from datetime import timedelta

import pytest

from core.db import now
from core.errors import NoSpace, Unavailable
from core.storage import BlobStore
from core.storage.backends import Expected
from core.storage.folder import Folder
from core.storage.s3 import S3, connect

MiB = 2**20

LIMITED = """
import io, resource, sys
from pathlib import Path
from core.errors import NoSpace
from core.storage.backends import Expected
from core.storage.folder import Folder
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
folder = Folder(Path(sys.argv[1]))
try:
    folder.stage(io.BytesIO(b"x" * 150_000), Expected())  # one piece, of which a part fits
except NoSpace:
    print("no space,", len(list((folder.root / "tmp").iterdir())), "left")
"""


@pytest.fixture
def mount(tmp_path):
    """``mount(options)``: a small file system of its own, or a skipped test."""
    place = tmp_path / "mounted"
    place.mkdir()

    def make(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount command")
        if done.returncode:
            pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
        return place

    yield make
    if os.path.ismount(place):
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_said_so_and_nothing_stays(mount):
    folder = Folder(mount("size=2m"))
    kept = folder.stage(b"kept", Expected())
    folder.settle([kept])
    folder.place([kept])

    with pytest.raises(NoSpace):
        folder.stage(io.BytesIO(b"x" * 3 * MiB), Expected(3 * MiB))

    assert folder.sweep_temporary(now() + timedelta(days=1), dry_run=True) == 0
    assert [one.size for one in folder.iter_found()] == [4]
    again = folder.stage(io.BytesIO(b"x" * MiB), Expected())  # what was written before is free again
    again.discard()


def test_a_disk_that_fills_up_under_many_small_blobs_keeps_none_of_them(mount, clean_database):
    store = BlobStore(Folder(mount("size=2m")))

    with pytest.raises(NoSpace):
        store.put_many((None, None, b"%d" % number * 10_000) for number in range(200))

    assert [path for path in store.backend.root.rglob("*") if path.is_file()] == []
    assert store.present([hashlib.sha256(b"0" * 10_000).hexdigest()]) == set()
    store.put_many((None, None, b"%d" % number * 10_000) for number in range(20, 50))


def test_a_limit_of_the_process_is_no_space_too(tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True
    )

    assert found.stdout == "no space, 0 left\n"


def test_a_read_only_file_system_is_said_so(mount):
    folder = Folder(mount("size=2m,ro"))

    with pytest.raises(Unavailable) as refusal:
        folder.stage(io.BytesIO(b"x"), Expected())
    assert str(folder.root) not in refusal.value.message
    with pytest.raises(Unavailable):
        folder.check()


def test_a_folder_that_is_a_file_is_said_so(tmp_path):
    (tmp_path / "blobs").write_text("not a folder")
    folder = Folder(tmp_path / "blobs")

    with pytest.raises(Unavailable):
        folder.stage(b"x", Expected())
    with pytest.raises(Unavailable):
        folder.size("ab" * 32)
    with pytest.raises(Unavailable):
        folder.open("ab" * 32)
    with pytest.raises(Unavailable):
        list(folder.iter_found())


def test_the_reserve_is_kept(tmp_path):
    free = Folder(tmp_path).free_bytes()
    folder = Folder(tmp_path / "blobs", reserve=free // 2)

    folder.stage(b"x", Expected()).discard()
    with pytest.raises(NoSpace):
        folder.stage(io.BytesIO(), Expected(size=free))
    with pytest.raises(NoSpace):
        Folder(tmp_path / "blobs", reserve=2 * free).stage(io.BytesIO(b"x"), Expected())


def test_a_stream_of_unknown_length_stops_at_the_reserve(mount):
    folder = Folder(mount("size=8m"), reserve=4 * MiB)

    with pytest.raises(NoSpace):
        folder.stage(io.BytesIO(b"x" * 6 * MiB), Expected())

    assert folder.free_bytes() > 7 * MiB


def test_a_store_nobody_answers_for_is_said_so():
    client = connect(endpoint="http://127.0.0.1:1", region="us-east-1", access_key="a", secret_key="b")
    s3 = S3(client, "bucket", part=5 * MiB)

    with pytest.raises(Unavailable) as refusal:
        s3.size("ab" * 32)
    assert "127.0.0.1" not in refusal.value.message
    client.close()


def test_a_bucket_that_is_not_there_is_said_so(s3):
    missing = S3(s3.client, "nobody-made-this", part=5 * MiB)

    with pytest.raises(Unavailable):
        missing.check()
    with pytest.raises(Unavailable):
        missing.stage(io.BytesIO(b"x" * 6 * MiB), Expected())
