"""``flask plugin check``: each breach is a line with file and line, and what keeps the contract passes."""

import textwrap

import pytest

import core
from core.testing import check_plugin

# A breach in nearly every line.
SINNER = {
    "pyproject.toml": """
        [project]
        name = "sin"
        version = "0.1"
        readme = "README.md"
        dependencies = []

        [project.entry-points."pulsar.plugins"]
        sinner = "sinner"
        """,
    "sinner/__init__.py": """
        from core.config import Setting
        from core.serializers import Attribute
        from core.users.serializers import UserSerializer

        __all__ = ["Config", "ghost", "modify"]

        class Config:
            SINNER_LIMIT = Setting(1, "Nobody reads it.")

        def modify():
            UserSerializer.assign_attrs(count=Attribute())

        POPULATORS = [int]
        bps = ["nothing"]
        """,
    "sinner/routes.py": """
        from core.blueprint import Blueprint

        bp = Blueprint("sinner", __name__)

        @bp.get("/open")
        def view():
            return {}
        """,
    "sinner/permissions.py": """
        from core.permissions import PermissionFamily, PermissionsEnum

        BOOKS = PermissionFamily(r"sinner_book_[0-9]+", "Read a book.")

        class P(PermissionsEnum):
            LOOK = "sinner_look", "Look."
        """,
    "sinner/events.py": """
        from core.events import EventsEnum

        class E(EventsEnum):
            DONE = "sinner.thing.done", "Done."
        """,
    "sinner/hookspecs.py": """
        from core import hookspec

        @hookspec
        def render(page): ...
        """,
    "versions/first.py": """
        from alembic import op
        from sinner.models import Thing

        revision = "first"
        down_revision = None
        branch_labels = None
        depends_on = None
        """,
}
BREACHES = """\
pyproject.toml:3: the distribution sin is not called pulsar-sinner
pyproject.toml:2: there is no description
pyproject.toml:6: pulsar-core is not among the dependencies
pyproject.toml:5: there is no README.md beside it
versions/first.py:3: a revision must not import sinner.models: write out what it needs
versions/first.py:5: the file does not start with sinner_
sinner/__init__.py:1: it does not say PLUGIN_API, such as '>=1,<2'
sinner/__init__.py:6: __all__ names ghost, which is not there
sinner/__init__.py:15: bp is not a Blueprint, or bps not a list of them
sinner/__init__.py:14: <class 'int'> is not a TestDataPopulator
sinner/hookspecs.py:4: the hook render does not start with sinner_
sinner/__init__.py:11: count, added to UserSerializer, does not start with sinner_
sinner/routes.py:6: GET /sinner/open (sinner.view) says neither a permission, nor login_required, nor public
sinner/permissions.py:7: the permission sinner_look is asked for nowhere
sinner/permissions.py:7: the permission sinner_look is not documented
sinner/events.py:5: the event sinner.thing.done is announced nowhere
sinner/events.py:5: the event sinner.thing.done is not documented
sinner/permissions.py:4: the permissions sinner_book_[0-9]+ are not documented
sinner/__init__.py:9: the setting SINNER_LIMIT is read nowhere
sinner/__init__.py:9: the setting SINNER_LIMIT is not documented
versions:1: sinner: its migrations cannot be loaded: {0} starts a branch without branch_labels = ('sinner',)
"""
PROJECT = """
    [project]
    name = "pulsar-{0}"
    version = "0.1"
    description = "A plugin of a test"
    dependencies = ["pulsar-core"]

    [project.entry-points."pulsar.plugins"]
    {0} = "{0}"
    """


@pytest.fixture
def project(tmp_path, announce, monkeypatch):
    """``project("probe", {"probe/__init__.py": "..."})``: an installed plugin; commands run in its folder."""

    def make(name, files):
        folder = tmp_path / f"pulsar-{name}"
        files = {
            "pyproject.toml": PROJECT.format(name),
            f"{name}/__init__.py": "PLUGIN_API = '>=1,<2'",
        } | files
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(textwrap.dedent(text))
        monkeypatch.chdir(folder)
        return announce(folder)

    return make


def test_core_keeps_the_contract():
    assert check_plugin(core) == []


def test_every_breach_is_found_and_placed(project, flask):
    folder = project("sinner", SINNER)

    done = flask("plugin", "check", "sinner")

    assert done.exit_code == 1
    assert done.stderr == "Error: 21 breaches of the contract\n"
    assert done.stdout == BREACHES.format(folder / "versions" / "first.py")


MODELS = """
    from sqlalchemy.orm import Mapped
    from core.db import PK, Base, Name

    class Box(Base):
        __tablename__ = "{0}_boxes"
        id: Mapped[PK]
        name: Mapped[Name]
    """
REVISION = """
    import sqlalchemy as sa
    from alembic import op

    revision = "{0}_0001"
    down_revision = None
    branch_labels = ("{0}",)
    depends_on = None

    def upgrade():
        op.create_table("{0}_boxes", sa.Column("id", sa.BigInteger(), primary_key=True))

    def downgrade():
        {1}
    """


@pytest.mark.parametrize(
    ("name", "files", "said"),
    [
        (
            "unmigrated",
            {"unmigrated/models.py": MODELS.format("unmigrated")},
            "unmigrated/__init__.py:1: the migrations of",
        ),
        (
            "lagging",
            {
                "lagging/models.py": MODELS.format("lagging"),
                "versions/lagging_0001.py": REVISION.format("lagging", "pass"),
            },
            "add column lagging_boxes.name",
        ),
        (
            "crashing",
            {
                "versions/crashing_0001.py": REVISION.format("crashing", "pass").replace(
                    "sa.Column(", "1 / 0, sa.Column("
                )
            },
            "versions/crashing_0001.py:11: ZeroDivisionError: division by zero",
        ),
        (
            "typed",
            {"typed/models.py": "\ndef broken(:"},
            "typed/models.py:2: it is not Python: ",
        ),
        (
            "misspelt",
            {"misspelt/hooks.py": "from core import hookimpl\n\n@hookimpl\ndef app_redy(app): ..."},
            "misspelt/hooks.py:3: misspelt (hooks): unknown hook app_redy, did you mean app_ready?",
        ),
        (
            "eager",
            {"eager/models.py": "import sqlite3\nsqlite3.connect(':memory:')"},
            "eager/models.py:2: it cannot be imported without an app: RuntimeError: it opens a connection",
        ),
        (
            "needing",
            {"needing/views.py": "from flask import current_app\nprint(current_app.name)"},
            "needing/views.py:2: it cannot be imported without an app: RuntimeError: Working outside",
        ),
        ("future", {"future/__init__.py": "PLUGIN_API = '>=2'"}, "written for plugin API >=2, this is 1.0"),
    ],
)
def test_what_cannot_be_loaded_or_migrated_is_one_line(project, flask, name, files, said):
    project(name, {"README.md": "It has a README.\n"} | files)

    done = flask("plugin", "check", name)

    assert (done.exit_code, done.stderr) == (1, "Error: 1 breach of the contract\n"), done.stdout
    assert said in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_what_is_asked_by_alias_or_by_name_is_used(project, flask):
    project(
        "user",
        {
            "README.md": "`user_look`, `user_ask` and `user_go`; `USER_SIZE` and user.thing.done.\n",
            "user/permissions.py": """
                from core.permissions import PermissionsEnum

                class UserPermissions(PermissionsEnum):
                    LOOK = "user_look", "Look."
                    ASK = "user_ask", "Ask."
                    GO = "user_go", "Go."
                """,
            "user/events.py": """
                from core.events import EventsEnum

                class UserEvents(EventsEnum):
                    DONE = "user.thing.done", "Done."
                """,
            "user/config.py": """
                class Config:
                    USER_SIZE = 1
                """,
            "user/__init__.py": """
                from user.config import Config

                PLUGIN_API = ">=1,<2"
                """,
            "user/services.py": """
                from core.events import emit
                from user import events, permissions
                from user.permissions import UserPermissions as P

                def work(app, identity):
                    identity.require(P.LOOK)
                    identity.require(permissions.UserPermissions.ASK)
                    identity.require("user_go")
                    emit(events.UserEvents.DONE, size=app.config["USER_SIZE"])
                """,
        },
    )

    done = flask("plugin", "check", "user")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "user keeps the contract\n", "")


def test_a_plugin_that_is_not_installed_is_said_so(flask):
    done = flask("plugin", "check", "ghost")
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    with pytest.raises(LookupError, match="textwrap"):
        check_plugin(textwrap)
