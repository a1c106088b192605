"""One attempt at a job: what is stored, and what is not, however it ends."""

import sys
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from core.db import db
from core.errors import NotFound
from core.identity import Identity
from core.jobs import Cancelled, Failed, JobState, Superseded, enqueue
from core.jobs.queue import claim
from core.jobs.run import error_line, run_next
from core.jobs.services import cancel_job
from core.permissions import GOD_MODE
from core.users.models import LOWEST_CLASS, ClassPermission

OPERATOR = Identity(granted=frozenset({GOD_MODE}))


@pytest.fixture
def work(app, clock):
    """``work()``: one attempt at the next job, as a worker called me; what was worked on."""

    def run(**options):
        db.session.rollback()
        return run_next(app, "me", clock=clock, **options)

    return run


def written():
    db.session.rollback()
    return set(db.session.scalars(select(ClassPermission.permission)))


def write(name):
    db.session.add(ClassPermission(user_class_id=LOWEST_CLASS, permission=name))


def test_the_end_is_written_down(make_kind, make_job, work, row, clock):
    def run(task, n):
        task.progress(n, total=10, unit="files")
        write("work")
        return {"n": n}

    job_id = make_job(make_kind(run), n=3)
    work()

    job = row(job_id)
    assert (job.state, job.result, job.error, job.worker) == (JobState.DONE, {"n": 3}, None, None)
    assert job.progress == {"done": 3, "total": 10, "unit": "files"}
    assert job.finished_at == clock.time
    assert written() == {"work"}
    assert work() is None


def test_an_attempt_that_fails_is_followed_by_another_after_a_pause(make_kind, make_job, work, row, clock):
    def run(task):
        write(f"attempt {task.attempt}")
        if task.attempt == 1:
            raise ValueError("no\nluck")

    job_id = make_job(make_kind(run, backoff=100.0, max_attempts=3))
    work()
    job = row(job_id)
    assert (job.state, job.error, job.worker) == (JobState.RUNNING, "ValueError: no", None)
    assert timedelta(seconds=75) <= job.due_at - clock.time <= timedelta(seconds=125)
    clock.forward(70)
    assert work() is None
    clock.forward(60)
    assert work().attempt == 2
    assert (row(job_id).state, row(job_id).error) == (JobState.DONE, None)
    assert written() == {"attempt 2"}


def test_the_last_attempt_decides(make_kind, make_job, work, row, clock):
    def run(task):
        raise OSError(28, "No space left on device", "/srv/pulsar/blobs/ab")

    job_id = make_job(make_kind(run, max_attempts=2), unique_key="k")
    work()
    clock.forward(3600)
    work()

    job = row(job_id)
    assert (job.state, job.attempts, job.unique_key) == (JobState.FAILED, 2, None)
    assert job.error == "OSError: No space left on device"


@pytest.mark.parametrize("error", [Failed("The log is not a CAN log."), SystemExit(3), lambda: {1, 2}])
def test_nothing_that_a_job_does_harms_the_worker(make_kind, make_job, work, row, error):
    def run(task):
        if isinstance(error, BaseException):
            raise error
        return error()

    job_id = make_job(make_kind(run, max_attempts=1))
    assert work() is not None
    assert row(job_id).state == JobState.FAILED


def test_a_job_that_cannot_succeed_is_not_tried_again(make_kind, make_job, work, row):
    def run(task):
        raise Failed("The log is not a CAN log.")

    job_id = make_job(make_kind(run, max_attempts=5))
    work()
    assert (row(job_id).state, row(job_id).error) == (JobState.FAILED, "The log is not a CAN log.")


def test_what_a_checkpoint_stored_stays_and_the_rest_goes(make_kind, make_job, work):
    def run(task):
        write("before")
        task.checkpoint()
        write("after")
        raise ValueError

    make_job(make_kind(run))
    work()
    assert written() == {"before"}


@pytest.mark.parametrize("end", ["checkpoint", "finish", "fail", "snooze"])
def test_a_worker_that_lost_its_job_writes_nothing(make_kind, make_job, work, row, clock, app, end):
    def run(task):
        with app.app_context():
            assert claim("thief", at=clock.time + timedelta(seconds=61)).id == task.job_id
        write("too late")
        if end == "checkpoint":
            with pytest.raises(Superseded):
                task.checkpoint()
            write("even later")
        elif end == "snooze":
            task.snooze(1)
        elif end == "fail":
            raise ValueError
        return "mine"

    job_id = make_job(make_kind(run, lease=60, max_attempts=2))
    before = row(job_id).progress
    work()

    job = row(job_id)
    assert (job.state, job.worker, job.attempts) == (JobState.RUNNING, "thief", 2)
    assert (job.result, job.error, job.progress) == (None, None, before)
    assert written() == set()


def test_a_job_hears_of_its_cancellation_at_the_next_checkpoint(make_kind, make_job, work, row, app):
    ended = []

    def run(task):
        with app.app_context():
            assert cancel_job(OPERATOR, task.job_id).state == JobState.RUNNING
            db.session.commit()
        write("unfinished")
        try:
            task.checkpoint()
        except Exception:
            pytest.fail("a job that catches the errors of its steps must not catch this")
        finally:
            ended.append(sys.exc_info()[0])

    job_id = make_job(make_kind(run), unique_key="k")
    work()
    assert ended == [Cancelled]
    assert (row(job_id).state, row(job_id).unique_key, row(job_id).error) == (JobState.CANCELLED, None, None)
    assert written() == set()


@pytest.mark.parametrize("end", ["fail", "snooze"])
def test_a_cancelled_job_is_not_called_again(make_kind, make_job, work, row, app, end):
    def run(task):
        with app.app_context():
            cancel_job(OPERATOR, task.job_id)
            db.session.commit()
        if end == "fail":
            raise ValueError
        task.snooze(5)

    job_id = make_job(make_kind(run, max_attempts=5))
    work()
    assert row(job_id).state == JobState.CANCELLED


def test_a_job_that_waits_gives_up_its_worker_and_no_attempt(make_kind, make_job, work, row, clock):
    calls = []

    def run(task):
        calls.append(task.attempt)
        write(f"call {len(calls)}")
        if len(calls) < 4:
            task.snooze(30)

    job_id = make_job(make_kind(run, max_attempts=1))
    for _ in range(3):
        work()
        assert (row(job_id).state, row(job_id).worker) == (JobState.RUNNING, None)
        assert work() is None
        clock.forward(30)
    work()

    assert row(job_id).state == JobState.DONE
    assert calls == [1, 1, 1, 1]
    assert len(written()) == 4


def test_long_work_in_slices_shares_the_worker(make_kind, make_job, work, clock):
    turns = []

    def run(task, name, slices):
        turns.append(name)
        clock.forward(1)
        if turns.count(name) < slices:
            task.snooze(0)

    kind = make_kind(run)
    make_job(kind, name="large", slices=4)
    make_job(kind, name="small", slices=2)
    while work():
        pass

    assert turns == ["large", "small", "large", "small", "large", "large"]


def test_a_worker_that_is_to_stop_hands_the_job_back(make_kind, make_job, work, row, clock):
    def run(task):
        write("slice")
        task.progress(1)
        pytest.fail("the worker is about to stop")

    job_id = make_job(make_kind(run, max_attempts=1))
    work(stopping=lambda: True)

    assert (row(job_id).state, row(job_id).worker, row(job_id).attempts) == (JobState.RUNNING, None, 0)
    assert row(job_id).due_at == clock.time
    assert written() == {"slice"}


def test_progress_is_written_now_and_then_only(make_kind, make_job, work, row, query_counter):
    def run(task):
        for done in range(1000):
            task.progress(done, 1000, "files")

    job_id = make_job(make_kind(run))
    with query_counter() as statements:
        work()

    assert len([text for text in statements if text.startswith("UPDATE")]) <= 4
    assert row(job_id).progress_done == 999


def test_what_a_failed_attempt_enqueued_is_not_there(make_kind, make_job, work):
    inner = make_kind(lambda task: None)

    def run(task):
        enqueue(inner)
        raise ValueError

    make_job(make_kind(run, max_attempts=1))
    assert work() is not None
    assert work() is None


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError(), "ValueError"),
        (ValueError("a  b\nc"), "ValueError: a b"),
        (ValueError("in /srv/pulsar/x/runs.csv: line 3"), "ValueError: in runs.csv: line 3"),
        (ValueError("see http://a.org/b/c and 3/4"), "ValueError: see http://a.org/b/c and 3/4"),
        (FileNotFoundError(2, "No such file", "/etc/x"), "FileNotFoundError: No such file"),
        (NotFound.of("Package", "a/b"), "Package a/b does not exist."),
        (
            IntegrityError("INSERT INTO t", {"secret": 1}, Exception("x")),
            "IntegrityError: the database refused or did not answer",
        ),
    ],
)
def test_an_error_is_one_line_without_the_inside_of_the_server(error, line):
    assert error_line(error) == line


def test_an_error_has_the_length_that_is_kept():
    assert len(error_line(ValueError("x" * 1000))) == 500
