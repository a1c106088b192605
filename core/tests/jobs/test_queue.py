"""Enqueue and claim: order, leases, keys, periods."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from core.db import db, now, own_transaction
from core.jobs import Job, JobState, enqueue
from core.jobs.prune import prune_batch
from core.jobs.queue import claim, create_periodic_jobs


@pytest.fixture
def kind(make_kind):
    return make_kind(lambda task, n=0: n, lease=60, max_attempts=2)


def claimed(at=None):
    job = claim("somebody", at=at)
    return job and job.id


def test_a_job_is_not_there_before_the_commit(kind):
    enqueue(kind)
    with own_transaction() as session:
        assert session.scalar(select(func.count(Job.id))) == 0
    db.session.rollback()
    assert claimed() is None


def test_the_urgent_come_first_then_those_that_are_due_longest(kind, make_job):
    late, first, second = make_job(kind, delay=1), make_job(kind), make_job(kind)
    urgent = make_job(kind, priority=5)
    soon = now() + timedelta(seconds=10)

    assert [claimed(soon) for _ in range(5)] == [urgent, first, second, late, None]


def test_a_delayed_job_waits(kind, make_job):
    job = make_job(kind, delay=3600)

    assert claimed() is None
    assert claimed(now() + timedelta(seconds=3601)) == job


def test_a_claim_is_written_down(kind, make_job, row, clock):
    job_id = make_job(kind)
    job = claim("me", at=clock.time)

    assert (job.id, job.worker, job.attempts, job.state) == (job_id, "me", 1, JobState.RUNNING)
    stored = row(job_id)
    assert stored.worker == "me"
    assert stored.started_at == clock.time
    assert stored.due_at == clock.time + timedelta(seconds=60)


def test_a_lost_lease_goes_to_another_and_stays_running(kind, make_job, row, clock):
    job_id = make_job(kind)
    claim("lost", at=clock.time)
    clock.forward(59)
    assert claimed(clock.time) is None
    clock.forward(2)

    assert claim("next", at=clock.time).id == job_id
    assert (row(job_id).state, row(job_id).worker, row(job_id).attempts) == (JobState.RUNNING, "next", 2)


def test_a_job_that_keeps_losing_its_worker_is_parked(kind, make_job, row, clock):
    job_id = make_job(kind)
    for _ in range(kind.max_attempts):
        assert claimed(clock.time) == job_id
        clock.forward(61)

    assert claimed(clock.time) is None
    parked = row(job_id)
    assert parked.state == JobState.FAILED
    assert parked.error == "Given up after 2 attempts: the last one ended with the loss of its worker."
    assert parked.finished_at == clock.time


def test_a_cancelled_job_whose_worker_was_lost_is_not_begun_again(kind, make_job, row, clock):
    job_id = make_job(kind)
    claim("lost", at=clock.time)
    db.session.get_one(Job, job_id).cancel_requested = True
    db.session.commit()
    clock.forward(61)

    assert claimed(clock.time) is None
    assert row(job_id).state == JobState.CANCELLED


def test_a_kind_of_a_plugin_that_is_switched_off_waits(kind, kinds, make_job, row):
    job_id = make_job(kind)
    del kinds[kind.name]
    assert claimed() is None
    assert row(job_id).state == JobState.QUEUED
    kinds[kind.name] = kind
    assert claimed() == job_id


def test_a_key_keeps_the_second_out_until_the_first_is_finished(kind, make_job, row, clock):
    first = make_job(kind, unique_key="cart 7", n=1)

    assert make_job(kind, unique_key="cart 7", n=2) == first
    claim("me", at=clock.time)
    assert make_job(kind, unique_key="cart 7") == first
    for _ in range(kind.max_attempts):
        clock.forward(61)
        claim("me", at=clock.time)
    assert row(first).state == JobState.FAILED
    assert make_job(kind, unique_key="cart 7") != first


def test_a_key_that_is_taken_leaves_the_transaction_usable(kind, make_job, row):
    holder = make_job(kind, unique_key="cart 7")
    first = enqueue(kind)
    assert enqueue(kind, unique_key="cart 7").id == holder
    last = enqueue(kind)
    db.session.commit()

    assert row(first.id).state == row(last.id).state == JobState.QUEUED


def test_of_two_that_take_a_key_at_once_one_gets_it(kind, app):
    found = []
    start = threading.Barrier(4)

    def take():
        with app.app_context():
            start.wait()
            job = enqueue(kind, unique_key="cart 7")
            db.session.commit()
            found.append(job.id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_a_singleton_is_there_once(make_kind, make_job):
    kind = make_kind(lambda task: None, singleton=True)

    assert make_job(kind) == make_job(kind)


def test_a_periodic_job_is_added_once_a_period(make_kind, kinds, clock):
    for name in [name for name, kind in kinds.items() if kind.every]:
        del kinds[name]
    kind = make_kind(lambda task: None, every=100)

    assert create_periodic_jobs(at=clock.time) == [kind.name]
    assert create_periodic_jobs(at=clock.time) == []
    clock.forward(100)
    assert create_periodic_jobs(at=clock.time) == []  # the one before is not finished
    db.session.execute(Job.__table__.update().values(state="done", unique_key=None, finished_at=clock.time))
    db.session.commit()
    assert create_periodic_jobs(at=clock.time) == [kind.name]
    assert create_periodic_jobs(at=clock.time) == []


def test_old_jobs_go_but_not_the_one_of_the_present_period(make_kind, kinds, make_job, row):
    kind = make_kind(lambda task, n=0: None, every=10**9)
    create_periodic_jobs(at=now())
    waiting, retried = make_job(kinds["probe.mark"], folder="", number=1), make_job("probe.poison", folder="")
    ended = now() - timedelta(days=1)
    table = Job.__table__
    db.session.execute(table.update().where(table.c.id != waiting).values(state="done", finished_at=ended))
    db.session.execute(table.update().where(table.c.id == waiting).values(retry_of=retried))
    db.session.commit()

    assert prune_batch(ended - timedelta(seconds=1)) == 0
    deleted = prune_batch(ended + timedelta(seconds=1))
    db.session.commit()
    left = db.session.scalars(select(Job).order_by(Job.id)).all()
    assert deleted
    assert {job.kind for job in left} >= {kind.name, "probe.mark"}
    assert row(waiting).retry_of is None
