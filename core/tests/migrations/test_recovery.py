"""Plugins that vanish, come back, or were cut in the middle."""

import json

import pytest

from core.db import db
from core.migrations import after_first_install, pending


@pytest.fixture
def family(workshop):
    """alpha; beta, which stands on alpha."""
    for name in ("alpha", "beta"):
        workshop.make(name)
    workshop.table("alpha", "alpha_things")
    workshop.table("beta", "beta_notes", parent="alpha_things", needs="alpha_0001")
    return workshop


@pytest.fixture
def without_beta(any_bench, family):
    """beta was migrated and holds a row; then its code went away."""
    any_bench.enable("alpha", "beta")
    any_bench.ok("db", "upgrade")
    any_bench.execute("INSERT INTO alpha_things (id) VALUES (1)")
    any_bench.execute("INSERT INTO beta_notes (id, parent_id) VALUES (7, 1)")
    family.uninstall("beta")
    any_bench.enable("alpha")
    return any_bench


def test_every_command_that_needs_the_database_explains_a_vanished_plugin(without_beta):
    for command in (
        ("upgrade",),
        ("current",),
        ("downgrade", "alpha@base"),
        ("history", "-i"),
        ("check",),
        ("stamp",),
    ):
        line = without_beta.refused("db", *command)
        assert "beta 0.1 was migrated to beta_0001 and is not installed any more" in line
        assert "flask plugin forget beta" in line
    for command in (("upgrade", "alpha"), ("downgrade", "alpha"), ("revision", "alpha", "-m", "x")):
        assert "flask plugin forget beta" in without_beta.refused("plugin", *command)


def test_status_still_knows_where_everyone_stands(without_beta):
    found = {line["name"]: line for line in json.loads(without_beta.ok("db", "status", "--json"))}

    assert found["alpha"]["current"] == "alpha_0001"
    assert (found["beta"]["state"], found["beta"]["current"]) == ("vanished", "beta_0001")
    assert "forget beta" in found["beta"]["problem"]
    assert "beta 0.1 was migrated" in pending(without_beta.app).problem


def test_forgetting_puts_back_the_rows_that_were_absorbed_and_keeps_the_tables(without_beta):
    said = without_beta.ok("plugin", "forget", "beta")

    assert "tables kept: beta_notes" in said
    assert "put back alpha_0001" in said
    assert without_beta.heads() == {"alpha_0001"}
    assert without_beta.rows("SELECT id FROM beta_notes") == [(7,)]
    without_beta.ok("db", "upgrade")
    assert "forgotten" in without_beta.ok("db", "status")
    assert "forgotten already" in without_beta.refused("plugin", "forget", "beta")


def test_a_plugin_that_comes_back_finds_its_tables_and_takes_them_up(without_beta, family):
    without_beta.ok("plugin", "forget", "beta")
    family.install("beta")
    without_beta.enable("alpha", "beta")
    family.revision("beta", 2, up='op.add_column("beta_notes", sa.Column("text", sa.Text))')

    line = without_beta.refused("db", "upgrade")
    assert "its tables are there (beta_notes)" in line
    assert "flask plugin upgrade beta --adopt" in line
    assert without_beta.heads() == {"alpha_0001"}

    without_beta.ok("plugin", "upgrade", "beta", "--adopt")
    assert without_beta.recorded() == {"alpha": "alpha_0001", "beta": "beta_0002"}
    assert without_beta.rows("SELECT id, text FROM beta_notes") == [(7, None)]
    without_beta.ok("db", "upgrade")


def test_reinstalling_without_forgetting_is_enough(without_beta, family):
    family.install("beta")

    without_beta.ok("db", "upgrade")

    assert without_beta.recorded() == {"alpha": "alpha_0001", "beta": "beta_0001"}


def test_what_an_installed_plugin_stands_on_cannot_be_forgotten(bench, family):
    bench.enable("alpha", "beta")
    bench.ok("db", "upgrade")
    family.uninstall("alpha")
    bench.enable("beta")

    line = bench.refused("db", "upgrade")
    assert "beta" in line
    assert "beta_0001 depends on alpha_0001, which no installed plugin has" in line
    assert "installed plugins stand on alpha: beta" in bench.refused("plugin", "forget", "alpha")

    family.uninstall("beta")
    bench.ok("plugin", "forget", "beta")
    bench.ok("plugin", "forget", "alpha")
    assert bench.heads() == set()


def test_two_that_vanished_are_forgotten_in_any_order(bench, family):
    bench.enable("alpha", "beta")
    bench.ok("db", "upgrade")
    family.uninstall("alpha")
    family.uninstall("beta")
    bench.enable()

    bench.ok("plugin", "forget", "alpha")
    assert "forget beta" in bench.refused("db", "upgrade")
    bench.ok("plugin", "forget", "beta")
    bench.ok("db", "upgrade")

    family.install("alpha")
    family.install("beta")
    bench.enable("alpha", "beta")
    bench.ok("plugin", "upgrade", "alpha", "--adopt")
    bench.ok("plugin", "upgrade", "beta", "--adopt")
    assert bench.heads() == {"beta_0001"}


def test_an_installed_plugin_is_not_forgotten(bench, family):
    assert "flask plugin downgrade beta" in bench.refused("plugin", "forget", "beta")
    assert "nothing is recorded" in bench.refused("plugin", "forget", "delta", status=2)


def test_an_older_version_of_a_plugin_says_which_one_is_needed(bench, family):
    family.revision("beta", 2)
    bench.enable("alpha", "beta")
    bench.ok("db", "upgrade")
    (family.root / "pulsar-beta" / "versions" / "beta_0002.py").unlink()

    assert "does not have that revision: install 0.1 again" in bench.refused("db", "upgrade")


def test_an_installed_plugin_that_misses_another_harms_nobody_while_it_is_disabled(bench, family):
    family.uninstall("alpha")
    family.make("gamma")
    family.table("gamma", "gamma_points")
    bench.enable("gamma")

    bench.ok("db", "upgrade")

    assert bench.recorded() == {"gamma": "gamma_0001"}
    assert "no installed plugin has" in bench.ok("db", "status")


def test_a_revision_that_is_not_python_is_named(bench, family):
    (family.root / "pulsar-beta" / "versions" / "beta_0001.py").write_text("revision = (")
    bench.enable("alpha")
    bench.ok("db", "upgrade")

    bench.enable("alpha", "beta")
    assert "beta_0001.py cannot be read as a migration" in bench.refused("db", "upgrade")


def test_revisions_in_a_ring_are_shown(bench, family):
    family.revision("alpha", 2, needs="beta_0001")
    family.revision("beta", 1, needs="alpha_0002")
    bench.enable("alpha", "beta")

    line = bench.refused("db", "upgrade")

    assert "stand on each other in a ring" in line
    assert "alpha_0002 -> beta_0001" in line or "beta_0001 -> alpha_0002" in line
    assert "ring" in pending(bench.app).problem


def test_books_are_repaired_from_what_alembic_recorded(any_bench, family):
    """What a power cut between two statements leaves where DDL cannot be rolled back."""
    any_bench.enable("alpha", "beta")
    any_bench.ok("db", "upgrade")
    any_bench.execute("DELETE FROM pulsar_plugins WHERE name = 'alpha'")
    any_bench.execute("UPDATE pulsar_plugins SET revision = 'beta_0000' WHERE name = 'beta'")

    any_bench.ok("db", "upgrade")
    assert any_bench.recorded() == {"alpha": "alpha_0001", "beta": "beta_0001"}

    any_bench.execute("DROP TABLE pulsar_plugins")
    any_bench.ok("db", "upgrade")
    assert any_bench.recorded() == {"alpha": "alpha_0001", "beta": "beta_0001"}


def test_a_migration_cut_in_its_middle_rolls_back_or_says_which_tables_are_in_the_way(any_bench, workshop):
    workshop.make("alpha")
    made = 'op.create_table("alpha_things", sa.Column("id", sa.Integer, primary_key=True))'
    workshop.revision("alpha", 1, up=made + '\nraise ValueError("cut")')
    any_bench.enable("alpha")

    any_bench.refused("db", "upgrade")

    assert any_bench.recorded() == {}
    workshop.table("alpha", "alpha_things")
    if "mysql" in any_bench.app.config["SQLALCHEMY_DATABASE_URI"]:
        line = any_bench.refused("db", "upgrade")
        assert "its tables are there (alpha_things)" in line
        any_bench.execute("DROP TABLE alpha_things")
    any_bench.ok("db", "upgrade")
    assert any_bench.recorded() == {"alpha": "alpha_0001"}


def test_pending_says_what_upgrade_would_do_and_never_raises(any_bench, family):
    any_bench.enable("alpha")
    found = pending(any_bench.app)
    assert found["alpha"] == (None, "alpha_0001")
    assert not found.ok

    any_bench.ok("db", "upgrade")
    assert pending(any_bench.app).ok
    assert "beta" not in pending(any_bench.app)


def test_pending_with_a_database_that_does_not_answer(bench_at, tmp_path, family):
    for uri in (f"sqlite:///{tmp_path}/no/such/folder.db", "postgresql+psycopg://root@127.0.0.1:1/test"):
        found = pending(bench_at(uri).app)
        assert "does not answer" in found.problem
        assert not found


@pytest.fixture
def called():
    names: list[str] = []
    after_first_install.append(names.append)
    yield names
    after_first_install.remove(names.append)


def test_what_follows_a_first_installation_runs_once_and_again_after_a_failure(bench, family, called):
    family.make("empty")
    bench.enable("alpha", "empty")

    bench.ok("db", "upgrade")
    bench.ok("db", "upgrade")
    assert [name for name in called if name != "core"] == ["alpha", "empty"]

    def fail(name):
        raise LookupError("not now")

    after_first_install.append(fail)
    try:
        bench.enable("alpha", "beta")
        assert "beta is migrated, but what follows" in bench.refused("db", "upgrade")
    finally:
        after_first_install.remove(fail)
    called.clear()
    bench.ok("db", "upgrade")
    assert called == ["beta"]

    bench.ok("plugin", "downgrade", "beta")
    bench.ok("db", "upgrade")
    assert called == ["beta", "beta"]


def test_a_plugin_migrated_while_disabled_is_installed_when_it_is_enabled(bench, family, called):
    bench.ok("plugin", "upgrade", "alpha")
    assert "alpha" not in called

    bench.enable("alpha")
    bench.ok("db", "upgrade")
    assert called.count("alpha") == 1


def test_the_session_of_what_follows_is_committed(bench, family):
    def remember(name):
        if name == "alpha":
            db.session.connection().exec_driver_sql("INSERT INTO alpha_things (id) VALUES (5)")

    after_first_install.append(remember)
    try:
        bench.enable("alpha")
        bench.ok("db", "upgrade")
    finally:
        after_first_install.remove(remember)
    assert bench.rows("SELECT id FROM alpha_things") == [(5,)]
