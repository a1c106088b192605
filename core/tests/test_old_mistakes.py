"""Mistakes that a platform of this kind has made before, and the tests that keep this one from making them.

Each line says what holds instead, and which test would notice. Those without another place stand below.
"""

import ast
import threading
from pathlib import Path

import pytest
from sqlalchemy import update

from core.app import create_app
from core.conftest import KEY_OF_USER_2, add_permissions
from core.db import db
from core.settings import Config
from core.users import services
from core.users.models import User

TESTS = Path(__file__).resolve().parent
SITE = TESTS.parents[1] / "tests"
PLACES = {
    "a used invite is spent, and links who invited with who came":
        "people/test_registration.py::test_an_invite_brings_one_user_who_knows_who_asked",
    "a restricted key makes no wider one":
        "test_api_keys.py::test_a_scoped_key_makes_no_wider_one",
    "the scope of a key hides attributes":
        "people/test_users.py::test_a_key_with_a_scope_hides_what_its_user_may_see",
    "the scope of a key hides what belongs to others":
        "test_old_mistakes.py::test_the_scope_of_a_key_hides_what_belongs_to_others",
    "a request with a key computes no digest of a password":
        "test_passwords.py::test_a_request_with_a_key_costs_no_digest_of_a_password",
    "too many requests are 429":
        "limits/test_requests.py::test_the_next_request_of_a_key_is_refused_and_says_for_how_long",
    "a key is asked for without a password, with NUL, with any timeout or scope, and nothing breaks":
        "test_api_keys.py::test_odd_bodies_are_refused_and_make_nothing",
    "a number that does not fit is refused":
        "users/test_moderation.py::test_what_cannot_be_stored_is_refused_by_name_and_nothing_is_changed",
    "zero is a value":
        "users/test_moderation.py::test_every_field_can_be_changed_and_read_back",
    "a notification that is not there is 404":
        "people/test_notifications.py::test_those_of_others_need_the_permission_for_others",
    "a type of notification that is not there is 400":
        "people/test_notifications.py::test_many_cannot_be_marked_as_unread_and_an_unknown_type_is_400",
    "limit and page of a query are numbers":
        "people/test_notifications.py::test_one_type_is_listed_in_pages_with_what_was_read_if_asked_for",
    "an empty secondary class can be deleted":
        "users/test_classes.py::test_a_class_is_made_read_changed_and_deleted",
    "what a class gives and no longer gives holds for users who are known already":
        "site/test_processes.py::test_a_lock_or_a_revocation_in_one_server_holds_on_the_next_request_in_the_other",
    "accounts are locked and disabled by command":
        "users/test_admin_commands.py::test_accounts_are_locked_and_disabled_and_let_in_again",
    "a class is set, and the first administrator made, by command":
        "users/test_admin_commands.py::test_a_user_is_put_into_a_class",
    "a password that a moderator sets ends the keys":
        "users/test_moderation.py::test_a_password_set_by_a_moderator_ends_the_keys_of_the_user",
    "text that looks like JSON is left alone, and streams are not read":
        "test_responses.py::test_only_json_that_is_not_streamed_is_enveloped",
    "a short token is a bad one":
        "test_identity.py::test_a_bad_key_is_refused_everywhere",
    "a key of an administrator lists permissions that exist":
        "test_api_keys.py::test_unknown_permissions_are_refused_for_an_administrator_too",
    "modifications belong to one app":
        "test_modifications.py::test_two_apps_in_one_process_do_not_see_each_other",
    "a list in the configuration belongs to one app":
        "test_old_mistakes.py::test_a_list_in_the_configuration_belongs_to_one_app",
    "nobody else sees a change before it is stored, or keeps what was there before":
        "test_old_mistakes.py::test_what_is_known_of_a_user_changes_with_the_commit",
    "nothing is read back that could be a program":
        "test_old_mistakes.py::test_nothing_stored_is_unpickled",
    "tables of plugins go up, agree with the models, and go down, in any set":
        "site/test_migrations.py::test_any_set_of_plugins_goes_up_agrees_with_its_models_goes_down_and_up_again",
    "nobody gives himself what he does not hold":
        "users/test_escalation.py::test_nobody_gives_what_they_do_not_hold",
    "nobody changes the password of an administrator but administrators":
        "users/test_moderation.py::test_an_administrator_is_moderated_by_administrators_alone",
    "the scope of a new key is a list, also when it is empty":
        "test_api_keys.py::test_a_key_is_made_once_shown_and_works",
    "a revoked invite leaves the list of its sender":
        "people/test_invites.py::test_a_revoked_invite_comes_back_to_its_sender_once",
}  # fmt: skip


@pytest.mark.parametrize("promise", PLACES)
def test_a_test_keeps_the_promise(promise):
    name, _, function = PLACES[promise].partition("::")
    path = SITE / name.removeprefix("site/") if name.startswith("site/") else TESTS / name
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_scope_of_a_key_hides_what_belongs_to_others(app, client_of, api_key_factory):
    """What the user may do with others' keys, invites and jobs, a key that does not list it may not."""
    others = ("api_keys_view_others", "invites_view_others", "jobs_view_others", "notifications_view_others")
    own = ("api_keys_view", "invites_view", "notifications_view")
    add_permissions(app, *others, *own)
    whole = client_of(api_key_factory(services.get_user(1)))
    narrow = client_of(api_key_factory(services.get_user(1), permissions=list(own)))
    other = KEY_OF_USER_2[:10]
    for path, status in (
        (f"/api_keys/{other}", 404),
        ("/api_keys?user_id=2", 403),
        ("/invites?user_id=2", 403),
        ("/notifications?user_id=2", 403),
    ):
        assert whole.get(path).status_code == 200
        assert narrow.get(path).status_code == status


def test_a_list_in_the_configuration_belongs_to_one_app(tmp_path):
    (tmp_path / "config.py").write_text("SECRET_KEY = 'a secret of the test'\n", encoding="utf-8")
    lists = [key for key, setting in vars(Config).items() if isinstance(getattr(setting, "default", 0), list)]
    assert {"BASIC_PERMISSIONS", "PLUGINS"} <= set(lists)
    first = create_app(tmp_path, TESTING=True)
    before = {key: list(first.config[key]) for key in lists}
    for key in lists:
        first.config[key].append("added")
    second = create_app(tmp_path, TESTING=True)
    assert {key: second.config[key] for key in lists} == before


def test_what_is_known_of_a_user_changes_with_the_commit(app, clean_database, client_of):
    """Somebody asks while a lock is not stored yet: that must not be remembered as the last word."""
    client = client_of(KEY_OF_USER_2)
    add_permissions(app, "users_view", user_id=2)
    answers = []

    def ask():
        thread = threading.Thread(target=lambda: answers.append(client.get("/users/1").status_code))
        thread.start()
        thread.join()

    ask()
    app.extensions["pulsar"].identities.clear()
    if db.engine.dialect.name != "sqlite":  # which lets nobody note the use of a key meanwhile
        db.session.execute(update(User).where(User.id == 2).values(locked=True))
        services.touch(2)
        ask()
    db.session.execute(update(User).where(User.id == 2).values(locked=True))
    services.touch(2)
    db.session.commit()
    ask()
    assert answers == ([200, 403] if db.engine.dialect.name == "sqlite" else [200, 200, 403])


def test_nothing_stored_is_unpickled():
    sources = list((TESTS.parent / "core").rglob("*.py"))
    assert sources
    assert [path.name for path in sources if "pickle" in path.read_text(encoding="utf-8")] == []
