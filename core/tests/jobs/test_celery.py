"""The same rows worked on by Celery over Redis, and what happens when Redis is away."""

import logging
import signal
from collections import Counter
from datetime import timedelta

import pytest
import redis

from core.db import db
from core.jobs import JobState, enqueue
from core.jobs.wake import celery_of

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def configure(app, kinds):
    """``configure(url)``: the site of this process tells Celery workers of new jobs through ``url``."""

    def set_broker(url):
        app.config["JOBS_BROKER_URL"] = url
        app.extensions.pop("core.jobs.announcer", None)
        app.extensions.pop("celery", None)

    yield set_broker
    set_broker("")


@pytest.fixture
def queue(app, configure, broker):
    """The site's queue at the broker; empty, and removed after the test."""
    configure(broker)
    celery = celery_of(app)
    name = celery.conf.task_default_queue
    with redis.Redis.from_url(broker) as client:
        client.delete(name)
        yield lambda: client.llen(name)
        celery.close()
        client.delete(name, *client.keys(f"_kombu.binding*.{name}"))


@pytest.fixture
def start_celery(queue, start_worker, broker):
    """``start_celery("--pool", "prefork")``: ``flask jobs celery`` on the database of the test."""

    def start(*arguments, **settings):
        return start_worker("--", *arguments, command="celery", JOBS_BROKER_URL=broker, **settings)

    return start


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_job_whose_celery_worker_is_killed_is_ended_once_by_another(
    start_celery, make_job, row, lines_of, wait_for, tmp_path, pool
):
    job_id = make_job("probe.hold", folder=str(tmp_path))
    first = start_celery("--pool", pool)
    wait_for(lambda: lines_of("begun"))
    first.kill()
    start_celery("--pool", pool)
    wait_for(lambda: len(lines_of("begun")) == 2)
    (tmp_path / "go").touch()
    wait_for(lambda: row(job_id).state == JobState.DONE)

    assert lines_of("ended") == lines_of("begun")[1:]
    assert row(job_id).attempts == 2


def test_a_worker_hears_of_a_job_without_looking(start_celery, make_job, row, wait_for, tmp_path):
    worker = start_celery(JOBS_SWEEP_INTERVAL=60.0)
    wait_for(lambda: worker.says("at work on jobs"))
    job_id = make_job("probe.mark", folder=str(tmp_path), number=1)
    wait_for(lambda: row(job_id).state == JobState.DONE)

    assert row(job_id).finished_at - row(job_id).created_at < timedelta(seconds=30)


def test_jobs_nobody_was_told_of_are_found(start_celery, configure, lines_of, wait_for, tmp_path):
    configure("")
    for number in range(60):
        enqueue("probe.mark", folder=str(tmp_path), number=number)
    db.session.commit()
    workers = [start_celery(), start_celery()]
    wait_for(lambda: len(lines_of("marked")) >= 60)
    wait_for(lambda: all(worker.says("at work on jobs") for worker in workers))  # and hears signals
    for worker in workers:
        worker.send(signal.SIGTERM)

    assert [worker.wait() for worker in workers] == [0, 0], workers[0].read() + workers[1].read()
    assert Counter(lines_of("marked")) == Counter(str(number) for number in range(60))


def test_a_celery_worker_that_is_stopped_hands_its_job_back(
    start_celery, make_job, row, lines_of, wait_for, tmp_path
):
    job_id = make_job("probe.hold", folder=str(tmp_path))
    worker = start_celery()
    wait_for(lambda: lines_of("begun"))
    worker.process.terminate()

    assert worker.wait() == 0
    assert (row(job_id).state, row(job_id).worker, row(job_id).attempts) == (JobState.RUNNING, None, 0)


def test_a_dead_broker_costs_a_log_line(configure, kinds, row, tmp_path, caplog, start_worker):
    configure(NOWHERE)
    with caplog.at_level(logging.WARNING, logger="core.jobs.wake"):
        ids = []
        for number in range(3):
            ids.append(enqueue("probe.mark", folder=str(tmp_path), number=number).id)
            db.session.commit()

    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "workers could not be told of new jobs, they will find them"
    ]
    assert start_worker("--drain").wait() == 0
    assert {row(job_id).state for job_id in ids} == {JobState.DONE}


def test_one_transaction_sends_few_messages(queue, kinds, tmp_path):
    for number in range(100):
        enqueue("probe.mark", folder=str(tmp_path), number=number)
    assert queue() == 0
    db.session.commit()
    assert 0 < queue() <= 16


def test_a_transaction_that_is_rolled_back_sends_none(queue, kinds, tmp_path):
    enqueue("probe.mark", folder=str(tmp_path), number=1)
    db.session.rollback()
    db.session.commit()
    assert queue() == 0
