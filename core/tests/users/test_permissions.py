"""``/permissions``: which there are, families, orphans, and why somebody may or may not."""

import pytest
from sqlalchemy import insert
from sqlalchemy.orm import Mapped

from core.conftest import CHEAP_ARGON2, KEY_OF_USER_1, KEY_OF_USER_2, _add_base_data, add_permissions
from core.db import PK, Base, BigInt, db
from core.identity import OPERATOR, Identity
from core.sharing import Audience, Level, can, share
from core.users import services
from core.users.models import ApiKey, ClassPermission, UserPermission

PERMISSIONS = r"""
    from core.permissions import PermissionFamily, PermissionsEnum

    class P(PermissionsEnum):
        LOOK = "probed_look", "Look.", True

    PROJECTS = PermissionFamily(r"probed_project_\d+|users_.*", "Work on one project.", basic=True)
    LABS = PermissionFamily(r"probed_lab_[a-z]+", "Enter one laboratory.")
    """


class Thing(Base):
    """What the plugin of these tests shares."""

    __tablename__ = "probed_things"

    id: Mapped[PK]
    owner_id: Mapped[BigInt]


@pytest.fixture
def probe(make_plugin, make_site):
    """A site with a plugin that has a permission, two families of them, and things to share."""
    make_plugin("probed", permissions=PERMISSIONS)
    app = make_site("probed", tables=True, ARGON2_PARAMETERS=CHEAP_ARGON2)
    with app.app_context():
        _add_base_data()
    return app


@pytest.fixture
def ask(probe):
    """``ask("/permissions")``: what user 1, who may explain, is answered, or told."""
    add_permissions(probe, "permissions_modify")

    def get(path, **query):
        header = {"Authorization": f"Token {KEY_OF_USER_1}"}
        return probe.test_client().get(path, query_string=query, headers=header).json["response"]

    return get


@pytest.fixture
def why(ask):
    """``why("user_two", "users_view")``: whether, and the sentence that says why."""

    def explain(user, permission, **more):
        found = ask("/permissions/explain", user=user, permission=permission, **more)
        return (found["allowed"], found["sentence"]) if isinstance(found, dict) else found

    return explain


def change(app, user_id, **changes):
    with app.app_context():
        services.change_user(user_id, changes, OPERATOR)
        db.session.commit()


def store(app, *rows):
    with app.app_context():
        db.session.add_all(rows)
        db.session.commit()


def test_permissions_are_listed(ask, authed_client):
    names = ask("/permissions")["permissions"]
    assert names == sorted(names)
    assert {"probed_look", "users_view"} <= set(names)
    assert authed_client.get("/permissions").status_code == 403
    assert authed_client.get("/permissions/explain?user=1&permission=x").status_code == 403


def test_permissions_are_described_with_families_and_orphans(probe, ask):
    store(
        probe,
        UserPermission(user_id=2, permission="gone_plugin", granted=True),
        ClassPermission(user_class_id=1, permission="gone_class"),
        ClassPermission(user_class_id=1, permission="probed_project_7"),
    )
    found = ask("/permissions", detail=1)
    described = {entry["name"]: entry for entry in found["permissions"]}
    assert described["probed_look"] == {
        "name": "probed_look",
        "plugin": "probed",
        "description": "Look.",
        "for_users": True,
        "basic": False,
        "family": False,
    }
    assert described["probed_lab_[a-z]+"] | described["probed_look"] == described["probed_look"]
    assert described["probed_lab_[a-z]+"]["family"] is True
    assert described["invites_send"]["basic"] is True
    assert found["orphans"] == ["gone_class", "gone_plugin"]


def test_an_orphan_gives_nothing_and_can_be_removed_but_not_added(probe):
    store(
        probe,
        UserPermission(user_id=2, permission="gone_plugin", granted=True),
        ClassPermission(user_class_id=1, permission="gone_class"),
    )
    add_permissions(probe, "site_god_mode")
    client = probe.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Token {KEY_OF_USER_1}"

    def put(path="/users/2", **permissions):
        answer = client.put(path, json={"permissions": permissions})
        return answer.status_code, answer.json["response"]

    with probe.app_context():
        assert services.effective_permissions(services.get_user(2)) == []
    never = (400, 'Invalid data: gone_plugin is not a valid permission (key "permissions")')
    assert put(gone_plugin=True) == never
    assert put("/user_classes/1", gone_plugin=True) == never
    assert put(gone_plugin=False, gone_class=False)[0] == 200
    assert put(gone_plugin=False) == never
    assert put("/user_classes/1", gone_class=False)[0] == 200
    with probe.app_context():
        assert services.list_orphans() == ["gone_class"]  # the revocation of it, for user 2 alone


def test_names_of_a_family_are_permissions(probe):
    add_permissions(probe, "users_moderate", "probed_project_7", "probed_lab_x")
    client = probe.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Token {KEY_OF_USER_1}"

    def put(name):
        return client.put("/users/2", json={"permissions": {name: True}}).json["response"]

    assert put("probed_project_7")["basic_permissions"] == ["probed_project_7"]
    assert put("probed_project_8") == "The following permissions could not be added: probed_project_8."
    # The family is not a basic one; the name has no digits; the pattern reaches out of the plugin.
    for name in (
        "probed_lab_x",
        "probed_project_",
        "probed_project_7x",
        "users_nonsense",
        "probed_project_७",
    ):
        assert put(name) == f'Invalid data: {name} is not a valid permission (key "permissions")'
    with probe.app_context():
        user = services.get_user(2)
        assert services.effective_permissions(user) == ["probed_project_7"]
        key, _ = services.create_key(user, permissions=["probed_project_7"])
        assert key.permissions == ["probed_project_7"]


def test_a_family_of_foreign_names_keeps_the_plugin_out(make_plugin, make_site):
    text = "from core.permissions import PermissionFamily\nF = PermissionFamily('users_[a-z]+', 'All.')"
    make_plugin("probed", permissions=text)
    with pytest.raises(Exception, match=r"users_\[a-z\]\+ do not start with probed_"):
        make_site("probed")


def test_it_is_explained_where_a_permission_comes_from(probe, why):
    with probe.app_context():
        lab = services.create_class("Lab", ["jobs_view_others"], OPERATOR, secondary=True).id
        services.change_class(1, {"users_view": True}, OPERATOR)
        db.session.commit()
    change(probe, 2, secondary_class_ids=[lab], permissions={"invites_view": True})
    assert why("user_two", "users_view") == (True, "user_two may: the class User gives the permission.")
    assert why("2", "jobs_view_others") == (
        True,
        "user_two may: the secondary class Lab gives the permission.",
    )
    granted = (True, "user_two may: the permission was granted to this user alone.")
    assert why("USER_TWO", "invites_view") == granted
    assert why("2", "probed_look") == (False, "user_two may not: nothing gives the permission.")
    change(probe, 2, permissions={"users_view": False})
    taken = (False, "user_two may not: the permission was taken from this user alone.")
    assert why("2", "users_view") == taken
    store(probe, ClassPermission(user_class_id=1, permission="gone_look"))
    assert why("2", "gone_look") == (
        False,
        "user_two may not: no enabled plugin declares the permission, so nobody gets it.",
    )
    change(probe, 3, permissions={"site_god_mode": True})
    god = (True, "user_three may: the user holds site_god_mode, which stands for every permission.")
    assert why("3", "never_heard_of") == god
    change(probe, 2, locked=True)
    assert why("2", "invites_view") == (False, "user_two may not: the account is locked.")
    probe.config["LOCKED_ACCOUNT_PERMISSIONS"] = ["invites_view"]
    kept = (True, "user_two may: the account is locked, and locked accounts keep this.")
    assert why("2", "invites_view") == kept
    change(probe, 2, enabled=False)
    assert why("2", "invites_view") == (False, "user_two may not: the account is disabled.")


def test_the_steps_say_what_was_looked_at(ask):
    found = ask("/permissions/explain", user="1", permission="permissions_modify", key=KEY_OF_USER_1[:10])
    assert [(step["step"], step["effect"]) for step in found["steps"]] == [
        ("permission", "nothing"),
        ("class", "nothing"),
        ("secondary_class", "nothing"),
        ("own", "gives"),
        ("god_mode", "nothing"),
        ("locked", "nothing"),
        ("enabled", "nothing"),
        ("key_scope", "nothing"),
        ("key", "nothing"),
    ]
    assert (found["user"], found["permission"]) == ("user_one", "permissions_modify")


def test_a_key_is_explained(probe, why):
    add_permissions(probe, "probed_look", "users_view", user_id=2)
    with probe.app_context():
        key, _ = services.create_key(services.get_user(2), permissions=["probed_look"])
        db.session.commit()
        narrow = key.hash
    granted = (True, "user_two may: the permission was granted to this user alone.")
    assert why("2", "users_view", key=KEY_OF_USER_2[:10]) == granted
    assert why("2", "probed_look", key=narrow) == granted
    out = (False, "user_two may not: the key is restricted, and its scope lacks the permission.")
    assert why("2", "users_view", key=narrow) == out
    revoked = (False, "user_two may not: the key is revoked or expired.")
    assert why("2", "users_view", key="1234567890") == revoked
    for other in (KEY_OF_USER_1[:10], "xxxxxxxxxx"):
        assert why("2", "users_view", key=other) == f"APIKey {other} does not exist."


def test_an_expired_key_is_explained(probe, why, freeze_time):
    add_permissions(probe, "users_view", user_id=2)
    with probe.app_context():
        key, _ = services.create_key(services.get_user(2), timeout=60)
        services.touch(1)
        db.session.get(ApiKey, KEY_OF_USER_1[:10]).permanent = True
        db.session.commit()
        short = key.hash
    freeze_time(100)
    expired = (False, "user_two may not: the key is revoked or expired.")
    assert why("2", "users_view", key=short) == expired


def test_a_thing_is_explained_by_the_predicate_of_sharing(probe, why):
    add_permissions(probe, "probed_look", user_id=2)
    add_permissions(probe, "probed_look", user_id=1)
    with probe.app_context():
        db.session.execute(insert(Thing), [{"id": number, "owner_id": 3} for number in (1, 2, 3)])
        db.session.execute(insert(Thing), [{"id": 4, "owner_id": 2}])
        share(db.session.get(Thing, 1), Audience.SECONDARY_CLASS, Level.WRITE, subject_id=1)
        share(db.session.get(Thing, 2), Audience.PUBLIC, Level.READ)
        db.session.commit()
    alone = "the permission was granted to this user alone."
    lab = (True, f"user_one may: {alone} it is shared with a secondary class of the user.")
    assert why("1", "probed_look", object="probed_things:1", level="write") == lab
    public = (True, f"user_two may: {alone} it is shared with the public.")
    assert why("2", "probed_look", object="probed_things:2") == public
    assert why("2", "probed_look", object="probed_things:4", level="manage") == (
        True,
        f"user_two may: {alone} it is the user's own.",
    )
    for number in (1, 3, 99, 10**17):  # closed, and not there: the same words
        thing = f"probed_things:{number}"
        nothing = f"user_two may not: nothing lets the user read {thing}, or it is not there."
        assert why("2", "probed_look", object=thing) == (False, nothing)
    missing = 'Invalid data: no such kind of thing can be shared (key "object")'
    for kind in ("core_jobs", "core_users", "probed_nothing", "other_things"):
        assert why("2", "probed_look", object=f"{kind}:1") == missing
    assert why("2", "users_view", object="probed_things:2") == (
        False,
        "user_two may not: nothing gives the permission.",
    )
    with probe.app_context():
        member = Identity(9, secondary_class_ids=(1,))
        same_number = Identity(9, user_class_ids=(1,))
        assert db.session.query(Thing).filter(can(Level.WRITE, Thing, member)).count() == 1
        assert db.session.query(Thing).filter(can(Level.WRITE, Thing, same_number)).count() == 0


BAD_QUESTIONS = [
    {},
    {"user": "1"},
    {"permission": "users_view"},
    {"user": "x" * 33, "permission": "users_view"},
    {"user": "a\x00", "permission": "users_view"},
    {"user": "1", "permission": "x" * 65},
    {"user": "1", "permission": ""},
    {"user": "1", "permission": "users_view", "key": ""},
    {"user": "1", "permission": "users_view", "object": "probed_things"},
    {"user": "1", "permission": "users_view", "object": "probed_things:-1"},
    {"user": "1", "permission": "users_view", "object": "probed_things:" + "9" * 30},
    {"user": "1", "permission": "users_view", "level": "3"},
    {"user": "1", "permission": "users_view", "more": "1"},
    {"user": ["1", "2"], "permission": "users_view"},
]


def test_a_bad_question_is_refused(app, authed_client):
    add_permissions(app, "permissions_modify")
    for query in BAD_QUESTIONS:
        answer = authed_client.get("/permissions/explain", query_string=query)
        assert (answer.status_code, answer.json["error"]["code"]) == (400, "validation_failed"), query
    assert authed_client.get("/permissions?detail=2").status_code == 400


def test_a_user_who_is_not_there(app, authed_client):
    add_permissions(app, "permissions_modify")
    for user in ("99", "9" * 32, "nobody", "७"):
        query = {"user": user, "permission": "users_view"}
        answer = authed_client.get("/permissions/explain", query_string=query)
        assert (answer.status_code, answer.json["response"]) == (404, f"User {user} does not exist.")
