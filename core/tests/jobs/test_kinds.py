"""Kinds of job: what is refused before anything is stored."""

import types

import pytest
from sqlalchemy import func, select

from core.db import db
from core.jobs import Job, JobKind, collect, enqueue, job


@job("probe.send", backoff=10.0)
def send(task, address, *, copies=1):
    """A job with arguments."""


def count_jobs():
    return db.session.scalar(select(func.count(Job.id)))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"address": "a", "colour": "red"},
        {"address": {1, 2}},
        {"address": float("nan")},
        {"address": "a", "task": 1},
    ],
)
def test_arguments_that_do_not_fit_are_refused_and_nothing_is_stored(kinds, arguments):
    kinds["probe.send"] = send

    with pytest.raises(TypeError, match=r"probe\.send"):
        enqueue(send, **arguments)
    assert count_jobs() == 0


def test_arguments_that_fit_are_read_back_as_they_were(kinds, make_job, row):
    kinds["probe.send"] = send
    given = {"address": "Zoë", "copies": 2}

    assert row(make_job("probe.send", **given)).arguments == given


def test_a_kind_that_no_plugin_has_is_refused(kinds):
    with pytest.raises(LookupError, match=r"probe\.send"):
        enqueue(send, address="a")


@pytest.mark.parametrize(
    "name", ["sweep", "Probe.sweep", "probe.", ".sweep", "probe." + "x" * 60, "probe sweep"]
)
def test_a_kind_needs_a_name_with_its_plugin_in_front(name):
    with pytest.raises(ValueError, match="name"):
        job(name)(lambda task: None)


def test_an_argument_cannot_be_called_like_an_option_of_enqueue():
    with pytest.raises(ValueError, match="priority"):
        job("probe.sweep")(lambda task, priority: None)


def test_a_periodic_kind_takes_no_arguments():
    with pytest.raises(TypeError, match="address"):
        job("probe.sweep", every=60)(lambda task, address: None)


def test_kinds_are_collected_from_a_module_and_a_name_belongs_to_one():
    module = types.ModuleType("jobs")
    module.first = module.again = JobKind("probe.a", lambda task: None)
    module.other = JobKind("probe.b", lambda task: None)

    assert collect(module) == {"probe.a": module.first, "probe.b": module.other}
    module.other = JobKind("probe.a", lambda task: None)
    with pytest.raises(ValueError, match=r"probe\.a"):
        collect(module)


def test_each_pause_is_about_twice_the_one_before_and_at_most_an_hour():
    pauses = [send.pause(attempt) for attempt in range(1, 40)]

    assert all(0.75 <= pause / 10 / 2**n <= 1.25 for n, pause in enumerate(pauses[:8]))
    assert max(pauses) <= 3600 * 1.25


@pytest.mark.parametrize("name", ["core.prune_jobs", "core.sweep_blobs", "core.verify_blobs"])
def test_core_brings_its_own_kinds(kinds, name):
    assert kinds[name].every
