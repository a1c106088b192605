"""``/jobs``: who sees what, and its cancellation."""

import pytest
from sqlalchemy import insert

from core.conftest import KEY_OF_USER_2, add_permissions
from core.db import db, now
from core.errors import Conflict
from core.identity import Identity
from core.jobs import Job, JobState
from core.jobs.queue import claim
from core.jobs.services import retry_job

pytestmark = pytest.mark.any_database


@pytest.fixture
def kind(make_kind):
    return make_kind(lambda task, n=0: n, max_attempts=1, lease=60)


@pytest.fixture
def jobs(kind, make_job):
    """Ids of a job of user 1, one of user 2 and one of the site."""
    return [make_job(kind, owner_id=owner) for owner in (1, 2, None)]


def ids(answer):
    assert answer.status_code == 200, answer.json
    return [job["id"] for job in answer.json["response"]]


def test_a_job_as_its_owner_sees_it(authed_client, kind, make_job, row):
    job_id = make_job(kind, owner_id=1, n=2)

    assert authed_client.get(f"/jobs/{job_id}").json["response"] == {
        "id": job_id,
        "kind": kind.name,
        "state": "queued",
        "progress": {"done": 0, "total": None, "unit": None},
        "attempts": 0,
        "created": int(row(job_id).created_at.timestamp()),
        "started": None,
        "finished": None,
        "error": None,
        "result": None,
        "owner": "user_one",
    }


def test_one_sees_ones_own_jobs_and_with_a_permission_all(app, authed_client, jobs):
    assert ids(authed_client.get("/jobs")) == [jobs[0]]
    add_permissions(app, "jobs_view_others")
    assert ids(authed_client.get("/jobs")) == jobs[::-1]
    assert authed_client.get(f"/jobs/{jobs[2]}").json["response"]["owner"] is None


def test_a_job_of_others_looks_like_one_that_is_not_there(authed_client, jobs):
    missing = max(jobs) + 1
    for method in (authed_client.get, authed_client.delete):
        for job_id in (jobs[1], jobs[2], missing):
            answer = method(f"/jobs/{job_id}")
            assert (answer.status_code, answer.json["response"]) == (404, f"Job {job_id} does not exist.")
            assert answer.json["error"]["code"] == "not_found"


def test_without_a_login_there_is_nothing(client, jobs):
    for path in ("/jobs", f"/jobs/{jobs[0]}"):
        assert client.get(path).status_code == 401


def test_pages_are_full_although_others_have_jobs(authed_client, kind, query_counter):
    moment = now()
    rows = [
        {"kind": kind.name, "owner_id": 1 + n % 2, "created_at": moment, "due_at": moment} for n in range(120)
    ]
    db.session.execute(insert(Job), rows)
    db.session.commit()
    authed_client.get("/jobs")
    with query_counter() as statements:
        first = authed_client.get("/jobs?limit=25")
    second = authed_client.get("/jobs?limit=25&page=2")

    assert len(ids(first)) == len(ids(second)) == 25
    assert not set(ids(first)) & set(ids(second))
    assert first.headers["X-Total-Count"] == "60"
    assert 'rel="next"' in first.headers["Link"]
    assert ids(authed_client.get("/jobs?page=9")) == []
    assert len([text for text in statements if text.startswith("SELECT")]) <= 3


def test_jobs_are_filtered(authed_client, kind, make_kind, make_job):
    other = make_kind(lambda task: None, priority=9)
    queued, running = make_job(kind, owner_id=1), make_job(other, owner_id=1)
    claim("me")

    assert ids(authed_client.get("/jobs?state=queued")) == [queued]
    assert ids(authed_client.get("/jobs?state=running")) == [running]
    assert ids(authed_client.get(f"/jobs?kind={other.name}")) == [running]
    assert ids(authed_client.get("/jobs?state=done")) == []


@pytest.mark.parametrize(
    "query", ["state=lost", "page=0", "limit=7", "colour=red", "kind=", "kind=" + "x" * 65]
)
def test_a_query_that_makes_no_sense_is_refused(authed_client, query):
    answer = authed_client.get(f"/jobs?{query}")

    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json["response"]


def test_a_waiting_job_is_cancelled_at_once_and_only_once(authed_client, kind, make_job, row):
    job_id = make_job(kind, owner_id=1, unique_key="k")
    answer = authed_client.delete(f"/jobs/{job_id}")

    assert (answer.status_code, answer.json["response"]["state"]) == (200, "cancelled")
    assert answer.json["response"]["finished"] is not None
    assert row(job_id).unique_key is None
    assert claim("me") is None
    again = authed_client.delete(f"/jobs/{job_id}")
    assert (again.status_code, again.json["response"]) == (409, f"Job {job_id} is already cancelled.")


def test_a_job_under_way_is_asked_to_stop(authed_client, kind, make_job, row):
    job_id = make_job(kind, owner_id=1)
    claim("me")
    answer = authed_client.delete(f"/jobs/{job_id}")

    assert (answer.status_code, answer.json["response"]["state"]) == (200, "running")
    assert row(job_id).cancel_requested


def test_cancelling_for_others_takes_a_permission_of_its_own(app, authed_client, jobs):
    add_permissions(app, "jobs_view_others")
    assert authed_client.delete(f"/jobs/{jobs[1]}").status_code == 403
    add_permissions(app, "jobs_cancel_others")
    assert authed_client.delete(f"/jobs/{jobs[1]}").json["response"]["state"] == "cancelled"


def test_a_key_of_someone_else_does_not_help(client_of, jobs):
    assert ids(client_of(KEY_OF_USER_2).get("/jobs")) == [jobs[1]]


def test_a_number_that_no_id_can_have_is_not_found(authed_client, kinds):
    assert authed_client.get(f"/jobs/{10**30}").status_code == 404
    assert authed_client.delete(f"/jobs/{10**30}").status_code == 404


def test_a_retry_is_a_new_job_that_names_the_old_one(kind, make_job, row):
    owner = Identity(user_id=1)
    old = make_job(kind, owner_id=1, n=7)
    with pytest.raises(Conflict, match="only a failed or cancelled job"):
        retry_job(owner, old)
    db.session.get_one(Job, old).state = JobState.FAILED
    db.session.commit()
    new = retry_job(owner, old).id
    db.session.commit()

    assert (row(new).retry_of, row(new).arguments, row(new).owner_id) == (old, {"n": 7}, 1)
    assert (row(new).state, row(old).state) == (JobState.QUEUED, JobState.FAILED)
