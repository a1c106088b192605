"""The site with the registry, and four people who call it."""

from types import SimpleNamespace

import pytest
from registry_kit import Person

import registry
from core.conftest import *  # noqa: F403
from core.conftest import PLUGINS
from core.db import db
from core.jobs.run import run_next
from core.users import services

PLUGINS.append(registry)


@pytest.fixture
def people(app, clean_database):
    """ann, bob and eve, who may read and push; and nobody, who has no key."""
    made = {}
    for name in ("ann", "bob", "eve"):
        user = services.create_user(name, "correct horse 1!", f"{name}@example.org")
        _, key = services.create_key(user, permanent=True)
        made[name] = (user, key)
    services.grant_defaults("registry")
    db.session.commit()
    found = {}
    for name, (_, key) in made.items():
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
        found[name] = Person(name, client)
        found[name].key = key
    return SimpleNamespace(**found, nobody=Person(None, app.test_client()))


@pytest.fixture
def settings(app):
    """``settings(REGISTRY_ALLOW_PUBLIC=True)``, for the length of the test."""
    before = dict(app.config)
    yield app.config.update
    app.config.update(before)


@pytest.fixture
def public_site(settings):
    settings(REGISTRY_ALLOW_PUBLIC=True)


@pytest.fixture
def work(app):
    """``work()``: do all jobs that wait."""

    def run():
        db.session.rollback()
        while run_next(app, "me"):
            pass

    return run
