"""Nobody gets further than he is: by no road, with no credential, and not by being quick."""

import threading

import pytest
from sqlalchemy import event, select

from core.conftest import KEY_OF_USER_1, KEY_OF_USER_2, add_permissions
from core.db import db
from core.errors import PulsarError
from core.identity import OPERATOR
from core.users import services
from core.users.models import (
    ApiKey,
    ClassPermission,
    SecondaryClass,
    SecondaryClassMember,
    SecondaryClassPermission,
    User,
    UserClass,
    UserPermission,
)

pytestmark = pytest.mark.any_database

# Everything with which permissions are given, and of the rest nothing.
GIVING = (
    "users_view",
    "users_moderate",
    "users_moderate_advanced",
    "userclasses_list",
    "userclasses_modify",
    "api_keys_view",
)
WANTED = "site_view_audit"
ADDED = (400, f"The following permissions could not be added: {WANTED}.")
GIVEN = (403, f"You cannot give permissions that you do not hold: {WANTED}.")
KEYED = (400, f"A key cannot have these permissions: {WANTED}.")
AUDITORS = 1000  # id of a class, and of a secondary class, that gives it
OUT_OF_SCOPE = (403, "This APIKey does not have permission to access this resource.")
ROADS = {
    "to another": ("PUT", "/users/3", {"permissions": {WANTED: True}}, ADDED),
    "to oneself": ("PUT", "/users/1", {"permissions": {WANTED: True}}, ADDED),
    "another by a class": ("PUT", "/users/3", {"user_class_id": AUDITORS}, GIVEN),
    "oneself by a class": ("PUT", "/users/1", {"user_class_id": AUDITORS}, GIVEN),
    "another by a secondary class": ("PUT", "/users/3", {"secondary_class_ids": [AUDITORS]}, GIVEN),
    "oneself by a secondary class": ("PUT", "/users/1", {"secondary_class_ids": [1, AUDITORS]}, GIVEN),
    "a new class": ("POST", "/user_classes", {"name": "X", "permissions": [WANTED]}, GIVEN),
    "a new secondary class": (
        "POST", "/user_classes", {"name": "X", "permissions": [WANTED], "secondary": True}, GIVEN
    ),
    "one's class": ("PUT", "/user_classes/1", {"permissions": {WANTED: True}}, GIVEN),
    "one's secondary class": (
        "PUT", "/user_classes/1", {"permissions": {WANTED: True}, "secondary": True}, GIVEN
    ),
    "a key": ("POST", "/api_keys", {"permissions": [WANTED]}, KEYED),
    "a key, among others": ("POST", "/api_keys", {"permissions": ["users_view", WANTED]}, KEYED),
}  # fmt: skip


@pytest.fixture
def auditors(clean_database):
    """Classes of both kinds that give what the callers of these tests lack."""
    db.session.add_all(
        [
            UserClass(id=AUDITORS, name="Auditors", permissions=[ClassPermission(permission=WANTED)]),
            SecondaryClass(
                id=AUDITORS, name="Auditors", permissions=[SecondaryClassPermission(permission=WANTED)]
            ),
        ]
    )
    db.session.commit()


def by_key(app, client_of, api_key_factory):
    add_permissions(app, *GIVING)
    return client_of(KEY_OF_USER_1)


def by_session(app, client_of, api_key_factory):
    add_permissions(app, *GIVING)
    client = app.test_client()
    made = client.post("/sessions", json={"username": "user_one", "password": "12345"})
    client.environ_base["HTTP_X_CSRF_TOKEN"] = made.json["response"]["csrf_token"]
    return client


def by_restricted_key_of_an_administrator(app, client_of, api_key_factory):
    add_permissions(app, "site_god_mode")
    with app.app_context():
        return client_of(api_key_factory(services.get_user(1), permissions=list(GIVING)))


def rights(app):
    """All that anybody may do, and what the keys and classes give."""
    with app.app_context():
        everyone = {
            user.id: services.effective_permissions(user) for user in db.session.scalars(select(User))
        }
        classes = [
            list(db.session.execute(select(*table.__table__.columns).order_by(*table.__table__.columns)))
            for table in (UserClass, SecondaryClass, ClassPermission, SecondaryClassPermission)
        ]
        return everyone, classes, sorted(map(str, db.session.scalars(select(ApiKey.permissions))))


@pytest.mark.parametrize("caller", [by_key, by_session, by_restricted_key_of_an_administrator])
@pytest.mark.parametrize("road", ROADS)
def test_nobody_gives_what_they_do_not_hold(app, auditors, client_of, api_key_factory, caller, road):
    client = caller(app, client_of, api_key_factory)
    before = rights(app)
    method, path, body, expected = ROADS[road]
    if caller is by_restricted_key_of_an_administrator and path == "/users/1":
        expected = OUT_OF_SCOPE  # an administrator is changed by administrators alone, and this is none here
    answer = client.open(path, method=method, json=body)
    assert (answer.status_code, answer.json["response"]) == expected
    assert rights(app) == before


@pytest.mark.parametrize("road", ROADS)
def test_whoever_holds_it_gives_it(app, auditors, client_of, api_key_factory, road):
    add_permissions(app, WANTED)
    client = by_key(app, client_of, api_key_factory)
    method, path, body, expected = ROADS[road]
    answer = client.open(path, method=method, json=body)
    if road == "to oneself":
        assert (answer.status_code, answer.json["response"]) == expected  # it is there already
    else:
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("secondary", [False, True])
def test_a_class_of_administrators_is_for_administrators_alone(app, client_of, secondary):
    add_permissions(app, *GIVING, WANTED)
    client = client_of(KEY_OF_USER_1)
    with app.app_context():
        gods = services.create_class("Gods", ["site_god_mode", WANTED], OPERATOR, secondary=secondary)
        db.session.commit()
        path = f"/user_classes/{gods.id}"
    change = {"permissions": {WANTED: False}, "secondary": secondary}
    assert client.put(path, json=change).status_code == 403
    assert client.delete(f"{path}?secondary={int(secondary)}").status_code == 403
    add_permissions(app, "site_god_mode")
    assert client.put(path, json=change).status_code == 200
    assert client.delete(f"{path}?secondary={int(secondary)}").status_code == 200


@pytest.fixture
def two_administrators(app, clean_database):
    """User 1 by a grant, and user 2 by a class, a secondary class, or a grant as well."""

    def make(source):
        add_permissions(app, "site_god_mode")
        gods = [ClassPermission(permission="site_god_mode")] if source == "class" else []
        also = [SecondaryClassPermission(permission="site_god_mode")] if source == "secondary" else []
        db.session.add(UserClass(id=2, name="Gods", permissions=gods))
        db.session.add(SecondaryClass(id=2, name="Gods", permissions=also))
        db.session.flush()
        if source == "class":
            services.get_user(2).user_class_id = 2
        elif source == "secondary":
            db.session.add(SecondaryClassMember(user_id=2, secondary_class_id=2))
        else:
            db.session.add(UserPermission(user_id=2, permission="site_god_mode", granted=True))
        services.touch(2)
        db.session.commit()

    return make


def administrators(app):
    with app.app_context():
        return [
            user.id
            for user in db.session.scalars(
                select(User).where(User.enabled, User.locked.is_(False)).order_by(User.id)
            )
            if "site_god_mode" in services.effective_permissions(user)
        ]


def put(key, path, **body):
    def call(app):
        headers = {"Authorization": f"Token {key}"}
        return app.test_client().put(path, json=body, headers=headers).status_code

    return call


def command(**changes):
    """What ``flask admin lock user_two`` and its like do."""

    def call(app):
        with app.app_context():
            try:
                services.change_user(2, changes, OPERATOR)
                db.session.commit()
            except PulsarError as exc:
                db.session.rollback()
                return exc.status
        return 200

    return call


GONE = {"permissions": {"site_god_mode": False}}
# How user 2 came by it; what ends user 1, and what ends user 2, in the same moment.
RACES = {
    "each locks the other": (
        "own", put(KEY_OF_USER_2, "/users/1", locked=True), put(KEY_OF_USER_1, "/users/2", locked=True)
    ),
    "each disables the other": (
        "own", put(KEY_OF_USER_2, "/users/1", enabled=False), put(KEY_OF_USER_1, "/users/2", enabled=False)
    ),
    "each resigns": (
        "own", put(KEY_OF_USER_1, "/users/1", **GONE), put(KEY_OF_USER_2, "/users/2", **GONE)
    ),
    "one resigns, the other is moved to another class": (
        "class", put(KEY_OF_USER_1, "/users/1", **GONE), put(KEY_OF_USER_1, "/users/2", user_class_id=1)
    ),
    "one is locked, the class of the other is stripped": (
        "class", put(KEY_OF_USER_2, "/users/1", locked=True), put(KEY_OF_USER_1, "/user_classes/2", **GONE)
    ),
    "one is disabled, the other leaves a secondary class": (
        "secondary",
        put(KEY_OF_USER_2, "/users/1", enabled=False),
        put(KEY_OF_USER_2, "/users/2", secondary_class_ids=[]),
    ),
    "one resigns, the secondary class of the other is stripped": (
        "secondary",
        put(KEY_OF_USER_1, "/users/1", **GONE),
        put(KEY_OF_USER_2, "/user_classes/2", **GONE, secondary=True),
    ),
    "one is locked, the other on the command line": (
        "own", put(KEY_OF_USER_2, "/users/1", locked=True), command(locked=True)
    ),
}  # fmt: skip


@pytest.fixture
def meet_at_the_lock(app):
    """Both requests have been admitted as those of administrators before either of them changes anything."""
    barrier, met = threading.Barrier(2, timeout=30), set()

    def wait(_connection, statement, *_):
        locks = getattr(statement, "_for_update_arg", None) is not None
        if locks and threading.current_thread() not in met:
            met.add(threading.current_thread())
            barrier.wait()

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_execute", wait)
    yield met
    event.remove(engine, "before_execute", wait)


@pytest.mark.parametrize("race", RACES)
def test_of_two_administrators_one_stays(app, two_administrators, meet_at_the_lock, at_once, race):
    source, *calls = RACES[race]
    two_administrators(source)
    assert administrators(app) == [1, 2]
    answers = at_once(*((lambda call=call: call(app)) for call in calls))
    assert len(meet_at_the_lock) == 2
    assert len(administrators(app)) == 1
    assert sorted(answers)[0] == 200
    assert sorted(answers)[1] in (400, 403)
