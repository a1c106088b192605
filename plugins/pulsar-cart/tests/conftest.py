"""The site with the cart, people who use it, a folder of files, and archives that misbehave."""

import pytest
from archive_server import Archive
from cart_kit import LARGE, SMALL, Guarded, Person, entry
from sqlalchemy import select

import cart
from core.conftest import *  # noqa: F403
from core.conftest import PLUGINS
from core.db import db
from core.hookspecs import hookimpl
from core.jobs import Job, JobState
from core.jobs.run import run_next
from core.site import site_of
from core.users import services

PLUGINS.append(cart)


@pytest.fixture
def settings(app):
    """``settings(CART_ANONYMOUS=True)``, for the length of the test."""
    before = dict(app.config)
    yield app.config.update
    app.config.update(before)


@pytest.fixture
def folder(tmp_path, settings):
    """A folder that is the source ``directory``, and the default one."""
    root = tmp_path / "files"
    root.mkdir()
    settings(CART_DIRECTORY=str(root), CART_DEFAULT_SOURCE="directory")
    return root


@pytest.fixture
def guarded(app):
    """The source ``guarded``, which another plugin offers; see :class:`cart_kit.Guarded`."""
    source = Guarded()

    class Plugin:
        @hookimpl
        def cart_sources(self):
            return {"guarded": source}

    plugin = Plugin()
    site_of(app).hooks.register(plugin)
    yield source
    site_of(app).hooks.unregister(plugin)


@pytest.fixture
def archive(settings):
    """An archive interface that holds nothing yet; see :class:`archive_server.Archive`."""
    with Archive() as made:
        settings(CART_ARCHIVE_URL=made.url, CART_DEFAULT_SOURCE="archive")
        yield made


@pytest.fixture
def small(archive):
    archive.hold("s", SMALL)
    return entry(SMALL, "s")


@pytest.fixture
def large(archive):
    archive.hold("l", LARGE)
    return entry(LARGE, "l")


@pytest.fixture
def people(app, clean_database):
    """``people("ann")``: a user with what class 1 is given."""
    services.grant_defaults("cart")
    db.session.commit()

    def make(name):
        user = services.create_user(name, "correct horse 1!", f"{name}@example.org")
        _, key = services.create_key(user, permanent=True)
        db.session.commit()
        return Person(app, name, key, user.id)

    return make


@pytest.fixture
def ann(people):
    return people("ann")


@pytest.fixture
def work(app, freeze_time):
    """``work()``: do everything that waits, the clock running ahead from pause to pause.

    ``work(turns=1)``: so many jobs at most.
    """
    passed = 0.0

    def run(turns=1000, until=3 * 24 * 3600):
        nonlocal passed
        db.session.rollback()
        while turns and passed < until:
            if run_next(app, f"me {turns}"):
                turns -= 1
                continue
            if not _pending():
                return
            passed += 0.5 if passed < 60 else 30
            freeze_time(passed)

    return run


def _pending():
    db.session.rollback()
    alive = select(Job.id).where(Job.kind == "cart.stage", Job.state.in_((JobState.QUEUED, JobState.RUNNING)))
    return db.session.scalar(alive) is not None
