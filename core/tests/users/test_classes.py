"""``/user_classes``: both kinds, what they give, and when they can go."""

import threading

import pytest
from sqlalchemy import func, select

from core.conftest import add_permissions
from core.db import db
from core.identity import OPERATOR, identity_of
from core.models import Event, Grant
from core.sharing import Audience, Level, share
from core.users import services
from core.users.models import SecondaryClass, SecondaryClassMember, User, UserClass

pytestmark = pytest.mark.any_database

MEMBERS = "You cannot delete a {} while users are assigned to it."
KINDS = pytest.mark.parametrize(
    ("secondary", "kind", "key"),
    [(False, "UserClass", "user_classes"), (True, "SecondaryClass", "secondary_classes")],
)


def failure(answer):
    return answer.status_code, answer.json["response"]


@pytest.fixture
def editor(app, authed_client):
    """Sends as user 1, who may change classes as far as his own permissions go."""
    add_permissions(app, "userclasses_list", "userclasses_modify", "users_view", "invites_view")
    return authed_client


@KINDS
def test_a_class_is_made_read_changed_and_deleted(editor, secondary, kind, key):
    flag = f"?secondary={int(secondary)}"
    body = {"name": "Staff", "permissions": ["users_view", "users_view"], "secondary": secondary}
    made = editor.post("/user_classes", json=body)
    assert made.status_code == 200, made.text
    staff = made.json["response"]
    assert staff == {"id": staff["id"], "name": "Staff", "permissions": ["users_view"]}
    path = f"/user_classes/{staff['id']}"
    assert editor.get(path + flag).json["response"] == staff
    everything = editor.get("/user_classes").json["response"]
    assert list(everything) == ["user_classes", "secondary_classes"]
    assert staff in everything[key]
    assert everything["user_classes"][0] == {"id": 1, "name": "User", "permissions": []}
    assert everything["secondary_classes"][0] == {"id": 1, "name": "FLS", "permissions": []}
    wanted = {"users_view": False, "invites_view": True, "userclasses_list": True}
    changed = editor.put(path, json={"permissions": wanted, "secondary": secondary})
    assert changed.json["response"] == staff | {"permissions": ["invites_view", "userclasses_list"]}
    assert editor.get(path + flag).json["response"] == changed.json["response"]
    gone = editor.delete(path + flag)
    assert failure(gone) == (200, f"{kind} Staff has been deleted.")
    for again in (editor.delete(path + flag), editor.get(path + flag)):
        assert failure(again) == (404, f"{kind} {staff['id']} does not exist.")


def test_the_permissions_of_a_class_are_for_those_who_may_change_it(app, authed_client, query_counter):
    add_permissions(app, "userclasses_list")
    hidden = {"id": 1, "name": "User", "permissions": None}
    assert authed_client.get("/user_classes/1").json["response"] == hidden
    with query_counter() as statements:
        assert authed_client.get("/user_classes").json["response"]["user_classes"] == [hidden]
    assert "class_permissions" not in str(statements)
    for method, path in (("POST", ""), ("PUT", "/1"), ("DELETE", "/1")):
        assert authed_client.open(f"/user_classes{path}", method=method, json={}).status_code == 403


@KINDS
def test_a_name_is_taken_in_any_case_and_per_kind(editor, secondary, kind, key):
    body = {"permissions": [], "secondary": secondary}
    assert editor.post("/user_classes", json=body | {"name": "Straße"}).status_code == 200
    other = body | {"name": "Straße", "secondary": not secondary}
    assert editor.post("/user_classes", json=other).status_code == 200
    for name in ("Straße", "straße", "STRAßE"):
        answer = editor.post("/user_classes", json=body | {"name": name})
        assert failure(answer) == (400, f"Another {kind} already has the name {name}.")


@KINDS
def test_only_what_changes_something_is_a_change(editor, secondary, kind, key):
    name = "FLS" if secondary else "User"

    def put(**permissions):
        return editor.put("/user_classes/1", json={"permissions": permissions, "secondary": secondary})

    assert put(users_view=True).status_code == 200
    assert failure(put(invites_view=True, users_view=True)) == (
        400,
        f"{kind} {name} already has the permission users_view.",
    )
    assert failure(put(users_view=False, invites_view=False)) == (
        400,
        f"{kind} {name} does not have the permission invites_view.",
    )
    answer = put(users_view=False, never_heard_of=True)
    assert failure(answer) == (
        400,
        'Invalid data: never_heard_of is not a valid permission (key "permissions")',
    )
    assert put().json["response"]["permissions"] == ["users_view"]


@KINDS
def test_a_class_with_members_stays(app, editor, secondary, kind, key):
    with app.app_context():
        staff = services.create_class("Staff", [], OPERATOR, secondary=secondary).id
        change = {"secondary_class_ids": [staff]} if secondary else {"user_class_id": staff}
        services.change_user(2, change, OPERATOR)
        db.session.commit()
    path = f"/user_classes/{staff}?secondary={secondary}"
    assert failure(editor.delete(path)) == (400, MEMBERS.format(kind))
    with app.app_context():
        services.change_user(2, {"secondary_class_ids": []} if secondary else {"user_class_id": 1}, OPERATOR)
        db.session.commit()
    assert editor.delete(path).status_code == 200


def test_the_class_of_new_users_cannot_be_deleted(app, editor):
    for number in (1, 2, 3):
        with app.app_context():
            services.change_user(number, {"user_class_id": _other(app)}, OPERATOR)
            db.session.commit()
    assert editor.delete("/user_classes/1").status_code == 400
    assert editor.get("/user_classes/1").status_code == 200


def _other(app):
    found = db.session.scalar(select(UserClass.id).where(UserClass.name == "Other"))
    return found or services.create_class("Other", [], OPERATOR).id


@KINDS
def test_joining_and_deleting_a_class_at_once_leaves_no_member_without_class(
    app, editor, secondary, kind, key
):
    with app.app_context():
        ids = [services.create_class(f"Staff {n}", [], OPERATOR, secondary=secondary).id for n in range(4)]
        db.session.commit()
    add_permissions(app, "site_god_mode")
    headers = {"Authorization": editor.environ_base["HTTP_AUTHORIZATION"]}
    start, answers = threading.Barrier(2), []

    def work(method, path, body):
        client = app.test_client()
        start.wait()
        for number in ids:
            sent = {"json": body(number)} if body else {}
            answer = client.open(path(number), method=method, headers=headers, **sent)
            answers.append((number, method, answer.status_code))

    join = (lambda n: {"secondary_class_ids": [n]}) if secondary else (lambda n: {"user_class_id": n})
    workers = [
        threading.Thread(target=work, args=("PUT", lambda _: "/users/2", join)),
        threading.Thread(
            target=work, args=("DELETE", lambda n: f"/user_classes/{n}?secondary={int(secondary)}", None)
        ),
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert {status for _, _, status in answers} <= {200, 400}
    with app.app_context():
        kinds = SecondaryClass if secondary else UserClass
        have = set(db.session.scalars(select(kinds.id)))
        members = SecondaryClassMember.secondary_class_id if secondary else User.user_class_id
        assert set(db.session.scalars(select(members))) <= have


def test_many_that_make_the_same_class_at_once_make_one(app, editor):
    headers = {"Authorization": editor.environ_base["HTTP_AUTHORIZATION"]}
    start, answers = threading.Barrier(4), []

    def work(name):
        client = app.test_client()
        start.wait()
        body = {"name": name, "permissions": []}
        answers.append(client.post("/user_classes", json=body, headers=headers).status_code)

    workers = [threading.Thread(target=work, args=(name,)) for name in ("Lab", "lab", "LAB", "lAb")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(answers) == [200, 400, 400, 400]


def test_what_is_shared_with_a_secondary_class_is_for_its_members(app, editor):
    """Ids of the two kinds are apart: a class 1 of one kind is not class 1 of the other."""
    with app.app_context():
        mine, other = identity_of(services.get_user(1)), identity_of(services.get_user(2))
        assert (mine.user_class_ids, mine.secondary_class_ids) == ((1,), (1,))
        assert (other.user_class_ids, other.secondary_class_ids) == ((1,), ())


@KINDS
def test_a_deleted_class_takes_its_grants_along(app, editor, secondary, kind, key):
    audience = Audience.SECONDARY_CLASS if secondary else Audience.USER_CLASS
    with app.app_context():
        staff = services.create_class("Staff", [], OPERATOR, secondary=secondary)
        for number in (staff.id, staff.id + 1):
            share(services.get_user(3), audience, Level.READ, subject_id=number)
        share(services.get_user(3), Audience.USER, Level.READ, subject_id=staff.id)
        db.session.commit()
        number = staff.id
    assert editor.delete(f"/user_classes/{number}?secondary={secondary}").status_code == 200
    with app.app_context():
        left = db.session.execute(select(Grant.audience, Grant.subject_id).order_by(Grant.id)).all()
    assert [tuple(row) for row in left] == [(audience, number + 1), ("user", number)]


def test_events_of_classes(app, editor):
    made = editor.post(
        "/user_classes", json={"name": "Lab", "permissions": ["users_view"], "secondary": True}
    )
    number = made.json["response"]["id"]
    body = {"permissions": {"users_view": False, "invites_view": True}, "secondary": True}
    editor.put(f"/user_classes/{number}", json=body)
    editor.delete(f"/user_classes/{number}?secondary=1")
    with app.app_context():
        events = list(db.session.scalars(select(Event).order_by(Event.id)))
    assert {(event.actor_id, event.target) for event in events} == {(1, f"secondary_class:{number}")}
    assert [(event.name, event.payload) for event in events] == [
        ("core.user_class.created", {"class_name": "Lab", "permissions": ["users_view"]}),
        ("core.user_class.changed", {"granted": ["invites_view"], "revoked": ["users_view"]}),
        ("core.user_class.deleted", {"class_name": "Lab"}),
    ]


BAD_CLASSES = [
    {"permissions": []},
    {"name": "Lab"},
    {"name": "", "permissions": []},
    {"name": " ", "permissions": []},
    {"name": "Lab ", "permissions": []},
    {"name": "x" * 25, "permissions": []},
    {"name": "İ" * 24, "permissions": []},  # twice as long in lower case
    {"name": 7, "permissions": []},
    {"name": "a\x00", "permissions": []},
    {"name": "Lab", "permissions": {}},
    {"name": "Lab", "permissions": [1]},
    {"name": "Lab", "permissions": ["never_heard_of"]},
    {"name": "Lab", "permissions": ["x" * 65]},
    {"name": "Lab", "permissions": ["users_view"] * 1001},
    {"name": "Lab", "permissions": [], "secondary": 1},
    {"name": "Lab", "permissions": [], "id": 7},
]


def test_a_bad_class_is_refused(app, editor):
    for body in BAD_CLASSES:
        answer = editor.post("/user_classes", json=body)
        assert (answer.status_code, answer.json["error"]["code"]) == (400, "validation_failed"), body
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(UserClass)) == 1


BAD_QUESTIONS = [
    ("GET", "/user_classes/1?secondary=2", None),
    ("GET", "/user_classes/1?other=1", None),
    ("DELETE", "/user_classes/1?secondary=yes", None),
    ("DELETE", "/user_classes/1?secondary=1&secondary=0", None),
    ("PUT", "/user_classes/1", {}),
    ("PUT", "/user_classes/1", {"permissions": ["users_view"]}),
    ("PUT", "/user_classes/1", {"permissions": {"users_view": 1}}),
    ("PUT", "/user_classes/1", {"permissions": {}, "name": "Other"}),
    ("PUT", "/user_classes/1", {"permissions": {}, "secondary": "1"}),
]


def test_a_bad_question_about_classes_is_refused(editor):
    for method, path, body in BAD_QUESTIONS:
        answer = editor.open(path, method=method, **({} if body is None else {"json": body}))
        assert (answer.status_code, answer.json["error"]["code"]) == (400, "validation_failed"), path


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_class_that_is_not_there(editor, method):
    sent = {"json": {"permissions": {}}} if method == "PUT" else {}
    for number in ("0", "99", str(2**63 - 1), str(2**63), "9" * 400):
        answer = editor.open(f"/user_classes/{number}", method=method, **sent)
        assert failure(answer) == (404, f"UserClass {number} does not exist.")
