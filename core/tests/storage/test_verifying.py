"""Rot is found."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import update

from core.cli.storage import storage
from core.db import db, now
from core.errors import Unavailable
from core.storage import Blob, verify


def rewrite(store, digest, data):
    path = store.backend.local_path(digest)
    path.unlink()
    path.write_bytes(data)


def flip(store, digest):
    data = bytearray(store.backend.local_path(digest).read_bytes())
    data[len(data) // 2] ^= 1
    rewrite(store, digest, bytes(data))


@pytest.fixture
def blobs(store):
    digests = [store.put(b"blob number %d" % number).digest for number in range(5)]
    db.session.rollback()  # what others commit from here on is seen
    return digests


def test_sound_blobs_pass_and_the_time_is_noted(store, blobs):
    at = now() + timedelta(days=1)

    assert [(one.digest, one.problem) for one in verify(store.backend, at=at)] == [
        (d, None) for d in sorted(blobs)
    ]
    assert store.get(blobs[0]).verified_at == at


def test_a_flipped_byte_a_short_file_and_a_missing_one_are_found(store, blobs):
    flip(store, blobs[0])
    rewrite(store, blobs[1], b"blob")
    store.backend.local_path(blobs[2]).unlink()

    problems = {one.digest: one.problem for one in verify(store.backend) if one.problem}

    assert problems == {blobs[0]: "changed", blobs[1]: "4 bytes instead of 13", blobs[2]: "missing"}
    with pytest.raises(Unavailable):
        store.get(blobs[0])
    assert store.present(blobs) == set(blobs[3:])


def test_bytes_that_came_back_lose_the_mark(store, blobs):
    good = store.backend.local_path(blobs[0]).read_bytes()
    flip(store, blobs[0])
    list(verify(store.backend))
    rewrite(store, blobs[0], good)

    assert [one.problem for one in verify(store.backend)] == [None] * 5
    assert store.get(blobs[0]).damaged_at is None


def test_sha256_overrules_a_wrong_record(store, blobs):
    right = store.get(blobs[0]).blake3
    db.session.execute(update(Blob).where(Blob.digest == blobs[0]).values(blake3="0" * 64))
    db.session.commit()

    assert [one.problem for one in verify(store.backend)] == [None] * 5
    db.session.rollback()
    assert store.get(blobs[0]).blake3 == right


def test_what_was_read_lately_can_be_left_out(store, blobs):
    db.session.execute(
        update(Blob).where(Blob.digest == blobs[3]).values(verified_at=now() - timedelta(days=40))
    )
    db.session.commit()

    assert [one.digest for one in verify(store.backend, older_than=timedelta(days=30))] == [blobs[3]]


def test_bytes_sent_again_while_they_were_read_are_not_blamed(store, blobs):
    """The upload repairs the blob after the verification has read it and before it writes that down."""
    first, last = min(blobs), max(blobs)
    data = store.backend.local_path(first).read_bytes()
    flip(store, first)

    class Racing(type(store.backend)):
        repaired = False

        def size(self, digest):
            if digest == last and not self.repaired:
                self.repaired = True
                db.session.execute(update(Blob).where(Blob.digest == first).values(damaged_at=now()))
                db.session.commit()
                store.put(data)
            return super().size(digest)

    checked = {one.digest: one.problem for one in verify(Racing(store.backend.root))}

    assert set(checked) == set(blobs) - {first}
    db.session.rollback()
    assert store.get(first).damaged_at is None


def test_more_blobs_than_a_batch_are_all_read(store):
    store.put_many((None, None, b"%d" % number) for number in range(250))

    assert sum(1 for one in verify(store.backend)) == 250


def test_an_unreachable_place_blames_no_blob(store, blobs):
    store.backend.root.rename(store.backend.root.with_name("moved"))
    store.backend.root.write_text("not a folder")

    with pytest.raises(Unavailable):
        list(verify(store.backend))
    db.session.rollback()
    assert store.get(blobs[0]).damaged_at is None


def test_the_command_names_what_is_wrong_and_who_needs_it(runner, site_store, store, blobs, refer):
    site_store(store.backend)
    refer(blobs[0])
    assert runner.invoke(storage, ["verify"]).exit_code == 0
    flip(store, blobs[0])

    found = runner.invoke(storage, ["verify"])
    assert found.exit_code == 1
    assert f"{blobs[0]}: changed; referred to by photos.digest (1)" in found.output
    assert "5 blobs verified, 1 with problems" in found.output

    found = runner.invoke(storage, ["verify", "--json"])
    assert found.exit_code == 1
    assert json.loads(found.output)["problems"] == [
        {
            "digest": blobs[0],
            "size": 13,
            "problem": "changed",
            "references": [{"table": "photos", "column": "digest", "rows": 1}],
        }
    ]


def test_the_other_commands(runner, site_store, store, blobs, refer):
    site_store(store.backend)
    refer(blobs[0])

    assert "photos.digest: 1" in runner.invoke(storage, ["refs", blobs[0]]).output
    assert runner.invoke(storage, ["refs", "0" * 64]).exit_code == 1
    stats = json.loads(runner.invoke(storage, ["stats", "--json"]).output)
    assert (stats["blobs"], stats["bytes"]) == (5, 65)
    assert stats["free_bytes"] > 0
    assert (
        "would remove 4 blobs, 52 bytes"
        in runner.invoke(storage, ["sweep", "--dry-run", "--grace", "0"]).output
    )
    assert runner.invoke(storage, ["sweep"]).output.startswith("removed 0 blobs")
    assert json.loads(runner.invoke(storage, ["sweep", "--grace", "0", "--json"]).output)["blobs"] == 4
    db.session.rollback()
    assert "blobs      1\n" in runner.invoke(storage, ["stats"]).output


def test_a_folder_that_cannot_be_used_is_one_line(runner, site_store, store, blobs):
    site_store(store.backend)
    store.backend.root.rename(store.backend.root.with_name("moved"))
    store.backend.root.write_text("not a folder")

    found = runner.invoke(storage, ["verify"])

    assert found.exit_code == 1
    assert "Error: Files cannot be stored or read" in found.output
