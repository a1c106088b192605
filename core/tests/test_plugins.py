"""The plugin loader: order, requirements, what is said of broken plugins, and the site without them."""

import gc

import pytest

from core.plugins import BrokenPlugins


def order(app):
    return [name for name in app.extensions["pulsar"].plugins if name != "core"]


@pytest.fixture
def report(make_site):
    """``report("probe", ...)``: the failures, by plugin, that stop the start."""

    def start(*plugins, **settings):
        with pytest.raises(BrokenPlugins) as caught:
            make_site(*plugins, **settings)
        text = caught.value.format_message()
        assert "\n" not in text
        for failure in caught.value.failures:
            assert str(failure) in text
        return {failure.plugin: failure for failure in caught.value.failures}

    return start


def test_a_plugin_comes_after_what_it_requires_and_ties_keep_their_order(make_plugin, make_site):
    make_plugin("top", init="REQUIRES = ('left', 'right>=0.1')")
    make_plugin("left", init="REQUIRES = ('base',)")
    make_plugin("right", init="REQUIRES = ('base', 'core')")
    make_plugin("base")
    make_plugin("alone")
    assert order(make_site("top", "right", "left", "base")) == ["base", "right", "left", "top"]
    assert order(make_site("top", "left", "right", "base")) == ["base", "left", "right", "top"]
    assert order(make_site("alone", "base")) == ["alone", "base"]
    assert order(make_site("base", "alone", "base")) == ["base", "alone"]


def test_modules_are_imported_in_the_order_of_requirements(make_plugin, make_site):
    make_plugin("early", init="SEEN = []")
    make_plugin("late", init="REQUIRES = ('early',)\nimport sys\nsys.modules['early'].SEEN.append('late')")
    assert order(make_site("late", "early")) == ["early", "late"]


def test_a_ring_is_named_and_the_others_are_reported_beside_it(make_plugin, report):
    make_plugin("ring_a", init="REQUIRES = ('ring_b',)")
    make_plugin("ring_b", init="REQUIRES = ('ring_a',)")
    make_plugin("hanger", init="REQUIRES = ('ring_a',)")
    make_plugin("other", init="import nothing_of_that_name")
    found = report("ring_a", "ring_b", "hanger", "other")
    assert "ring_a -> ring_b -> ring_a" in found["ring_a"].reason.replace(
        "ring_b -> ring_a -> ring_b", ""
    ) or ("ring_b -> ring_a -> ring_b" in found["ring_a"].reason)
    assert found["hanger"].reason == "needs ring_a, which is broken"
    assert set(found) == {"ring_a", "ring_b", "hanger", "other"}


def test_missing_disabled_and_old_requirements_are_explained(make_plugin, report):
    make_plugin("absent_user", init="REQUIRES = ('unheard',)")
    make_plugin("disabled_user", init="REQUIRES = ('sleeper',)")
    make_plugin("sleeper")
    make_plugin("version_user", init="REQUIRES = ('oldone>=2',)")
    make_plugin("oldone", version="1.5")
    found = report("absent_user", "disabled_user", "version_user", "oldone", "ghost")
    assert "unheard, which is not installed" in found["absent_user"].reason
    assert "sleeper, which is installed but not enabled: add 'sleeper'" in found["disabled_user"].reason
    assert found["version_user"].reason == "needs oldone>=2, but version 1.5 is installed"
    assert "not installed; installed are:" in found["ghost"].reason


def test_a_plugin_for_another_contract_is_not_even_imported(make_plugin, report):
    make_plugin("future", init="PLUGIN_API = '>=2'\nraise SystemExit('imported')")
    assert "written for plugin API >=2" in report("future")["future"].reason


BROKEN = {
    "import": ({"init": "\nimport nothing_of_that_name"}, "ModuleNotFoundError", "__init__.py:2"),
    "syntax": ({"init": "\n\ndef broken(:"}, "SyntaxError", "__init__.py:3"),
    "leaves": ({"init": "raise SystemExit(3)"}, "SystemExit", "__init__.py:1"),
    "submodule": ({"models": "\n1 / 0"}, "ZeroDivisionError", "models.py:2"),
    "settings": (
        {"init": "\nclass Config:\n    PLUGINS = 1"},
        "declare the setting PLUGINS",
        "__init__.py:2",
    ),
    "prefix": ({"init": "\nclass Config:\n    SIZE = 1"}, "does not start with PREFIX_", "__init__.py:2"),
    "modify": ({"init": "\n\ndef modify():\n    return {}['x']"}, "KeyError", "__init__.py:4"),
    "setup": ({"init": "\ndef init_app(app):\n    raise OSError('disk')"}, "OSError: disk", "__init__.py:3"),
    "bare": (
        {"init": "\ndef view(): ...\ndef init_app(app):\n    app.add_url_rule('/bare', 'bare', view)"},
        "has no blueprint",
        "__init__.py:2",
    ),
    "route": (
        {
            "routes": "from flask import Blueprint\nbp = Blueprint('route', __name__, url_prefix='/')\n"
            "@bp.get('/users/<int:other>')\ndef view(other): ..."
        },
        "claims GET /users/<int>, as does core",
        "routes.py:3",
    ),
    "named": (
        {"routes": "from flask import Blueprint\nbp = Blueprint('users', __name__)\n"},
        "has the name of one of core",
        "",
    ),
    "permission": (
        {
            "permissions": "from core.permissions import PermissionsEnum\n\n"
            "class P(PermissionsEnum):\n    VIEW = 'users_view', 'Again.'"
        },
        "does not start with permission_",
        "permissions.py:3",
    ),
    "table": (
        {
            "models": "from core.db import PK, Base\nfrom sqlalchemy.orm import Mapped\n\n"
            "class Row(Base):\n    __tablename__ = 'other_rows'\n    id: Mapped[PK]"
        },
        "the table other_rows does not start with table_",
        "models.py:4",
    ),
    "mapping": (
        {"models": "from core.db import Base\n\nclass Row(Base):\n    __tablename__ = 'mapping_rows'\n"},
        "ArgumentError",
        "models.py:3",
    ),
    "hookname": (
        {"hooks": "from core.hookspecs import hookimpl\n\n@hookimpl\ndef app_redy(app): ..."},
        "unknown hook app_redy, did you mean app_ready?",
        "hooks.py:3",
    ),
    "hookarg": (
        {"hooks": "from core.hookspecs import hookimpl\n\n@hookimpl\ndef app_ready(apple): ..."},
        "apple",
        "hooks.py:3",
    ),
    "ready": (
        {"hooks": "from core.hookspecs import hookimpl\n\n@hookimpl\ndef app_ready(app):\n    1 / 0"},
        "ZeroDivisionError",
        "hooks.py:5",
    ),
    "admin": (
        {
            "hooks": "from core.hookspecs import hookimpl\n\n@hookimpl\ndef register_commands(cli):\n"
            "    cli.command('x')(lambda: None)"
        },
        "flask admin is a command of the site itself",
        "",
    ),
}
LATE = {"ready", "admin"}  # found only once everything else is in order


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_named_with_reason_file_and_line(make_plugin, report, name):
    files, reason, where = BROKEN[name]
    make_plugin(name, **files)
    failure = report(name)[name]
    assert reason in str(failure)
    assert failure.where.endswith(where)


def test_one_report_names_every_broken_plugin(make_plugin, report):
    names = [name for name in BROKEN if name not in LATE]
    for name in names:
        make_plugin(name, **BROKEN[name][0])
    make_plugin("innocent")
    assert set(report("innocent", *names)) == set(names)


@pytest.mark.parametrize("name", BROKEN)
def test_skip_leaves_nothing_of_a_broken_plugin_but_the_reason(make_plugin, make_site, flask, name):
    files, reason, _ = BROKEN[name]
    make_plugin(name, **files)
    make_plugin("needy", init=f"REQUIRES = ('{name}',)")
    make_plugin("innocent", routes=GREETING.replace("probe", "innocent"))
    app = make_site(name, "needy", "innocent", PLUGIN_FAILURE="skip")
    site = app.extensions["pulsar"]

    assert site.plugins["innocent"].failure is None
    client = app.test_client()
    assert client.get("/innocent/hello").json["response"] == "hello"
    health = client.get("/health").json["response"]["plugins"]
    assert health["innocent"] == "ok"
    assert health[name].startswith("failed at ")
    assert health["needy"] == f"failed at requirements: needs {name}, which is broken"
    assert ".py" not in str(health)
    assert "needy" in client.get("/needy").json["response"]
    assert name not in site.permission_owners.values()
    assert site.hooks.get_plugin(name) is None
    assert name not in app.cli.commands
    assert not site.attributes
    (tmp := site.instance / "config.py").write_text(
        f"SECRET_KEY = 'x'\nPLUGINS = ['{name}', 'needy', 'innocent']\nPLUGIN_FAILURE = 'skip'\n"
    )
    gc.collect()  # the command makes a second site in this process, and imports what failed once more
    rows = {row["name"]: row for row in flask("plugin", "list", "--json", instance=tmp.parent).json}
    assert rows["innocent"]["state"] == "enabled"
    assert rows[name]["state"] == "failed"
    assert reason in rows[name]["failure"]
    assert rows["innocent"]["paths"] == ["/innocent"]


def test_plugins_can_be_listed_by_those_who_may(make_plugin, make_site):
    make_plugin("good", version="0.3", init="REQUIRES = ('core',)", routes=GREETING.replace("probe", "good"))
    make_plugin("bad", init="raise OSError('/secret/path')")
    make_plugin("idle")
    assert make_site("good", "bad", PLUGIN_FAILURE="skip").test_client().get("/plugins").status_code == 401
    settings = {"PLUGIN_FAILURE": "skip", "ANONYMOUS_PERMISSIONS": ["site_view_plugins"]}
    answer = make_site("good", "bad", **settings).test_client().get("/plugins")
    rows = {row["name"]: row for row in answer.json["response"]}
    assert rows["good"] == {
        "name": "good",
        "version": "0.3",
        "description": "The good of a test",
        "state": "enabled",
        "failure": None,
        "requires": ["core"],
        "permissions": [],
        "hooks": [],
        "paths": ["/good"],
    }
    assert rows["bad"]["failure"] == "failed at import: OSError"
    assert "/secret/path" not in answer.text
    assert rows["idle"]["state"] == "disabled"


GREETING = """
from flask import Blueprint
from core.requests import public
from core.responses import json_response
bp = Blueprint("probe", __name__)

@bp.get("/hello")
@public
def hello():
    return json_response("hello")
"""


@pytest.mark.parametrize(("init", "place"), [("1 / 0", "/probe"), ("def modify():\n    1 / 0", "/elsewhere")])
def test_the_place_of_a_broken_plugin_answers_503_in_cores_words(make_plugin, make_site, init, place):
    routes = GREETING.replace('"probe", __name__', '"probe", __name__, url_prefix="/elsewhere"')
    make_plugin("probe", init=init, routes=routes)
    client = make_site("probe", PLUGIN_FAILURE="skip").test_client()
    for method in ("get", "post", "delete"):
        for path in (place, f"{place}/x/y"):
            answer = getattr(client, method)(path)
            assert answer.status_code == 503
            assert answer.json["error"]["code"] == "unavailable"
            assert "probe" in answer.json["response"]
            assert "ZeroDivisionError" not in answer.text


def test_a_broken_plugin_that_wanted_a_path_of_another_does_not_close_it(make_plugin, make_site):
    for name in ("one", "two"):
        make_plugin(name, routes=GREETING.replace("probe", name))
    app = make_site("one", "two", PLUGIN_FAILURE="skip", URL_PREFIXES={"one": "/same", "two": "/same"})
    client = app.test_client()
    assert client.get("/same/hello").status_code == 200
    assert client.post("/same/hello").status_code == 405
    assert "claims GET /same/hello, as does one" in app.extensions["pulsar"].plugins["two"].failure.reason


def test_what_a_broken_plugin_modified_is_gone(make_plugin, make_site):
    make_plugin(
        "probe",
        init="""
        from core.serializers import Attribute
        from core.users.serializers import UserSerializer

        def modify():
            UserSerializer.assign_attrs(probe_count=Attribute())

        def init_app(app):
            raise OSError
        """,
    )
    app = make_site("probe", PLUGIN_FAILURE="skip")
    assert not app.extensions["pulsar"].attributes


@pytest.mark.parametrize(
    "config",
    ["PLUGINS = ['probe']", "PLUGINS = ['ghost']", "WEB_THREADS = 0", "this is not Python", None],
)
def test_help_list_and_check_work_when_something_is_broken(make_plugin, tmp_path, flask, config):
    make_plugin("probe", init="import nothing_of_that_name")
    if config is not None:
        (tmp_path / "instance").mkdir()
        (tmp_path / "instance" / "config.py").write_text(f"SECRET_KEY = 'x'\n{config}\n")
    asked = flask("--help")
    assert asked.exit_code == 0
    for command in ("admin", "config", "plugin", "routes", "run", "shell"):
        assert f"\n  {command} " in asked.stdout
    assert "Traceback" not in asked.stderr
    listed = flask("plugin", "list")
    assert listed.exit_code == 0
    assert "probe" in listed.stdout
    checked = flask("config", "check")
    assert checked.exit_code == 2
    assert len(checked.stderr.splitlines()) == 1


def test_info_says_what_a_plugin_is_and_does(make_plugin, tmp_path, flask):
    make_plugin(
        "probe",
        version="0.7",
        init="REQUIRES = ('core>=0.0.1',)",
        routes=GREETING,
        permissions="from core.permissions import PermissionsEnum\n"
        "class P(PermissionsEnum):\n    LOOK = 'probe_look', 'Look.'",
        hooks="from core.hookspecs import hookimpl\n@hookimpl\ndef app_ready(app): ...",
    )
    (tmp_path / "instance").mkdir()
    (tmp_path / "instance" / "config.py").write_text("SECRET_KEY = 'x'\nPLUGINS = ['probe']")
    row = flask("plugin", "info", "probe", "--json").json
    assert row["version"] == "0.7"
    assert row["state"] == "enabled"
    assert row["permissions"] == ["probe_look"]
    assert row["hooks"] == ["app_ready"]
    assert row["paths"] == ["/probe"]
    assert row["requires"] == ["core>=0.0.1"]
    assert "probe_look" in flask("plugin", "info", "probe").stdout
    unknown = flask("plugin", "info", "ghost")
    assert (unknown.exit_code, len(unknown.stderr.splitlines())) == (1, 1)
