"""What is written down when something happens, and what is refused."""

import pytest

from core.conftest import add_permissions
from core.db import db
from core.events import CoreEvents, emit
from core.models import Event
from core.plugins import BrokenPlugins
from core.site import site_of


def test_an_event_tells_who_did_what_to_what_and_from_where(caller, stored):
    answer = caller.post("/sample/happen", json={"payload": {"name": "a", "size": 3}})

    (event,) = stored()
    assert answer.status_code == 201
    assert (event.name, event.target, event.payload) == (
        "sample.thing.happened",
        "thing:1",
        {"name": "a", "size": 3},
    )
    assert (event.actor_id, event.actor, event.key_hash) == (1, "user_one", "cdefghijkl")
    assert (event.ip, event.request_id) == ("127.0.0.1", answer.headers["X-Request-Id"])


def test_what_is_rolled_back_did_not_happen(caller, stored):
    assert caller.post("/sample/happen", json={"fails": True}).status_code == 500
    assert stored() == []


def test_addresses_of_some_are_not_written_down(sample, caller, stored):
    add_permissions(sample, "site_no_ip_history")
    caller.post("/sample/happen")
    assert stored()[0].ip == "0.0.0.0"


def test_an_administrator_has_an_address(sample, caller, stored):
    add_permissions(sample, "site_god_mode")
    caller.post("/sample/happen")
    assert stored()[0].ip == "127.0.0.1"


@pytest.mark.parametrize("address", ["1" * 200, "fe80::1%" + "x" * 60])
def test_a_proxy_may_claim_any_address(caller, stored, address):
    assert caller.post("/sample/happen", environ_base={"REMOTE_ADDR": address}).status_code == 201
    assert stored()[0].ip == address[:45]


@pytest.mark.parametrize(
    "payload",
    [
        {"password": "x"},
        {"new_password": "x"},
        {"API_KEY": "x"},
        {"tokens": ["x"]},
        {"webhook": {"secret": "x"}},
        {"rows": [{"cookie": "x"}]},
    ],
)
def test_a_payload_that_looks_like_a_secret_is_refused(app, clean_database, payload):
    with pytest.raises(ValueError, match="looks like a secret"):
        emit(CoreEvents.USER_CHANGED, target="user:1", **payload)
    db.session.commit()
    assert db.session.query(Event).count() == 0


def test_names_of_what_changed_are_no_secrets(app, clean_database):
    emit(CoreEvents.USER_CHANGED, target="user:1", fields=["password"], password_changed=True, key_hash="x")
    db.session.commit()
    assert db.session.query(Event).count() == 1


def test_an_undeclared_event_is_an_error_in_tests_and_a_line_in_the_log_elsewhere(
    app, clean_database, monkeypatch, caplog
):
    monkeypatch.delitem(site_of(app).events, CoreEvents.USER_LOCKED)
    with pytest.raises(LookupError, match=r"core\.user\.locked"):
        emit(CoreEvents.USER_LOCKED, target="user:1")
    monkeypatch.setitem(app.config, "TESTING", False)
    emit(CoreEvents.USER_LOCKED, target="user:1")
    db.session.commit()

    assert db.session.query(Event).one().name == "core.user.locked"
    assert "the event core.user.locked is not declared" in caplog.text


EVENTS = """
    from core.events import EventsEnum

    class Events(EventsEnum):
        ONE = {name!r}, "It happened."
"""


def test_the_loader_knows_the_events_of_plugins(make_plugin, make_site):
    make_plugin("probe", events=EVENTS.format(name="probe.thing.happened"))
    known = site_of(make_site("probe")).events
    assert known["probe.thing.happened"].description == "It happened."
    assert {event.value for event in CoreEvents} < known.keys()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("other.thing.happened", "does not start with probe."),
        ("probe.Thing", "is not words with dots"),
        ("probe", "is not words with dots"),
        ("probe." + "x" * 59, "is not words with dots"),
    ],
)
def test_an_event_of_another_form_stops_the_start(make_plugin, make_site, name, reason):
    make_plugin("probe", events=EVENTS.format(name=name))
    with pytest.raises(BrokenPlugins) as caught:
        make_site("probe")
    (failure,) = caught.value.failures
    assert (failure.plugin, failure.stage) == ("probe", "events")
    assert reason in failure.reason


def test_two_events_of_one_name_stop_the_start(make_plugin, make_site):
    text = EVENTS.format(name="probe.thing")
    make_plugin("probe", events=text + text.replace("class Events", "class More"))
    with pytest.raises(BrokenPlugins, match="two events called"):
        make_site("probe")
