"""Plugins hear of events: after the commit, each for itself, at least once."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import event, insert, update

from core import listeners
from core.db import db, now
from core.jobs.queue import create_periodic_jobs
from core.models import Event


@pytest.fixture
def told(sample):
    """``told()``: when all of what was committed has been told."""

    def wait():
        with sample.app_context():
            listeners.wait()

    return wait


def raise_error(event):
    raise RuntimeError("out of order")


def test_listeners_hear_of_what_is_stored(make_listener, caller, told, stored):
    found = []
    heard = make_listener("probe", lambda event: found.append(db.session.get(Event, event.id).id))
    for number in range(3):
        caller.post("/sample/happen", json={"payload": {"number": number}})
    told()

    assert [(name, payload, event.target) for name, payload, event in heard] == [
        ("sample.thing.happened", {"number": number}, "thing:1") for number in range(3)
    ]
    assert found == [event.id for event in stored()]
    assert [event for event in stored() if event.delivered_at is None] == []


def test_nobody_hears_of_what_was_rolled_back(make_listener, sample, caller, told):
    heard = make_listener("probe")
    caller.post("/sample/happen", json={"fails": True})
    told()
    assert heard == []


def test_a_listener_that_fails_is_named_and_undone_and_the_others_still_hear(
    make_listener, sample, caller, told, stored, caplog
):
    def count(event):
        db.session.execute(update(Event).values(target="spoilt"))

    def count_and_fail(event):
        count(event)
        raise_error(event)

    others = make_listener("first"), make_listener("last")
    make_listener("broken", count_and_fail)
    caller.post("/sample/happen")
    told()

    assert [len(heard) for heard in others] == [1, 1]
    assert "broken: its listener failed" in caplog.text
    assert (stored()[0].target, stored()[0].delivered_at is None) == ("thing:1", False)


def test_what_a_listener_writes_is_stored(make_listener, sample, caller, told):
    counter = sample.extensions["pulsar"].plugins["sample"].submodule("models").Counter
    make_listener("probe", lambda event: setattr(db.session.get(counter, 1), "value", event.id))
    caller.post("/sample/happen")
    told()
    assert sample.counted() > 0


def test_what_a_listener_does_to_an_event_stays_with_it(make_listener, caller, told, stored):
    def spoil(event):
        event.target = "spoilt"
        event.payload["size"] = 4

    make_listener("first", spoil)
    last = make_listener("last", spoil)
    caller.post("/sample/happen", json={"payload": {"size": 3}})
    told()
    assert (stored()[0].target, stored()[0].payload) == ("thing:1", {"size": 3})
    assert len(last) == 1


def test_an_answer_does_not_wait_for_listeners(make_listener, caller, told):
    go = threading.Event()
    heard = make_listener("slow", lambda event: go.wait(60))
    assert caller.post("/sample/happen").status_code == 201
    assert caller.post("/sample/happen").status_code == 201
    assert len(heard) < 2
    go.set()
    told()
    assert len(heard) == 2


def test_without_listeners_an_event_is_one_insert(sample, caller, stored):
    caller.post("/sample/happen")
    statements = []

    def note(_connection, _cursor, statement, *_):
        statements.append(statement)

    with sample.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    caller.post("/sample/happen")

    assert [s.split(" (")[0] for s in statements if not s.startswith("SELECT")] == ["INSERT INTO core_events"]
    assert all(event.delivered_at == event.happened_at for event in stored())


def leave(app, **ages):
    """Rows as a process leaves them that died between the commit and the listeners; ages in seconds."""
    with app.app_context():
        for target, age in ages.items():
            moment = now() - timedelta(seconds=age)
            db.session.execute(
                insert(Event).values(name="sample.thing.happened", happened_at=moment, target=target)
            )
        db.session.commit()


def test_what_a_crash_left_over_is_told_later(make_listener, sample, work, stored):
    heard = make_listener("probe")
    leave(sample, old=61, older=3600, present=5)
    with sample.app_context():
        create_periodic_jobs()
    work(sample)

    assert [event.target for _, _, event in heard] == ["old", "older"]
    assert {event.target: event.delivered_at is None for event in stored()} == {
        "old": False,
        "older": False,
        "present": True,
    }


def test_left_overs_for_listeners_that_are_gone_are_put_away(sample, work, stored):
    leave(sample, old=61)
    with sample.app_context():
        create_periodic_jobs()
    work(sample)
    assert stored()[0].delivered_at is not None


def test_more_than_one_batch_is_told(make_listener, sample, work, monkeypatch):
    monkeypatch.setattr(listeners, "BATCH", 2)
    heard = make_listener("probe", raise_error)
    leave(sample, **{f"thing-{n}": 100 + n for n in range(5)})
    with sample.app_context():
        create_periodic_jobs()
    work(sample)
    assert len(heard) == 5
