"""``flask dev createdb`` and ``insertdata``, with the plugins of this repository, on every database."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import forked
import pytest
import sqlalchemy as sa

from core.app import create_app
from core.conftest import KEY_OF_USER_1, KEY_OF_USER_2
from core.db import db

ROOT = Path(__file__).parents[1]


@pytest.fixture
def site(address, tmp_path):
    """``site.flask("db", "upgrade")``, ``site.sql("SELECT 1")``: on an empty database."""
    instance = tmp_path / "instance"
    instance.mkdir()
    (instance / "config.py").write_text("SECRET_KEY = 'for this test'\nPLUGINS = ['registry']\n")
    environment = {
        **os.environ,
        "PULSAR_INSTANCE_PATH": str(instance),
        "PULSAR_SQLALCHEMY_DATABASE_URI": address,
        "PULSAR_ARGON2_PARAMETERS": '{"time_cost": 1, "memory_cost": 8, "parallelism": 1}',
    }
    engine = sa.create_engine(address)

    def flask(*arguments, input="", **more):
        return forked.run(arguments, cwd=ROOT, env=environment | more, input=input, timeout=120)

    def sql(statement):
        with engine.begin() as connection:
            result = connection.execute(sa.text(statement))
            return [tuple(row) for row in result] if result.returns_rows else []

    yield SimpleNamespace(flask=flask, sql=sql, instance=instance, address=address)
    engine.dispose()


@pytest.mark.any_database
def test_a_shell_knows_the_app_and_every_model(site):
    lines = "print(app.name, db.session.get(User, 3).username, Package.__table__)\n"
    succeeded(site.flask("dev", "insertdata", "--yes-i-know"))
    done = site.flask("shell", input=lines)
    assert done.returncode == 0
    assert "pulsar user_three registry_packages" in done.stdout


def succeeded(done):
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(done, words):
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert words in done.stderr


def test_a_database_is_made_at_once_and_migrations_go_on_from_there(site):
    succeeded(site.flask("dev", "createdb"))

    assert succeeded(site.flask("db", "upgrade")) == "Every enabled plugin is at its head.\n"
    assert succeeded(site.flask("db", "check")) == "Models and database agree.\n"
    # As after migrations, ordinary people have what the plugin gives them.
    assert ("registry_read",) in site.sql("SELECT permission FROM core_class_permissions")
    refused(site.flask("dev", "createdb"), "the database is not empty")


@pytest.mark.any_database
def test_data_are_inserted_and_inserted_again(site):
    refused(site.flask("dev", "insertdata"), "say --yes-i-know, or set DEBUG")
    assert "registry: wrote its data\n" in succeeded(site.flask("dev", "insertdata", "--yes-i-know"))
    site.sql("DELETE FROM registry_tags")
    said = succeeded(site.flask("dev", "insertdata", PULSAR_DEBUG="true"))
    assert site.sql("SELECT name FROM registry_tags") == [("latest",)]

    app = create_app(site.instance, SQLALCHEMY_DATABASE_URI=site.address, TESTING=True)
    for key, status in ((KEY_OF_USER_1, 200), (KEY_OF_USER_2, 403)):
        assert key in said
        answer = app.test_client().get("/plugins", headers={"Authorization": f"Token {key}"})
        assert answer.status_code == status
    with app.app_context():
        db.engine.dispose()
    assert site.sql("SELECT COUNT(*) FROM core_api_keys WHERE permanent") == [(2,)]
    states = json.loads(succeeded(site.flask("db", "status", "--json")))
    assert [state["pending"] for state in states if state["state"] == "enabled"] == [[], []]


@pytest.mark.any_database
def test_a_site_in_use_keeps_what_it_has(site):
    again = ("dev", "insertdata", "--yes-i-know")
    succeeded(site.flask(*again))
    site.sql("DELETE FROM registry_tags")

    site.sql("UPDATE core_users SET username = 'ann' WHERE id = 1")
    refused(site.flask(*again), "user 1 is called ann, not user_one")
    site.sql("UPDATE core_users SET username = 'user_one' WHERE id = 1")

    columns = "email, password, enabled, locked, user_class_id, created_at"
    for number in range(8):
        site.sql(
            f"INSERT INTO core_users (username, username_key, {columns}) "
            f"SELECT 'more_{number}', 'more_{number}', {columns} FROM core_users WHERE id = 2"
        )
    refused(site.flask(*again), "there are 11 users")
    site.sql("DELETE FROM core_users WHERE username LIKE 'more%'")

    site.sql("CREATE TABLE strangers (id INTEGER)")
    refused(site.flask(*again), "no installed plugin's: strangers")
    assert site.sql("SELECT COUNT(*) FROM core_users") == [(3,)]
    assert site.sql("SELECT * FROM registry_tags") == []

    site.sql("DROP TABLE strangers")
    succeeded(site.flask(*again))
    assert site.sql("SELECT name FROM registry_tags") == [("latest",)]
