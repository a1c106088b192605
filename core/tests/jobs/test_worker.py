"""Workers in processes of their own: killed, stopped, paused, many at once."""

import signal
from collections import Counter

import pytest
from sqlalchemy import func, select

from core.db import db
from core.jobs import Job, JobState, enqueue
from core.users.models import ClassPermission


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path)


@pytest.fixture
def go(tmp_path):
    """``go()``: let the jobs end that wait for it."""
    return (tmp_path / "go").touch


def test_a_job_whose_worker_is_killed_is_ended_once_by_another(
    start_worker, make_job, row, lines_of, wait_for, folder, go
):
    job_id = make_job("probe.hold", folder=folder)
    first = start_worker()
    wait_for(lambda: lines_of("begun"))
    first.kill()
    start_worker()
    wait_for(lambda: len(lines_of("begun")) == 2)
    assert row(job_id).state == JobState.RUNNING
    go()
    wait_for(lambda: row(job_id).state == JobState.DONE)

    begun, ended = lines_of("begun"), lines_of("ended")
    assert ended == begun[1:]
    assert row(job_id).attempts == 2
    assert row(job_id).result == int(ended[0])


def test_a_paused_worker_that_comes_back_writes_nothing(
    start_worker, make_job, row, lines_of, wait_for, folder, go
):
    job_id = make_job("probe.deaf", folder=folder)
    paused = start_worker()
    wait_for(lambda: lines_of("begun"))
    paused.send(signal.SIGSTOP)
    start_worker()
    wait_for(lambda: len(lines_of("begun")) == 2)
    go()
    wait_for(lambda: row(job_id).state == JobState.DONE)
    stored = row(job_id)
    paused.send(signal.SIGCONT)
    wait_for(lambda: paused.says(f"job {job_id} (probe.deaf): another worker has it; nothing was written"))

    first, second = lines_of("begun")
    assert sorted(lines_of("ended")) == sorted([first, second])
    assert db.session.scalars(select(ClassPermission.permission)).all() == [f"pid {second}"]
    after = row(job_id)
    assert (after.result, after.finished_at, after.attempts) == (int(second), stored.finished_at, 2)


def test_a_step_that_is_longer_than_the_lease_keeps_the_job(
    start_worker, make_job, row, lines_of, wait_for, folder, go
):
    job_id = make_job("probe.deaf", folder=folder)
    start_worker()
    start_worker()
    wait_for(lambda: lines_of("begun"))
    leases = {row(job_id).due_at}
    wait_for(lambda: leases.add(row(job_id).due_at) or len(leases) > 4, "four renewals of the lease")
    go()
    wait_for(lambda: row(job_id).state == JobState.DONE)

    assert len(lines_of("begun")) == 1
    assert row(job_id).attempts == 1


def test_a_job_that_kills_its_workers_is_parked(start_worker, make_job, row, wait_for, folder, lines_of):
    job_id = make_job("probe.poison", folder=folder)
    for number in (1, 2):
        worker = start_worker()
        assert worker.wait() == -signal.SIGKILL
        assert len(lines_of("begun")) == number
    start_worker()
    wait_for(lambda: row(job_id).state == JobState.FAILED)

    assert len(lines_of("begun")) == 2
    assert "loss of its worker" in row(job_id).error


def test_four_processes_drain_the_queue_and_take_no_job_twice(start_worker, kinds, lines_of, folder):
    for number in range(400):
        enqueue("probe.mark", folder=folder, number=number)
    db.session.commit()
    workers = [start_worker("--drain", JOBS_SWEEP_INTERVAL=60.0) for _ in range(4)]

    assert [worker.wait() for worker in workers] == [0] * 4
    assert Counter(lines_of("marked")) == Counter(str(number) for number in range(400))
    ended = db.session.execute(
        select(Job.state, Job.attempts, func.count())
        .where(Job.kind == "probe.mark")
        .group_by(Job.state, Job.attempts)
    ).all()
    assert ended == [(JobState.DONE, 1, 400)]
    assert sum(worker.says("probe.mark") for worker in workers) > 1


@pytest.mark.parametrize(
    "numbers",
    [[signal.SIGTERM], [signal.SIGINT], [signal.SIGINT, signal.SIGTERM]],
    ids=["term", "int", "both"],
)
def test_a_worker_that_is_stopped_hands_its_job_back_at_once(
    start_worker, make_job, row, lines_of, wait_for, folder, go, numbers
):
    job_id = make_job("probe.hold", folder=folder)
    worker = start_worker()
    wait_for(lambda: lines_of("begun"))
    for number in numbers:
        worker.send(number)

    assert worker.wait() == 0
    left = row(job_id)
    assert (left.state, left.worker, left.attempts) == (JobState.RUNNING, None, 0)
    go()
    start_worker("--drain")
    wait_for(lambda: row(job_id).state == JobState.DONE)
    assert row(job_id).attempts == 1


def test_a_job_that_does_not_listen_is_handed_back_when_the_grace_is_over(
    start_worker, make_job, row, lines_of, wait_for, folder
):
    job_id = make_job("probe.deaf", folder=folder)
    worker = start_worker(JOBS_GRACE=0.2)
    wait_for(lambda: lines_of("begun"))
    worker.send(signal.SIGTERM)

    assert worker.wait() == 0
    left = row(job_id)
    assert (left.state, left.worker, left.attempts) == (JobState.RUNNING, None, 0)
    assert lines_of("ended") == []


def test_a_running_job_is_cancelled_by_a_request(
    start_worker, make_job, row, lines_of, wait_for, folder, authed_client
):
    job_id = make_job("probe.hold", folder=folder, owner_id=1)
    start_worker()
    wait_for(lambda: lines_of("begun"))
    answer = authed_client.delete(f"/jobs/{job_id}")

    assert answer.status_code == 200
    wait_for(lambda: row(job_id).state == JobState.CANCELLED)
    assert lines_of("ended") == []
    assert row(job_id).progress_done > 0


def test_two_workers_add_a_periodic_job_once(start_worker, kinds, wait_for):
    def pruned():
        db.session.rollback()
        return db.session.execute(select(Job.period, Job.state).where(Job.kind == "core.prune_jobs")).all()

    workers = [start_worker(), start_worker()]
    wait_for(lambda: all(worker.says("at work") for worker in workers))
    wait_for(lambda: pruned() and {job.state for job in pruned()} == {JobState.DONE})
    for worker in workers:
        worker.send(signal.SIGTERM)

    assert [worker.wait() for worker in workers] == [0, 0]
    periods = [job.period for job in pruned()]
    assert len(periods) == len(set(periods)) <= 2  # two, if the hour ended meanwhile


def test_once_means_one_job(start_worker, make_job, row, folder, lines_of):
    for number in range(3):
        make_job("probe.mark", folder=folder, number=number, priority=-number)
    assert start_worker("--once", JOBS_SWEEP_INTERVAL=60.0).wait() == 0

    assert len(lines_of("marked")) <= 1
    assert db.session.scalar(select(func.count(Job.id)).where(Job.state == JobState.DONE)) == 1
