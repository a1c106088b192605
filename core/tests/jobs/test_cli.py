"""``flask jobs``."""

import json

import pytest

from core.cli.jobs import jobs
from core.db import db
from core.jobs import Job, JobState

pytestmark = pytest.mark.any_database


@pytest.fixture
def flask_jobs(runner, kinds):
    """``flask_jobs("list", "--json")``: the finished command."""

    def run(*arguments):
        result = runner.invoke(jobs, arguments)
        db.session.rollback()
        return result

    return run


@pytest.fixture
def job_id(make_kind, make_job):
    return make_job(make_kind(lambda task, n: n), owner_id=1, n=3)


def test_jobs_are_listed_for_people_and_programs(flask_jobs, job_id):
    text, found = flask_jobs("list"), flask_jobs("list", "--state", "queued", "--json")

    assert (text.exit_code, found.exit_code) == (0, 0)
    assert text.stdout.split()[:2] == [str(job_id), "queued"]
    assert [job["id"] for job in json.loads(found.stdout)] == [job_id]
    assert json.loads(flask_jobs("list", "--state", "failed", "--json").stdout) == []


def test_one_job_is_shown_with_its_arguments(flask_jobs, job_id):
    assert "{'n': 3}" in flask_jobs("show", str(job_id)).stdout
    assert json.loads(flask_jobs("show", str(job_id), "--json").stdout)["owner"] == "user_one"


def test_cancel_then_retry_then_work(flask_jobs, job_id, row):
    assert flask_jobs("cancel", str(job_id)).stdout == f"job {job_id} is cancelled\n"
    again = int(flask_jobs("retry", str(job_id)).stdout)
    worked = flask_jobs("work", "--drain")

    assert worked.exit_code == 0
    assert row(again).state == JobState.DONE
    assert (row(again).result, row(again).retry_of) == (3, job_id)
    assert row(job_id).state == JobState.CANCELLED


def test_old_jobs_are_pruned(flask_jobs, job_id):
    flask_jobs("cancel", str(job_id))

    assert flask_jobs("prune", "--older-than", "1").stdout == "deleted 0 jobs\n"
    assert flask_jobs("prune", "--older-than", "0").stdout == "deleted 1 jobs\n"
    assert db.session.get(Job, job_id) is None


@pytest.mark.parametrize("command", ["show", "cancel", "retry"])
def test_a_job_that_is_not_there_is_one_line_and_status_1(flask_jobs, command):
    result = flask_jobs(command, "999")

    assert result.exit_code == 1
    assert result.stderr == "Error: Job 999 does not exist.\n"


@pytest.mark.parametrize(
    "arguments",
    [["show"], ["show", "x"], ["list", "--state", "lost"], ["work", "--threads", "0"], ["celery"]],
)
def test_wrong_use_is_status_2(flask_jobs, arguments):
    assert flask_jobs(*arguments).exit_code == 2
