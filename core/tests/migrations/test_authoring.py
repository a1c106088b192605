"""Revisions that are written by `flask plugin revision`."""

import ast
import importlib

import pytest

ALPHA = """
sa.Table("alpha_things", Base.metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("name", exact(64), nullable=False),
    sa.Column("text", sa.Text().with_variant(LONGTEXT(), "mysql", "mariadb")),
    sa.Column("made_at", UTCDateTime, nullable=False),
    sa.Column("extra", sa.JSON, nullable=False),
    sa.Column("shared", sa.Boolean, nullable=False),
    sa.Column("hidden", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("state", sa.Enum("new", "old", name="state", native_enum=False, length=16)),
    sa.Column("weight", sa.Float),
    sa.Column("raw", sa.LargeBinary),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("name", "made_at"),
    sa.CheckConstraint("size >= 0", name="size_positive"),
    sa.Index(None, "shared", "name"),
    sa.Index("ix_alpha_things_claim", "shared", sa.text("size DESC")),
)
"""
BETA = """
sa.Table("beta_notes", Base.metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("thing_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"),
              sa.ForeignKey("alpha_things.id", ondelete="CASCADE"), nullable=False),
)
"""


@pytest.fixture
def authors(any_bench, workshop):
    workshop.make("alpha", "from sqlalchemy.dialects.mysql import LONGTEXT\n" + ALPHA)
    workshop.make("beta")
    any_bench.enable("alpha", "beta")
    any_bench.ok("db", "upgrade")
    return any_bench


def written(workshop, name):
    return sorted(path.name for path in (workshop.root / f"pulsar-{name}" / "versions").glob("*.py"))


def text_of(workshop, name, file):
    return (workshop.root / f"pulsar-{name}" / "versions" / file).read_text()


def test_a_written_revision_makes_what_the_models_say_and_undoes_it(authors, workshop):
    workshop.models("beta", BETA)

    authors.ok("plugin", "revision", "alpha", "-m", "make the things")
    authors.ok("db", "upgrade")
    authors.ok("plugin", "revision", "beta", "-m", "notes")
    authors.ok("db", "upgrade")

    assert written(workshop, "alpha") == ["alpha_0001_make_the_things.py"]
    assert authors.ok("db", "check", "alpha", "beta") == "Models and database agree.\n"
    assert "nothing was written" in authors.ok("plugin", "revision", "alpha", "-m", "again")
    authors.ok("plugin", "downgrade", "alpha", "--cascade", "--yes")
    assert not {"alpha_things", "beta_notes"} & authors.tables()
    authors.ok("db", "upgrade")
    authors.ok("db", "check", "alpha", "beta")


def test_a_revision_holds_only_tables_of_its_plugin_and_depends_on_the_rest(authors, workshop):
    authors.ok("plugin", "revision", "alpha", "-m", "things")
    authors.ok("db", "upgrade")
    authors.ok("plugin", "revision", "alpha", "--empty", "-m", "later")
    authors.ok("db", "upgrade")
    workshop.models("beta", BETA)

    authors.ok("plugin", "revision", "beta", "-m", "notes")

    text = text_of(workshop, "beta", "beta_0001_notes.py")
    assert 'depends_on = "alpha_0001"' in text
    assert 'branch_labels = ("beta",)' in text
    assert "create_table('beta_notes'" in text
    assert "create_table('alpha_things'" not in text


def test_a_revision_imports_nothing_of_ours(authors, workshop):
    authors.ok("plugin", "revision", "alpha", "-m", "things")

    text = text_of(workshop, "alpha", "alpha_0001_things.py")
    modules = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert modules == {"sqlalchemy", "alembic", "sqlalchemy.dialects"}
    assert 'sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mariadb", "mysql")' in text
    assert "collation='C'" in text
    assert "utf8mb4_bin" in text
    assert "server_default=sa.false()" in text
    assert "ix_alpha_things_claim" in text


def test_a_change_of_a_column_is_found_and_keeps_the_rows_that_refer_to_it(authors, workshop):
    workshop.models("beta", BETA)
    authors.ok("plugin", "revision", "alpha", "-m", "things")
    authors.ok("db", "upgrade")
    authors.ok("plugin", "revision", "beta", "-m", "notes")
    authors.ok("db", "upgrade")
    authors.execute(
        "INSERT INTO alpha_things (id, name, made_at, extra, shared, size) "
        "VALUES (1, 'n', '2026-01-02 03:04:05', '{}', true, 9)"
    )
    authors.execute("INSERT INTO beta_notes (id, thing_id) VALUES (7, 1)")
    changed = ALPHA.replace('"name", exact(64)', '"name", exact(80)').replace(
        'sa.Column("weight", sa.Float),', ""
    )
    workshop.models("alpha", "from sqlalchemy.dialects.mysql import LONGTEXT\n" + changed)

    authors.ok("plugin", "revision", "alpha", "-m", "longer names")
    authors.ok("db", "upgrade")

    text = text_of(workshop, "alpha", "alpha_0002_longer_names.py")
    assert 'down_revision = "alpha_0001"' in text
    assert "drop_column('weight')" in text
    assert authors.rows("SELECT id, thing_id FROM beta_notes") == [(7, 1)]
    authors.ok("db", "check", "alpha", "beta")
    authors.ok("plugin", "downgrade", "alpha", "--to", "alpha_0001")
    assert authors.rows("SELECT id, thing_id FROM beta_notes") == [(7, 1)]


def test_a_plugin_that_is_behind_is_not_compared(authors, workshop):
    authors.ok("plugin", "revision", "alpha", "-m", "things")

    assert "flask plugin upgrade alpha" in authors.refused("plugin", "revision", "alpha", "-m", "more")
    assert "flask db upgrade" in authors.refused("db", "check", "alpha")


def test_a_table_whose_model_is_gone_is_dropped_and_others_are_left_alone(authors, workshop):
    authors.ok("plugin", "revision", "alpha", "-m", "things")
    authors.ok("db", "upgrade")
    authors.execute("CREATE TABLE strangers (id INTEGER PRIMARY KEY)")
    workshop.models("alpha", "")

    assert "alpha: remove table alpha_things" in authors.refused("db", "check", "alpha")
    authors.ok("plugin", "revision", "alpha", "-m", "gone")

    text = text_of(workshop, "alpha", "alpha_0002_gone.py")
    assert "drop_table('alpha_things')" in text
    assert "strangers" not in text
    assert "pulsar_plugins" not in text


def test_a_key_to_a_later_column_depends_on_the_revision_that_added_it(bench, workshop):
    workshop.make("alpha")
    workshop.make("beta")
    workshop.table("alpha", "alpha_things")
    workshop.revision(
        "alpha",
        2,
        up='with op.batch_alter_table("alpha_things") as batch:\n'
        '    batch.add_column(sa.Column("code", sa.Integer))\n'
        '    batch.create_unique_constraint("uq_alpha_things_code", ["code"])',
    )
    workshop.revision("alpha", 3)
    bench.enable("alpha", "beta")
    bench.ok("db", "upgrade")
    table = 'sa.Table("alpha_things", Base.metadata, sa.Column("id", sa.Integer, primary_key=True), '
    workshop.models("alpha", table + 'sa.Column("code", sa.Integer, unique=True))')
    key = 'sa.Column("code", sa.Integer, sa.ForeignKey("alpha_things.code", ondelete="CASCADE"))'
    workshop.models(
        "beta",
        'sa.Table("beta_notes", Base.metadata, sa.Column("id", sa.Integer, primary_key=True), ' + key + ")",
    )

    bench.ok("plugin", "revision", "alpha", "--empty", "-m", "models are imported by the next line")
    bench.ok("db", "upgrade")
    importlib.import_module("alpha.models")  # as the app does for enabled plugins

    bench.ok("plugin", "revision", "beta", "-m", "notes")

    assert (
        "alpha_0002" in text_of(workshop, "beta", "beta_0001_notes.py").split("depends_on")[1].splitlines()[0]
    )


def test_a_type_that_cannot_be_written_plainly_is_refused(bench, workshop):
    source = """
    class Odd(sa.types.UserDefinedType):
        cache_ok = True
        def get_col_spec(self, **kw):
            return "TEXT"

    sa.Table("alpha_things", Base.metadata, sa.Column("id", Odd(), primary_key=True))
    """
    workshop.make("alpha", source)
    bench.enable("alpha")
    bench.ok("db", "upgrade")

    assert "cannot be written without importing alpha.models" in bench.refused(
        "plugin", "revision", "alpha", "-m", "x"
    )
    assert written(workshop, "alpha") == []


def test_models_that_cannot_be_imported_are_named(bench, workshop):
    workshop.make("alpha", "raise OSError('no')")
    bench.enable("alpha")

    assert "the models of alpha cannot be imported: OSError: no" in bench.refused(
        "plugin", "revision", "alpha", "-m", "x"
    )


def test_a_plugin_that_is_not_installed_is_a_mistake_of_the_caller(bench):
    assert "delta is not installed" in bench.refused("plugin", "revision", "delta", "-m", "x", status=2)
    assert "delta is not installed" in bench.refused("plugin", "upgrade", "delta", status=2)
    assert "delta is not installed" in bench.refused("plugin", "downgrade", "delta", status=2)


def test_names_with_a_dash_are_one_branch(bench, workshop):
    workshop.make("data")
    workshop.make(
        "data-viewer",
        'sa.Table("data_viewer_runs", Base.metadata, sa.Column("id", sa.Integer, primary_key=True))',
    )
    bench.enable("data", "data-viewer")
    bench.ok("db", "upgrade")

    bench.ok("plugin", "revision", "data-viewer", "-m", "runs")
    assert "nothing was written" in bench.ok("plugin", "revision", "data", "-m", "nothing")
    bench.ok("db", "upgrade")

    assert bench.recorded()["data-viewer"] == "data_viewer_0001"
    bench.ok("plugin", "downgrade", "data-viewer")
    assert "data_viewer_runs" not in bench.tables()


def test_batch_mode_on_sqlite_refuses_to_leave_rows_that_refer_to_nothing(bench, workshop):
    workshop.make("alpha")
    workshop.table("alpha", "alpha_things")
    workshop.table("alpha", "alpha_parts", number=2, parent="alpha_things")
    workshop.revision("alpha", 3, up='op.execute("DELETE FROM alpha_things")')
    bench.enable("alpha")
    bench.ok("db", "upgrade", "alpha_0002")
    bench.execute("INSERT INTO alpha_things (id) VALUES (1)")
    bench.execute("INSERT INTO alpha_parts (id, parent_id) VALUES (1, 1)")

    line = bench.refused("db", "upgrade")

    assert "rows that refer to nothing: 1, the first is row 1 of alpha_parts" in line
    assert bench.rows("SELECT id FROM alpha_things") == [(1,)]
    assert bench.recorded() == {"alpha": "alpha_0002"}
    assert bench.rows("PRAGMA foreign_keys") == [(1,)]
