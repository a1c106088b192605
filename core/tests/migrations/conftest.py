"""Throw-away plugins, installed as far as Python can tell, and a database of each kind for them."""

import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import click
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from flask import Flask
from flask.cli import ScriptInfo

import core.db
import core.migrations
from core.cli.plugin import plugin as plugin_group
from core.migrations.commands import db as db_group
from core.testing import make_database, wanted_databases, why_not

REVISION = """\
\"\"\"{title}\"\"\"

import sqlalchemy as sa
from alembic import op

revision = {id!r}
down_revision = {below!r}
branch_labels = {label!r}
depends_on = {needs!r}


def upgrade():
{up}


def downgrade():
{down}
"""


class Workshop:
    """Makes, installs and uninstalls plugins in a folder."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.monkeypatch = monkeypatch
        self.modules: list[str] = []

    def make(self, name: str, models: str = "", version: str = "0.1") -> Path:
        """A plugin without migrations; installed. ``models`` is the source of its module of that name."""
        folder = self.root / f"pulsar-{name}"
        module = name.replace("-", "_")
        (folder / module).mkdir(parents=True)
        (folder / "versions").mkdir()
        (folder / module / "__init__.py").write_text("")
        info = folder / f"pulsar_{module}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pulsar-{name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[pulsar.plugins]\n{name} = {module}\n")
        self.modules.append(module)
        if models:
            self.models(name, models)
        self.install(name)
        return folder

    def models(self, name: str, source: str) -> None:
        """Replace the models of ``name``, as if its author had edited them."""
        module = name.replace("-", "_")
        forget_models(module)
        path = self.root / f"pulsar-{name}" / module / "models.py"
        head = "import sqlalchemy as sa\nfrom core.db import *\nfrom core.db import Base, UTCDateTime\n"
        path.write_text(head + textwrap.dedent(source))
        importlib.invalidate_caches()

    def install(self, name: str) -> None:
        self.monkeypatch.syspath_prepend(str(self.root / f"pulsar-{name}"))

    def uninstall(self, name: str) -> None:
        sys.path.remove(str(self.root / f"pulsar-{name}"))
        forget_models(name.replace("-", "_"))
        importlib.invalidate_caches()

    def revision(
        self,
        name: str,
        number: int = 1,
        *,
        up: str = "pass",
        down: str = "pass",
        needs: object = None,
        below: object = None,
        suffix: str = "",
    ) -> str:
        """Write a revision file for ``name``; it follows the one with the number before."""
        prefix = name.replace("-", "_")
        id_ = f"{prefix}_{number:04d}{suffix}"
        text = REVISION.format(
            title=f"step {number}",
            id=id_,
            below=below or (f"{prefix}_{number - 1:04d}" if number > 1 else None),
            label=(name,) if number == 1 else None,
            needs=needs,
            up=textwrap.indent(textwrap.dedent(up), "    "),
            down=textwrap.indent(textwrap.dedent(down), "    "),
        )
        (self.root / f"pulsar-{name}" / "versions" / f"{id_}.py").write_text(text)
        return id_

    def table(self, name: str, table: str, *, number: int = 1, parent: str = "", needs: object = None) -> str:
        """A revision that makes one table, perhaps with a foreign key to ``parent``."""
        key = (
            f', sa.Column("parent_id", sa.Integer, sa.ForeignKey("{parent}.id", ondelete="CASCADE"))'
            if parent
            else ""
        )
        up = f'op.create_table("{table}", sa.Column("id", sa.Integer, primary_key=True){key})'
        return self.revision(name, number, up=up, down=f'op.drop_table("{table}")', needs=needs)


def forget_models(module: str) -> None:
    for table in list(core.db.Base.metadata.tables.values()):
        if table.name.startswith(f"{module}_"):
            core.db.Base.metadata.remove(table)
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        del sys.modules[name]


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    made = Workshop(tmp_path, monkeypatch)
    yield made
    for module in made.modules:
        forget_models(module)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "any_uri" in metafunc.fixturenames:
        metafunc.parametrize("any_uri", wanted_databases(metafunc.config), indirect=True)


@pytest.fixture
def any_uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of its own for one test, once on each that was asked for and answers."""
    if reason := why_not(request.param):
        pytest.skip(reason)
    yield from make_database(request.param, tmp_path, f"migrations_{uuid4().hex[:12]}")


@pytest.fixture
def sqlite_uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(autouse=True)
def _nothing_follows() -> Iterator[None]:
    """The bench has no accounts: what core does after a first installation is tested with the site."""
    kept = list(core.migrations.after_first_install)
    core.migrations.after_first_install.clear()
    yield
    core.migrations.after_first_install[:] = kept


class Bench:
    """A site with a database, and its command line."""

    def __init__(self, uri: str) -> None:
        self.app = Flask("bench")
        self.app.config.update(SQLALCHEMY_DATABASE_URI=uri, PLUGINS=[], TESTING=True)
        core.db.init_app(self.app)
        core.migrations.init_app(self.app)
        self.cli = click.Group("flask", commands={"db": db_group, "plugin": plugin_group})

    def enable(self, *names: str) -> None:
        self.app.config["PLUGINS"] = list(names)

    def run(self, *args: str) -> Result:
        """Run a command; it may fail."""
        return CliRunner().invoke(self.cli, args, obj=ScriptInfo(create_app=lambda: self.app))

    def ok(self, *args: str) -> str:
        """Run a command that must succeed; returns what it printed."""
        result = self.run(*args)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    def refused(self, *args: str, status: int = 1) -> str:
        """Run a command that must fail with one line on standard error; returns the line."""
        result = self.run(*args)
        assert result.exit_code == status, (result.output, result.exception)
        assert isinstance(result.exception, SystemExit)
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        return result.stderr.strip()

    def execute(self, statement: str) -> None:
        with self.app.app_context(), core.db.db.engine.begin() as connection:
            connection.execute(sa.text(statement))

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        with self.app.app_context(), core.db.db.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(statement))]

    def tables(self) -> set[str]:
        with self.app.app_context(), core.db.db.engine.connect() as connection:
            return set(sa.inspect(connection).get_table_names())

    def recorded(self) -> dict[str, str]:
        """Plugin and revision, as pulsar_plugins has them; core left out."""
        found = self.rows("SELECT name, revision FROM pulsar_plugins WHERE forgotten_at IS NULL")
        return {str(name): str(revision) for name, revision in found if name != "core"}

    def heads(self) -> set[object]:
        """What alembic_version holds; core's left out."""
        return {
            row[0]
            for row in self.rows("SELECT version_num FROM alembic_version")
            if not str(row[0]).startswith("core_")
        }

    def close(self) -> None:
        with self.app.app_context():
            core.db.db.engine.dispose()


@pytest.fixture
def bench(sqlite_uri: str) -> Iterator[Bench]:
    made = Bench(sqlite_uri)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _bare_sites() -> Iterator[None]:
    """These sites have no accounts, so that what core does for new plugins has nobody to do it for."""
    kept = list(core.migrations.after_first_install)
    core.migrations.after_first_install.clear()
    yield
    core.migrations.after_first_install[:] = kept


@pytest.fixture
def bench_at() -> type[Bench]:
    """``bench_at(uri)``: a site on any database."""
    return Bench


@pytest.fixture
def any_bench(any_uri: str) -> Iterator[Bench]:
    made = Bench(any_uri)
    yield made
    made.close()
