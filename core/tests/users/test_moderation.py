"""``PUT /users/<id>``: who may change what of whom, and that everything or nothing is changed."""

import pytest
from sqlalchemy import func, select

from core.conftest import KEY_OF_USER_1, KEY_OF_USER_2, add_permissions
from core.db import db
from core.identity import OPERATOR
from core.models import Event
from core.testing import unguarded_routes
from core.users import services
from core.users.models import ClassPermission, User, UserClass, UserPermission

pytestmark = pytest.mark.any_database

MODERATOR = ("users_view", "users_moderate")
ADVANCED = (*MODERATOR, "users_moderate_advanced")
NO_LAST = "The last administrator cannot be locked, disabled or stripped of site_god_mode."


def failure(answer):
    return answer.status_code, answer.json["response"]


def could_not(what, *names):
    return 400, f"The following permissions could not be {what}: {', '.join(names)}."


def not_valid(name):
    return 400, f'Invalid data: {name} is not a valid permission (key "permissions")'


@pytest.fixture
def moderator(app, authed_client):
    """Sends as user 1, who may moderate."""
    add_permissions(app, *MODERATOR)
    return authed_client


@pytest.fixture
def advanced(app, authed_client):
    """Sends as user 1, who may change permissions and classes as far as his own go."""
    add_permissions(app, *ADVANCED, "invites_send", "invites_view", "jobs_view_others")
    return authed_client


@pytest.fixture
def god(app, authed_client):
    """Sends as user 1, an administrator."""
    add_permissions(app, "site_god_mode")
    return authed_client


@pytest.fixture
def stored(app):
    """``stored(2).locked``: a user as another process would read it."""

    def read(user_id):
        with app.app_context():
            return db.session.get(User, user_id)

    return read


@pytest.fixture
def granted(app):
    """``granted(2)``: what a user may do while not locked."""

    def read(user_id):
        with app.app_context():
            return set(services.effective_permissions(services.get_user(user_id)))

    return read


@pytest.fixture
def make_class(app):
    """``make_class("Staff", "users_view")``: the id of a new class."""

    def make(name, *permissions, secondary=False):
        with app.app_context():
            made = services.create_class(name, permissions, OPERATOR, secondary=secondary)
            db.session.commit()
            return made.id

    return make


def test_every_field_can_be_changed_and_read_back(god, make_class, stored, app):
    staff, lab, night = (
        make_class("Staff"),
        make_class("Lab", secondary=True),
        make_class("N", secondary=True),
    )
    changes = {
        "email": " New@Example.org ",
        "uploaded": 2**63 - 1,
        "downloaded": 5,
        "invites": 2**31 - 1,
        "locked": True,
        "enabled": False,
        "user_class_id": staff,
        "secondary_class_ids": [night, lab, lab],
    }
    answer = god.put("/users/2", json=changes)
    assert answer.status_code == 200, answer.text
    user = answer.json["response"]
    assert (user["id"], user["username"], user["enabled"], user["user_class"]) == (
        2,
        "user_two",
        False,
        "Staff",
    )
    found = stored(2)
    assert (found.email, found.uploaded, found.downloaded) == ("new@example.org", 2**63 - 1, 5)
    assert (found.invites, found.locked, found.enabled, found.user_class_id) == (
        2**31 - 1,
        True,
        False,
        staff,
    )
    with app.app_context():
        names = [found.name for found in services.get_user(2).secondary_classes]
    assert names == ["Lab", "N"]
    zeros = {"uploaded": 0, "downloaded": 0, "invites": 0, "secondary_class_ids": []}
    assert god.put("/users/2", json=zeros).status_code == 200
    found = stored(2)
    assert (found.uploaded, found.downloaded, found.invites, found.user_class_id) == (0, 0, 0, staff)
    with app.app_context():
        assert services.get_user(2).secondary_classes == []


def test_a_password_set_by_a_moderator_ends_the_keys_of_the_user(moderator, client_of):
    other = client_of(KEY_OF_USER_2)
    assert other.get("/users/me").status_code == 200
    assert moderator.put("/users/2", json={"password": "correct horse 1!"}).status_code == 200
    assert other.get("/users/me").status_code == 401
    assert moderator.get("/users/me").status_code == 200
    assert moderator.put("/users/1", json={"password": "correct horse 2!"}).status_code == 200
    assert moderator.get("/users/me").status_code == 200


BAD_CHANGES = [
    {"email": "nobody"},
    {"email": ""},
    {"email": "a@b" + "c" * 300},
    {"email": 7},
    {"password": "short"},
    {"password": "user_two@example.org"},
    {"password": ["correct horse 1!"]},
    {"password": None},
    {"uploaded": -1},
    {"uploaded": 2**63},
    {"downloaded": 10**400},
    {"downloaded": 1.5},
    {"invites": 2**31},
    {"invites": "3"},
    {"invites": True},
    {"locked": 1},
    {"enabled": "false"},
    {"enabled": None},
    {"user_class_id": 0},
    {"user_class_id": 99},
    {"user_class_id": 2**63 - 1},
    {"user_class_id": 2**63},
    {"secondary_class_ids": 1},
    {"secondary_class_ids": [1, 99]},
    {"secondary_class_ids": [-1]},
    {"secondary_class_ids": list(range(1, 200))},
    {"permissions": ["users_view"]},
    {"permissions": {"users_view": "yes"}},
    {"permissions": {"": True}},
    {"permissions": {"x" * 65: True}},
    {"permissions": {"never_heard_of": True}},
    {"permissions": {"never_heard_of": False}},
    {"username": "somebody"},
    {"id": 9},
]


def test_what_cannot_be_stored_is_refused_by_name_and_nothing_is_changed(god, stored):
    for changes in BAD_CHANGES:
        answer = god.put("/users/2", json={"invites": 5} | changes)
        assert answer.status_code == 400, changes
        assert answer.json["error"]["code"] == "validation_failed"
        assert next(iter(changes)) in answer.text
    assert stored(2).invites == 0


def test_an_empty_change_changes_nothing_and_writes_no_event(moderator, app):
    assert moderator.put("/users/2", json={}).status_code == 200
    assert moderator.put("/users/2", json={"locked": False, "invites": 0}).status_code == 200
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(Event)) == 0


def test_a_user_who_is_not_there(moderator):
    for number in ("0", "99", str(2**63 - 1), str(2**63), "9" * 400):
        answer = moderator.put(f"/users/{number}", json={})
        assert failure(answer) == (404, f"User {number} does not exist.")


def test_moderation_needs_its_permission(client, client_of):
    assert client.put("/users/2", json={}).status_code == 401
    answer = client_of(KEY_OF_USER_2).put("/users/2", json={"invites": 9})
    assert failure(answer) == (403, "You do not have permission to access this resource.")


def test_permissions_are_given_and_taken_all_or_none(advanced, granted):
    def put(**permissions):
        return advanced.put("/users/2", json={"permissions": permissions})

    assert put(invites_send=True, jobs_view_others=True).status_code == 200
    assert granted(2) == {"invites_send", "jobs_view_others"}
    assert failure(put(jobs_view_others=True, invites_send=True, invites_view=True)) == could_not(
        "added", "invites_send", "jobs_view_others"
    )
    assert failure(put(invites_view=False, users_view=False, jobs_view_others=False)) == could_not(
        "deleted", "invites_view", "users_view"
    )
    assert granted(2) == {"invites_send", "jobs_view_others"}
    assert put(invites_send=False, jobs_view_others=False, invites_view=True).status_code == 200
    assert granted(2) == {"invites_view"}


def test_what_a_class_gives_is_taken_from_one_user_and_given_back(app, god, granted):
    with app.app_context():
        services.change_class(1, {"invites_view": True}, OPERATOR)
        db.session.commit()
    assert granted(2) == {"invites_view"}
    for given, have in ((False, set()), (True, {"invites_view"}), (False, set())):
        assert god.put("/users/2", json={"permissions": {"invites_view": given}}).status_code == 200
        assert granted(2) == have
        assert granted(3) == {"invites_view"}
    again = god.put("/users/2", json={"permissions": {"invites_view": False}})
    assert failure(again) == could_not("deleted", "invites_view")


def test_a_moderator_may_touch_basic_permissions_alone(app, moderator, granted):
    add_permissions(app, "invites_send", "invites_view")
    assert moderator.put("/users/2", json={"permissions": {"invites_send": True}}).status_code == 200
    for given in (True, False):
        answer = moderator.put("/users/2", json={"permissions": {"invites_view": given}})
        assert failure(answer) == not_valid("invites_view")
    assert granted(2) == {"invites_send"}
    for changes in ({"user_class_id": 1}, {"secondary_class_ids": []}):
        assert moderator.put("/users/2", json=changes).status_code == 403


@pytest.mark.parametrize("locked", [False, True])
def test_an_administrator_is_moderated_by_administrators_alone(
    app, advanced, user_factory, api_key_factory, client_of, locked
):
    user_factory("root", "site_god_mode")
    boss = user_factory("boss", "site_god_mode")
    if locked:
        with app.app_context():
            services.change_user(boss.id, {"locked": True}, OPERATOR)
            db.session.commit()
    for changes in (
        {"password": "correct horse 1!"},
        {"email": "x@example.org"},
        {"locked": True},
        {"locked": False},
        {"permissions": {"site_god_mode": False}},
        {},
    ):
        assert advanced.put(f"/users/{boss.id}", json=changes).status_code == 403
    add_permissions(app, "site_god_mode")
    with app.app_context():
        scoped = client_of(api_key_factory(services.get_user(1), permissions=list(ADVANCED)))
    answer = scoped.put(f"/users/{boss.id}", json={"locked": True})
    assert (answer.status_code, answer.json["error"]["code"]) == (403, "key_scope")
    assert advanced.put(f"/users/{boss.id}", json={"locked": True}).status_code == 200


WAYS_IN = pytest.mark.parametrize("body", [{"password": "correct horse 1!"}, {"email": "me@example.org"}])


@WAYS_IN
def test_nobody_gets_into_an_account_that_may_do_more(app, moderator, client_of, api_key_factory, body):
    """By its password, or by an address to which a link for a new one is mailed."""
    add_permissions(app, "users_moderate_advanced", user_id=2)
    assert moderator.put("/users/2", json=body).status_code == 403
    add_permissions(app, "users_moderate_advanced")
    assert moderator.put("/users/2", json=body).status_code == 200
    with app.app_context():
        scoped = client_of(api_key_factory(services.get_user(1), permissions=["users_moderate"]))
    answer = scoped.put("/users/1", json=body)
    assert (answer.status_code, answer.json["error"]["code"]) == (403, "key_scope")
    assert scoped.put("/users/3", json=body).status_code == 200


@WAYS_IN
def test_a_restricted_key_does_not_get_to_all_of_its_user(app, moderator, client_of, api_key_factory, body):
    """Not even for the sake of what everybody may: it would open what is this user's alone."""
    with app.app_context():
        services.change_class(1, {"invites_view": True}, OPERATOR)
        db.session.commit()
        scoped = client_of(api_key_factory(services.get_user(1), permissions=[*MODERATOR]))
    assert scoped.put("/users/1", json=body).json["error"]["code"] == "key_scope"
    assert scoped.put("/users/2", json=body).status_code == 200
    assert moderator.put("/users/1", json=body).status_code == 200


LAST = {
    "lock": lambda: services.change_user(1, {"locked": True}, OPERATOR),
    "disable": lambda: services.change_user(1, {"enabled": False}, OPERATOR),
    "revoke": lambda: services.change_user(1, {"permissions": {"site_god_mode": False}}, OPERATOR),
    "class": lambda: services.change_user(1, {"user_class_id": 1}, OPERATOR),
    "secondary": lambda: services.change_user(1, {"secondary_class_ids": []}, OPERATOR),
    "strip the class": lambda: services.change_class(2, {"site_god_mode": False}, OPERATOR),
    "strip the other": lambda: services.change_class(1, {"site_god_mode": False}, OPERATOR, secondary=True),
}


@pytest.mark.parametrize(
    ("source", "way"),
    [
        ("own", "lock"),
        ("own", "disable"),
        ("own", "revoke"),
        ("class", "lock"),
        ("class", "revoke"),
        ("class", "class"),
        ("class", "strip the class"),
        ("secondary", "disable"),
        ("secondary", "revoke"),
        ("secondary", "secondary"),
        ("secondary", "strip the other"),
    ],
)
def test_the_last_administrator_stays(app, clean_database, granted, source, way):
    changes = {
        "own": lambda: services.change_user(1, {"permissions": {"site_god_mode": True}}, OPERATOR),
        "class": lambda: services.change_user(1, {"user_class_id": 2}, OPERATOR),
        "secondary": lambda: services.change_class(1, {"site_god_mode": True}, OPERATOR, secondary=True),
    }
    gods = UserClass(id=2, name="Gods", permissions=[ClassPermission(permission="site_god_mode")])
    db.session.add(gods)
    db.session.flush()
    changes[source]()
    db.session.commit()
    # These hold it, and cannot sign in or have lost it: they do not count.
    add_permissions(app, "site_god_mode", user_id=2)
    add_permissions(app, "site_god_mode", user_id=3)
    services.change_user(2, {"locked": True}, OPERATOR)
    services.change_user(3, {"enabled": False}, OPERATOR)
    db.session.commit()
    with pytest.raises(Exception, match="last administrator") as refused:
        LAST[way]()
    assert (refused.value.status, refused.value.message) == (400, NO_LAST)
    db.session.rollback()
    assert "site_god_mode" in granted(1)
    services.change_user(2, {"locked": False}, OPERATOR)
    LAST[way]()
    db.session.commit()
    assert "site_god_mode" not in granted(1) or not services.get_user(1).enabled


def test_a_request_that_began_before_its_sender_was_locked_changes_nothing(app, moderator, stored):
    """The body arrives late; who sends it has been locked meanwhile."""

    class Late:
        def __init__(self):
            self.text = b'{"invites": 7}'

        def read(self, size=-1):
            if self.text:
                with app.app_context():
                    services.change_user(1, {"locked": True}, OPERATOR)
                    db.session.commit()
            text, self.text = self.text, b""
            return text

    answer = moderator.put("/users/2", data=Late().text, environ_overrides={"wsgi.input": Late()})
    assert failure(answer) == (403, "Your account has been locked.")
    assert stored(2).invites == 0


def test_a_locked_administrator_keeps_what_locking_leaves_and_no_more(app, god, client_of):
    add_permissions(app, "site_god_mode", user_id=2)
    app.config["LOCKED_ACCOUNT_PERMISSIONS"] = ["users_view", "site_god_mode"]
    try:
        assert god.put("/users/2", json={"locked": True}).status_code == 200
        locked = client_of(KEY_OF_USER_2)
        assert locked.get("/users/1").status_code == 200
        assert failure(locked.put("/users/1", json={})) == (403, "Your account has been locked.")
        assert failure(locked.get("/permissions")) == (403, "Your account has been locked.")
    finally:
        app.config["LOCKED_ACCOUNT_PERMISSIONS"] = []


def test_events_say_who_changed_which_fields_and_never_a_secret(app, god):
    changes = {
        "password": "correct horse 1!",
        "locked": True,
        "permissions": {"users_view": True},
        "invites": 3,
    }
    assert god.put("/users/2", json=changes).status_code == 200
    with app.app_context():
        events = {event.name: event for event in db.session.scalars(select(Event))}
    assert events.keys() == {
        "core.user.changed",
        "core.user.locked",
        "core.user.password_changed",
        "core.user.permissions_changed",
    }
    assert {(event.actor_id, event.actor, event.target) for event in events.values()} == {
        (1, "user_one", "user:2")
    }
    assert events["core.user.changed"].payload == {"fields": ["invites", "locked", "password", "permissions"]}
    assert events["core.user.permissions_changed"].payload == {"granted": ["users_view"], "revoked": []}
    assert events["core.user.locked"].payload == {"locked": True, "enabled": True}
    assert "horse" not in str([event.payload for event in events.values()])


def test_a_cold_identity_costs_two_questions(app, client_of, query_counter):
    add_permissions(app, "users_view")
    client = client_of(KEY_OF_USER_1)
    assert client.get("/users/me").status_code == 200  # the last use is written down
    app.extensions["pulsar"].identities.clear()
    with query_counter() as statements:
        assert client.get("/health").status_code == 200
    asked = [text for text in statements if "core_users" in text or "core_user_permissions" in text]
    assert len(asked) == 2
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(UserPermission)) == 1


def test_every_route_of_core_says_who_may_call_it(app):
    assert unguarded_routes(app) == []
