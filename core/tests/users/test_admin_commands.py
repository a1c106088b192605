"""``flask admin``: what is typed, what is said, and what is then so."""

import json

import pytest

from core.cli.admin import admin
from core.conftest import KEY_OF_USER_1, KEY_OF_USER_2, add_permissions
from core.db import db
from core.identity import OPERATOR
from core.models import Event
from core.users import services

pytestmark = pytest.mark.any_database

NO_LAST = "Error: The last administrator cannot be locked, disabled or stripped of site_god_mode.\n"


@pytest.fixture
def run(app, runner):
    """``run("lock", "user_two")``: the result of ``flask admin lock user_two`` in a process of its own."""

    def run(*arguments, **more):
        with app.app_context():
            return runner.invoke(admin, arguments, **more)

    return run


@pytest.fixture
def status(client_of):
    """``status()``: what user 2 gets who looks at user 1."""
    return lambda key=KEY_OF_USER_2: client_of(key).get("/users/1").status_code


def test_users_are_listed_and_shown(app, run):
    add_permissions(app, "users_view", user_id=2)
    assert run("lock", "user_three").exit_code == 0
    lines = run("list").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["1", "user_one", "User", "enabled"],
        ["2", "user_two", "User", "enabled"],
        ["3", "user_three", "User", "locked"],
    ]
    found = json.loads(run("list", "--json").stdout)
    assert found[2] == {"id": 3, "username": "user_three", "class": "User", "state": "locked"}
    shown = json.loads(run("show", "USER_TWO", "--json").stdout)
    assert (shown["permissions"], shown["email"]) == (["users_view"], "user_two@example.org")
    text = run("show", "user_one").stdout
    assert "secondary classes  FLS\n" in text
    assert "argon2" not in text


def test_permissions_are_granted_and_revoked(run, status):
    assert run("grant", "user_two", "users_view", "invites_view").stdout == (
        "user_two has users_view, invites_view\n"
    )
    assert status() == 200
    again = run("grant", "user_two", "users_view")
    assert (again.exit_code, again.stderr) == (
        1,
        "Error: The following permissions could not be added: users_view.\n",
    )
    assert run("revoke", "user_two", "users_view").exit_code == 0
    assert status() == 403
    unknown = run("grant", "user_two", "never_heard_of")
    assert (unknown.exit_code, unknown.stderr) == (
        1,
        'Error: Invalid data: never_heard_of is not a valid permission (key "permissions")\n',
    )


def test_accounts_are_locked_and_disabled_and_let_in_again(run, status, app):
    add_permissions(app, "users_view", user_id=2)
    for command, then in (("lock", 403), ("unlock", 200), ("disable", 403), ("enable", 200), ("enable", 200)):
        assert run(command, "user_two").exit_code == 0
        assert status() == then
    with app.app_context():
        events = [(event.name, event.actor_id, event.target) for event in db.session.query(Event)]
    assert events.count(("core.user.locked", None, "user:2")) == 4


def test_a_user_is_put_into_a_class(run, status, app):
    with app.app_context():
        services.administrators()
        db.session.commit()
    assert run("class", "user_two", "administrator").stdout == "user_two is in the class Administrator\n"
    assert status() == 200
    for arguments in (("class", "user_two", "User"), ("lock", "user_two"), ("disable", "user_two")):
        last = run(*arguments)
        assert (last.exit_code, last.stderr) == (1, NO_LAST)
    assert run("revoke", "user_two", "site_god_mode").stderr == NO_LAST
    assert status() == 200
    missing = run("class", "user_two", "Nowhere")
    assert (missing.exit_code, missing.stderr) == (1, "Error: UserClass Nowhere does not exist.\n")


def test_no_powerless_administrator_is_made(run, app):
    with app.app_context():
        services.create_class("administrator", [], OPERATOR)
        db.session.commit()
    arguments = ("--username", "root", "--email", "root@example.org", "--password-stdin")
    made = run("create", *arguments, input="correct horse 1!\n")
    sentence = "Error: The UserClass administrator does not give site_god_mode.\n"
    assert (made.exit_code, made.stderr) == (1, sentence)
    assert "root" not in run("list").stdout


def test_a_password_is_set_from_the_prompt_or_standard_input(run, status, app):
    add_permissions(app, "users_view", user_id=2)
    bad = run("passwd", "user_two", "--password-stdin", input="short\n")
    assert (bad.exit_code, bad.stderr.count("\n")) == (1, 1)
    assert status() == 200
    done = run("passwd", "user_two", input="correct horse 1!\ncorrect horse 1!\n")
    assert done.exit_code == 0
    assert "horse" not in done.output
    assert status() == 401
    assert run("passwd", "user_three", "--password-stdin", input="correct horse 2!\n").exit_code == 0
    with app.app_context():
        services.passwords().verify(services.get_user(2).password, "correct horse 1!")
        services.passwords().verify(services.get_user(3).password, "correct horse 2!")


@pytest.fixture
def note(app):
    """The file that ``flask serve`` leaves for the first administrator, here user 1."""
    path = app.extensions["pulsar"].instance / services.FIRST_ADMIN_FILE
    path.write_text("username: user_one\npassword: it is here\n", encoding="utf-8")
    yield path
    path.unlink(missing_ok=True)


def test_the_file_of_the_first_administrator_goes_with_the_password(app, run, authed_client, note):
    add_permissions(app, "users_moderate")
    assert authed_client.put("/users/2", json={"password": "correct horse 1!"}).status_code == 200
    assert authed_client.put("/users/1", json={"password": "short"}).status_code == 400
    refused = authed_client.put("/users/1", json={"password": "correct horse 1!", "user_class_id": 99})
    assert refused.status_code == 403
    assert note.exists()
    assert authed_client.put("/users/1", json={"password": "correct horse 1!"}).status_code == 200
    assert not note.exists()


def test_the_command_for_passwords_deletes_that_file_too(run, note):
    assert run("passwd", "user_one", "--password-stdin", input="correct horse 1!\n").exit_code == 0
    assert not note.exists()


@pytest.mark.parametrize("command", ["show", "lock", "unlock", "disable", "enable", "passwd", "key"])
def test_a_user_who_is_not_there(run, command):
    found = run(command, "nobody", input="x\nx\n")
    assert (found.exit_code, found.stderr, found.stdout) == (1, "Error: there is no user nobody\n", "")


@pytest.mark.parametrize(
    "arguments",
    [("grant",), ("grant", "user_two"), ("class", "user_two"), ("lock",), ("dance",), ("list", "x")],
)
def test_wrong_usage_ends_with_2(run, arguments):
    assert run(*arguments).exit_code == 2


def test_a_key_still_works(run, status):
    key = run("key", "user_one").stdout.strip()
    assert key != KEY_OF_USER_1
    assert status(key) == 403
