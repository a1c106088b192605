"""Events that happen, and the worker that does what follows from them."""

import pytest

from core.conftest import KEY_OF_USER_1
from core.db import db, now
from core.hookspecs import hookimpl
from core.jobs.run import run_next, worker_name
from core.models import Event
from core.site import site_of


@pytest.fixture
def caller(sample):
    """User 1 at the sample site."""
    client = sample.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Token {KEY_OF_USER_1}"
    return client


@pytest.fixture
def make_listener(sample):
    """``make_listener("probe", function)``: a plugin whose listener is ``function(event)``; what it heard."""
    hooks, names = site_of(sample).hooks, []

    def make(name, function=lambda event: None):
        heard = []

        class Listener:
            @hookimpl
            def event(self, name, payload, event):
                heard.append((name, payload, event))
                function(event)

        hooks.register(Listener(), name)
        names.append(name)
        return heard

    yield make
    for name in names:
        hooks.unregister(name=name)


@pytest.fixture
def work():
    """``work(app)``: do all jobs that are due, as a worker does them; how many attempts there were."""

    def run(app, clock=now):
        attempts = 0
        while run_next(app, worker_name(), clock=clock):
            attempts += 1
        return attempts

    return run


@pytest.fixture
def stored(sample):
    """``stored()``: the events of the sample site, oldest first."""

    def read():
        with sample.app_context():
            events = db.session.query(Event).order_by(Event.id).all()
            db.session.expunge_all()
            return events

    return read
