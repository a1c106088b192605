"""What a plugin adds to the others: attributes, commands, hooks of its own."""

import pytest

from core.db import db
from core.plugins import BrokenPlugins
from core.users import services
from core.users.models import User

MODIFY = """
from core.serializers import Attribute
from core.users.models import User
from core.users.serializers import UserSerializer

def modify({argument}):
    User.assign_attrs(
        {name}=property(lambda user: user.id * 10),
        {name}_plus=lambda user, more: user.id + more,
        {name}_limit=7,
    )
    UserSerializer.assign_attrs({name}=Attribute())
"""


@pytest.fixture
def modified_site(make_plugin, make_site):
    def make(*plugins, **settings):
        app = make_site(*plugins, tables=True, **settings)
        with app.app_context():
            services.create_user("ann", "correct horse 1!", "ann@example.org")
            db.session.commit()
        return app

    return make


@pytest.mark.parametrize("argument", ["", "app"])
def test_added_attributes_are_computed_and_answered(make_plugin, modified_site, argument):
    make_plugin("probe", init=MODIFY.format(argument=argument, name="probe_score"))
    app = modified_site("probe", ANONYMOUS_PERMISSIONS=["users_view"])
    with app.app_context():
        ann = services.find_user("ann")
        assert (ann.probe_score, ann.probe_score_plus(3), ann.probe_score_limit) == (10, 4, 7)
    assert app.test_client().get("/users/1").json["response"]["probe_score"] == 10
    described = app.test_client().get("/api/spec.json").json["components"]["schemas"]["core.User"]
    assert "probe_score" in described["properties"]


def test_two_apps_in_one_process_do_not_see_each_other(make_plugin, make_site, modified_site):
    make_plugin("probe", init=MODIFY.format(argument="", name="probe_score"))
    make_plugin("other", init=MODIFY.format(argument="", name="other_score"))
    plain = modified_site(ANONYMOUS_PERMISSIONS=["users_view"])
    one = make_site("probe", ANONYMOUS_PERMISSIONS=["users_view"])
    two = make_site("other", ANONYMOUS_PERMISSIONS=["users_view"])
    answers = [app.test_client().get("/users/1").json["response"] for app in (plain, one, two)]
    assert set(answers[0]) >= {"id", "username", "enabled", "user_class"}
    assert set(answers[1]) - set(answers[0]) == {"probe_score"}
    assert set(answers[2]) - set(answers[0]) == {"other_score"}
    with plain.app_context():
        ann = services.find_user("ann")
        with pytest.raises(AttributeError, match="probe_score"):
            ann.probe_score  # noqa: B018
    assert plain.extensions["pulsar"].plugins.keys() == {"core"}


@pytest.mark.parametrize(
    ("taken", "owner"),
    [
        ("User.assign_attrs(username=1)", "core"),
        ("User.assign_attrs(first_score=1)", "first"),
        ("UserSerializer.assign_attrs(username=Attribute())", "core"),
        ("UserSerializer.assign_attrs(first_score=Attribute())", "first"),
    ],
)
def test_a_name_that_is_taken_is_refused_naming_both(make_plugin, make_site, taken, owner):
    make_plugin("first", init=MODIFY.format(argument="", name="first_score"))
    head = MODIFY.format(argument="", name="second_score").partition("def modify")[0]
    make_plugin("second", init=f"{head}\ndef modify():\n    {taken}\n")
    with pytest.raises(BrokenPlugins) as caught:
        make_site("first", "second")
    (failure,) = caught.value.failures
    assert failure.plugin == "second"
    assert f"from {owner}" in failure.reason


def test_a_missing_attribute_of_a_model_is_still_an_attribute_error():
    with pytest.raises(AttributeError, match="'User' object has no attribute 'nothing'"):
        User().nothing  # noqa: B018
    assert not hasattr(User(), "__html__")


COMMANDS = """
import click
from core.errors import NotFound
from core.hookspecs import hookimpl
from core.users.services import find_user

@hookimpl
def register_commands(cli):
    @cli.command()
    @click.argument("name")
    def greet(name):
        "Greet NAME."
        click.echo(f"hello {name}, {find_user(name) is not None}")

    @cli.command()
    def fail():
        raise NotFound.of("Probe", 7)

    @cli.command()
    def crash():
        1 / 0
"""


def test_commands_of_a_plugin_are_below_its_name(make_plugin, modified_site, flask):
    make_plugin("probe", hooks=COMMANDS)
    app = modified_site("probe")
    config = app.extensions["pulsar"].instance / "config.py"
    config.write_text(
        "SECRET_KEY = 'x'\nPLUGINS = ['probe']\nSQLALCHEMY_DATABASE_URI = 'sqlite:///pulsar.db'"
    )
    asked = flask("--help", instance=config.parent)
    assert "probe" in asked.stdout
    assert "The probe of a test" in asked.stdout
    assert flask("probe", "greet", "ann", instance=config.parent).stdout == "hello ann, True\n"
    failed = flask("probe", "fail", instance=config.parent)
    assert (failed.exit_code, failed.stderr) == (1, "Error: Probe 7 does not exist.\n")
    crashed = flask("probe", "crash", instance=config.parent)
    assert (crashed.exit_code, crashed.stderr) == (1, "Error: ZeroDivisionError: division by zero\n")
    assert flask("probe", "greet", instance=config.parent).exit_code == 2


def test_plugins_meet_through_hooks_of_their_own(make_plugin, make_site):
    make_plugin(
        "asker",
        hookspecs="from core.hookspecs import hookspec\n@hookspec\ndef asker_answer(question): ...",
    )
    answer = "from core.hookspecs import hookimpl\n@hookimpl{}\ndef asker_answer(): return {!r}"
    make_plugin("one", hooks=answer.format("", "one"))
    make_plugin("two", hooks=answer.format("(optionalhook=True)", "two"))
    hooks = make_site("one", "asker", "two").extensions["pulsar"].hooks
    assert hooks.hook.asker_answer(question=1) == ["one", "two"]  # in the order of loading
    make_site("two")
    with pytest.raises(BrokenPlugins, match="unknown hook asker_answer"):
        make_site("one")


def test_a_failing_health_check_does_not_hide_the_others(make_plugin, make_site):
    hooks = "from core.hookspecs import hookimpl\n@hookimpl\ndef register_health_checks():\n    {}"
    make_plugin("good", hooks=hooks.format("return [('tank', lambda: 'ok', True)]"))
    make_plugin("bad", hooks=hooks.format("return [('valve', lambda: 1 / 0, False)]"))
    answer = make_site("bad", "good").test_client().get("/health")
    assert answer.status_code == 200
    parts = answer.json["response"]
    assert (parts["database"], parts["valve"], parts["tank"]) == ("ok", "failed", "ok")
    make_plugin("worse", hooks=hooks.format("raise OSError('/secret/path')"))
    answer = make_site("worse", "good").test_client().get("/health")
    assert answer.status_code == 503
    assert answer.json["error"]["details"]["tank"] == "ok"
    assert "/secret/path" not in answer.text
