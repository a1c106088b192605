"""What the commands do to a database, with plugins made for the test."""

import json

import pytest


@pytest.fixture
def family(workshop):
    """alpha; beta, which stands on it; gamma, which stands on nothing."""
    for name in ("alpha", "beta", "gamma"):
        workshop.make(name)
    workshop.table("alpha", "alpha_things")
    workshop.table("beta", "beta_notes", parent="alpha_things", needs="alpha_0001")
    workshop.table("gamma", "gamma_points")
    return workshop


def test_upgrade_brings_enabled_plugins_to_their_heads_and_leaves_others_alone(any_bench, family):
    any_bench.enable("alpha", "beta")
    family.revision(
        "alpha",
        2,
        up='op.add_column("alpha_things", sa.Column("size", sa.Integer))',
        down='op.drop_column("alpha_things", "size")',
    )

    said = any_bench.ok("db", "upgrade")

    assert "beta: upgraded base -> beta_0001" in said
    assert {"alpha_things", "beta_notes"} <= any_bench.tables()
    assert "gamma_points" not in any_bench.tables()
    assert any_bench.recorded() == {"alpha": "alpha_0002", "beta": "beta_0001"}
    assert any_bench.ok("db", "upgrade") == "Every enabled plugin is at its head.\n"


def test_a_disabled_plugin_goes_only_as_far_as_an_enabled_one_needs(bench, family):
    family.revision("alpha", 2)
    bench.enable("beta")

    bench.ok("db", "upgrade")

    assert bench.recorded() == {"alpha": "alpha_0001", "beta": "beta_0001"}
    bench.ok("plugin", "upgrade", "alpha")
    assert bench.recorded()["alpha"] == "alpha_0002"


def test_status_tells_each_plugin_though_alembic_keeps_one_row(any_bench, family):
    any_bench.enable("alpha", "beta")
    any_bench.ok("db", "upgrade")
    assert any_bench.heads() == {"beta_0001"}

    found = {line["name"]: line for line in json.loads(any_bench.ok("db", "status", "--json"))}

    assert (found["alpha"]["current"], found["alpha"]["state"]) == ("alpha_0001", "enabled")
    assert (found["gamma"]["current"], found["gamma"]["state"]) == (None, "installed")
    assert found["gamma"]["pending"] == ["gamma_0001"]
    assert "gamma" in any_bench.ok("db", "status")


def test_downgrade_lists_what_else_would_go_and_refuses(any_bench, family):
    any_bench.enable("alpha", "beta")
    any_bench.ok("db", "upgrade")

    for command in (
        ("plugin", "downgrade", "alpha"),
        ("db", "downgrade", "alpha@base"),
        ("plugin", "downgrade", "alpha", "--cascade"),
        ("db", "downgrade", "base"),
    ):
        line = any_bench.refused(*command)
        assert "beta (beta_0001) with all its tables (beta_notes)" in line
    assert any_bench.heads() == {"beta_0001"}

    said = any_bench.ok("plugin", "downgrade", "alpha", "--cascade", "--yes")
    assert said.index("beta: downgraded") < said.index("alpha: downgraded")
    assert not {"alpha_things", "beta_notes"} & any_bench.tables()
    assert any_bench.recorded() == {}


def test_downgrade_of_a_plugin_nothing_stands_on_keeps_the_others(any_bench, family):
    any_bench.enable("alpha", "beta")
    any_bench.ok("db", "upgrade")

    any_bench.ok("plugin", "downgrade", "beta")

    assert any_bench.heads() == {"alpha_0001"}
    assert any_bench.recorded() == {"alpha": "alpha_0001"}
    any_bench.ok("db", "upgrade")
    assert any_bench.recorded() == {"alpha": "alpha_0001", "beta": "beta_0001"}


def test_downgrade_to_a_revision(bench, family):
    family.revision("alpha", 2)
    family.revision("alpha", 3)
    bench.enable("alpha", "beta")
    bench.ok("db", "upgrade")

    bench.ok("plugin", "downgrade", "alpha", "--to", "alpha_0002")
    assert bench.recorded()["alpha"] == "alpha_0002"
    bench.ok("db", "downgrade", "alpha@-1")
    assert bench.recorded() == {"alpha": "alpha_0001", "beta": "beta_0001"}
    assert "no revision alpha_0009" in bench.refused(
        "plugin", "downgrade", "alpha", "--to", "alpha_0009", status=2
    )


def test_migrate_without_a_plugin_names_the_command_that_takes_one(bench):
    for command in (("migrate", "-m", "x"), ("migrate",), ("revision", "--autogenerate", "-m", "x")):
        assert "flask plugin revision NAME" in bench.refused("db", *command, status=2)


def test_the_commands_of_alembic_keep_working(bench, family):
    bench.enable("alpha", "beta", "gamma")
    bench.ok("db", "upgrade")

    assert "beta_0001" in bench.ok("db", "current")
    assert "gamma_0001 (gamma) (head)" in bench.ok("db", "heads")
    assert "step 1" in bench.ok("db", "history", "-i")
    assert "gamma_0001" in bench.ok("db", "show", "gamma@head")
    bench.ok("db", "branches")
    rows = {
        line.split()[0]: line.split()[1:4] for line in bench.ok("db", "branches", "--plugins").splitlines()
    }
    assert rows["alpha"] == ["1", "alpha_0001", "-"]


def test_stamp_takes_over_a_database_made_from_the_models(any_bench, family):
    any_bench.enable("alpha", "beta")
    any_bench.ok("db", "upgrade")
    any_bench.execute("DROP TABLE alembic_version")
    any_bench.execute("DROP TABLE pulsar_plugins")

    line = any_bench.refused("db", "upgrade")
    assert "alpha_things" in line
    assert "flask db stamp alpha@head" in line

    any_bench.ok("db", "stamp")
    assert any_bench.heads() == {"beta_0001"}
    assert any_bench.recorded() == {"alpha": "alpha_0001", "beta": "beta_0001"}
    any_bench.ok("db", "upgrade")
    assert "stand on alpha" in any_bench.refused("db", "stamp", "alpha@base")


def test_sql_for_later_holds_tables_and_bookkeeping(any_bench, family):
    any_bench.enable("alpha", "beta")

    if any_bench.app.config["SQLALCHEMY_DATABASE_URI"].startswith("sqlite"):
        # Changing a table means copying it there, which needs the table itself.
        assert "cannot proceed in --sql mode" in any_bench.refused("db", "upgrade", "--sql")
        return

    script = any_bench.ok("db", "upgrade", "--sql")

    assert "CREATE TABLE beta_notes" in script
    assert "gamma" not in script
    assert "INSERT INTO pulsar_plugins" in script
    assert "alpha_things" not in any_bench.tables()


def test_two_heads_in_one_branch_are_reported(bench, family):
    family.revision("alpha", 2)
    family.revision("alpha", 2, suffix="b")
    bench.enable("alpha")

    line = bench.refused("db", "upgrade")

    assert "alpha: its branch has 2 heads (alpha_0002, alpha_0002b)" in line
    assert "2 heads" in bench.ok("db", "status")


def test_a_failing_migration_names_file_and_line_and_leaves_no_trace(any_bench, family):
    family.revision(
        "gamma", 2, up='op.add_column("gamma_points", sa.Column("x", sa.Integer))\nraise ValueError("no")'
    )
    any_bench.enable("gamma")

    line = any_bench.refused("db", "upgrade")

    assert "gamma_0002.py:" in line
    assert "ValueError: no" in line
    assert any_bench.recorded() == {"gamma": "gamma_0001"}
