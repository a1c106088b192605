"""The jobs that look after stored bytes."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from core.db import db, now
from core.jobs import JobState, enqueue
from core.jobs.run import run_next
from core.storage import Blob, store


@pytest.fixture
def run(app, kinds, row):
    """``run(kind)``: the finished job."""

    def work(kind):
        job_id = enqueue(kind).id
        db.session.commit()
        run_next(app, "me")
        db.session.rollback()
        return row(job_id)

    return work


@pytest.fixture
def idle(clean_database):
    """Digests of blobs that nobody has referred to for three days."""
    digests = [one.sha256 for one in store().put_many((None, None, b"idle %d" % n) for n in range(20))]
    db.session.execute(update(Blob).values(idle_since=now() - timedelta(days=3)))
    db.session.commit()
    return digests


def test_what_nobody_needs_is_swept(run, idle):
    kept = store().put(b"sent just now").digest

    job = run("core.sweep_blobs")

    assert (job.state, job.result["blobs"], job.result["bytes"]) == (JobState.DONE, 20, 130)
    assert store().present([*idle, kept]) == {kept}


def test_what_has_rotted_is_named(run, idle, caplog):
    pack = store().get(idle[3]).place.name
    path = store().backend.root / "packs" / pack[:2] / pack[2:]
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data.replace(b"idle 3", b"idle x"))

    job = run("core.verify_blobs")

    assert (job.state, job.progress_done) == (JobState.DONE, 130)
    assert job.result == {"blobs": 20, "bytes": 130, "problems": 1, "damaged": [idle[3]]}
    assert f"{idle[3]} is damaged: changed" in caplog.text
    assert store().present(idle) == set(idle) - {idle[3]}


def test_reading_again_can_be_switched_off(app, run, idle):
    usual = app.config["STORAGE_VERIFY_BYTES"]
    app.config["STORAGE_VERIFY_BYTES"] = 0
    try:
        assert run("core.verify_blobs").result["blobs"] == 0
    finally:
        app.config["STORAGE_VERIFY_BYTES"] = usual
