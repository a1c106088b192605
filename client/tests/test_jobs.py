"""pulsar job: what the site does in the background."""

import json

import pytest

from pulsar_client.errors import ConfigurationError, Conflict, NotFound, ProtocolError


@pytest.fixture
def jobs(site):
    """Of 130 jobs the first is done, the last one queued, and the others run."""
    progress = {"done": 3, "total": 12, "unit": "channels"}
    for number in range(130):
        job = {"id": number, "kind": "probe.measure", "state": "running", "progress": progress, "attempts": 1}
        job |= {"created": 1, "started": 2, "finished": None, "error": None, "result": None, "owner": "demo"}
        site.more.jobs.append(job)
    site.more.jobs[0] |= {"state": "done", "finished": 3, "result": {"measured": 12}, "owner": None}
    nothing = {"done": 0, "total": None, "unit": None}
    site.more.jobs[-1] |= {"state": "queued", "kind": "other", "started": None, "progress": nothing}
    return site.more.jobs


def test_jobs_are_listed_over_all_pages(site, client, jobs):
    found = client.jobs.list(limit=1000)
    assert [job.id for job in found] == list(range(129, -1, -1))
    assert site.count("GET /jobs") == 2
    assert [job.id for job in client.jobs.list(limit=3)] == [129, 128, 127]
    assert site.count("GET /jobs") == 3
    assert [job.id for job in client.jobs.list(kind="other")] == [129]
    assert [job.id for job in client.jobs.list(state="done")] == [0]
    with pytest.raises(ConfigurationError, match="no state of a job"):
        client.jobs.list(state="asleep")


def test_a_job_that_comes_between_two_pages_is_not_shown_twice(site, client, jobs, monkeypatch):
    asked = client.registry.http.get_json

    def ask(*args, **options):
        answer = asked(*args, **options)
        jobs.append({**jobs[-1], "id": jobs[-1]["id"] + 1})
        return answer

    monkeypatch.setattr(client.registry.http, "get_json", ask)
    assert len({job.id for job in client.jobs.list(limit=1000)}) == 130


def test_jobs_on_the_command_line(pulsar, jobs):
    status, out, err = pulsar("job", "list", "-n", "2")
    assert (status, err) == (0, "The newest 2; there may be more.\n")
    assert [line.split("  ") for line in out.splitlines()][1] == [
        "128", "running", "3 of 12 channels", "1970-01-01 00:00:01 UTC", "probe.measure", "demo"
    ]  # fmt: skip
    assert json.loads(pulsar("job", "show", "0", "--json")[1])["result"] == {"measured": 12}
    assert pulsar("job", "show", "0")[1].splitlines() == [
        "probe.measure 0 of the site: done",
        "progress  3 of 12 channels",
        "attempts  1",
        "created   1970-01-01 00:00:01 UTC",
        "started   1970-01-01 00:00:02 UTC",
        "finished  1970-01-01 00:00:03 UTC",
        "result    {'measured': 12}",
    ]
    assert pulsar("job", "show", "999") == (1, "", "pulsar: Job 999 does not exist.\n")
    assert pulsar("job", "list", "--state", "asleep")[0] == 2


def test_a_job_is_cancelled(site, pulsar, client, jobs):
    assert pulsar("job", "cancel", "129") == (0, "", "Job 129 is cancelled.\n")
    assert pulsar("job", "cancel", "1") == (0, "", "Job 1 was told to stop.\n")
    with pytest.raises(Conflict, match="It is finished"):
        client.jobs.cancel(129)
    with pytest.raises(NotFound):
        client.jobs.cancel(999)


def test_a_job_whose_cancelling_was_not_acknowledged_is_cancelled(site, client, jobs):
    site.lose_answer = True
    assert client.jobs.cancel(129).state == "cancelled"
    assert not site.lose_answer


@pytest.mark.parametrize(
    ("key", "value"),
    [("id", "7"), ("id", True), ("kind", 5), ("state", "asleep"), ("progress", []), ("attempts", None),
     ("created", "now"), ("created", float("nan")), ("created", 1e300), ("finished", -1), ("error", {}),
     ("owner", 5)],
)  # fmt: skip
def test_a_job_that_cannot_be_read_is_refused(site, client, jobs, key, value):
    jobs[-1][key] = value
    with pytest.raises(ProtocolError):
        client.jobs.list()


@pytest.mark.parametrize("answer", [[], {"response": {}}, {"response": [5]}, {"response": None}])
def test_an_answer_without_jobs_is_refused(site, client, answer):
    site.more.answers["GET /jobs"] = (200, answer)
    with pytest.raises(ProtocolError):
        client.jobs.list()
