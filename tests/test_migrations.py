"""The migrations of core and of every plugin of this repository, in every combination, on every database."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import forked
import pytest
from sqlalchemy import delete, select

from core.app import create_app
from core.db import db
from core.migrations.graph import Graph, read_folder
from core.migrations.operations import upgrade_all
from core.migrations.trial import try_migrations
from core.plugins import find_plugins
from core.site import site_of
from core.users.models import ClassPermission

ROOT = Path(__file__).parents[1]
OURS = {name: plugin for name, plugin in find_plugins().items() if plugin.package.is_relative_to(ROOT)}
PLUGINS = [name for name in OURS if name != "core"]
SUBSETS = [subset for size in range(len(PLUGINS) + 1) for subset in combinations(PLUGINS, size)]


@pytest.fixture
def instance(tmp_path):
    (tmp_path / "config.py").write_text("SECRET_KEY = 'a secret for tests'\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("subset", SUBSETS, ids=lambda subset: "+".join(subset) or "core")
def test_any_set_of_plugins_goes_up_agrees_with_its_models_goes_down_and_up_again(subset, address, instance):
    app = create_app(instance, TESTING=True, SQLALCHEMY_DATABASE_URI=address, PLUGINS=list(subset))
    try:
        try_migrations(app)
    finally:
        with app.app_context():
            db.engine.dispose()


@pytest.mark.parametrize("name", OURS)
def test_revisions_have_one_head_and_import_nothing_of_their_plugin(name):
    plugin = OURS[name]
    revisions = read_folder(name, plugin.versions)

    assert len(Graph(revisions).heads(name)) <= 1
    for revision in revisions:
        text = revision.path.read_text("utf-8")
        for module in {other.module_name for other in OURS.values()}:
            assert f"import {module}" not in text
            assert f"from {module}" not in text


def test_ordinary_users_get_the_permissions_of_plugins_that_are_new(address, instance):
    app = create_app(instance, TESTING=True, SQLALCHEMY_DATABASE_URI=address, PLUGINS=PLUGINS)
    wanted = {name for name, permission in site_of(app).permissions.items() if permission.for_users}
    with app.app_context():
        upgrade_all()
        assert set(db.session.scalars(select(ClassPermission.permission))) == wanted
        db.session.execute(delete(ClassPermission))
        db.session.commit()
        upgrade_all()  # an administrator who took them away is not overruled
        assert db.session.scalar(select(ClassPermission.permission)) is None
        db.session.close()
        db.engine.dispose()


@pytest.fixture
def environment(instance):
    return {**os.environ, "PULSAR_INSTANCE_PATH": str(instance)}


def test_the_command_works_from_any_folder(environment, tmp_path):
    environment["PULSAR_SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / 'site.db'}"
    command = [sys.executable, "-m", "flask", "--app", "core.app:create_app", "db", "upgrade"]
    for cwd in (tmp_path, ROOT, ROOT / "core"):
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        last = done.stdout.strip().splitlines()[-1]
        assert last == "Every enabled plugin is at its head." or "core: upgraded" in done.stdout
        assert done.stderr == ""


def test_two_upgrades_at_once_leave_the_database_in_order(address, environment):
    def upgrade(_):
        return forked.run(
            ["--app", "core.app:create_app", "db", "upgrade"],
            cwd=ROOT,
            env=environment | {"PULSAR_SQLALCHEMY_DATABASE_URI": address},
            timeout=120,
        )

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(upgrade, range(2)))
    codes = [done.returncode for done in both]
    if address.startswith("sqlite"):  # no lock to wait for: one may be refused at its first statement
        assert 0 in codes, both
    else:
        assert codes == [0, 0], both

    third = upgrade(0)
    assert (third.returncode, third.stdout) == (0, "Every enabled plugin is at its head.\n"), third.stderr


def test_a_site_that_requires_it_serves_only_when_it_is_migrated(address, instance):
    app = create_app(
        instance, TESTING=True, SQLALCHEMY_DATABASE_URI=address, PLUGINS=PLUGINS, REQUIRE_MIGRATED=True
    )
    client = app.test_client()

    refused = client.get("/api/spec.json")
    assert (refused.status_code, refused.json["response"]) == (503, "A migration of the database is pending.")
    assert client.get("/health").json["response"]["migrations"].startswith("pending: core")

    with app.app_context():
        upgrade_all()
    assert client.get("/api/spec.json").status_code == 200
    with app.app_context():
        db.engine.dispose()
