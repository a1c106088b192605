"""Notifications: telling people something, and that they have read it."""

import threading

import pytest
from sqlalchemy import event, func, select

from core.conftest import add_permissions
from core.db import db
from core.errors import NotFound
from core.jobs import enqueue
from core.jobs.run import run_next
from core.models import Event
from core.notifications import notify
from core.notifications.models import Notification, NotificationType

pytestmark = pytest.mark.any_database

OWN = ("notifications_view", "notifications_modify")
MANY = 5


@pytest.fixture
def tell(clean_database):
    """``tell(user_id, type, contents)``: the id of the notification."""

    def make(user_id=1, type_="core_news", contents=None):
        made = notify(user_id, type_, contents)
        db.session.commit()
        return made.id

    return make


@pytest.fixture
def reader(app, one):
    """A client of user 1, who may see his own notifications and mark them as read."""
    add_permissions(app, *OWN)
    return one


def ids_in(answer):
    assert answer.status_code == 200
    return [one["id"] for one in answer.json["response"]]


def unread(user_id=1):
    db.session.rollback()
    wanted = (Notification.user_id == user_id, Notification.read.is_(False))
    return set(db.session.scalars(select(Notification.id).where(*wanted)))


def said(answer):
    return answer.status_code, answer.json["response"]


def test_what_was_told_is_read_back_by_type_newest_first(reader, tell):
    contents = {"text": "Zoë 🏎", "list": [1, None, {"deep": [True]}]}
    first, second = tell(contents=contents), tell()
    tell(2, "core_other")
    found = reader.get("/notifications").json["response"]
    assert list(found) == ["core_news", "core_other"]
    assert [one["id"] for one in found["core_news"]] == [second, first]
    assert found["core_other"] == []
    one = found["core_news"][1]
    assert list(one) == ["id", "user_id", "type", "time", "contents", "read"]
    assert (one["user_id"], one["type"], one["contents"], one["read"]) == (1, "core_news", contents, False)
    assert isinstance(one["time"], int)
    told = db.session.scalars(select(Event).where(Event.name == "core.notification.created")).first()
    assert told.target == f"notification:{first}"
    assert told.payload == {"user_id": 1, "type": "core_news"}


def test_the_overview_has_25_of_each_type_in_as_many_queries_as_for_one(reader, tell, query_counter):
    tell()
    reader.get("/notifications")
    with query_counter() as few:
        reader.get("/notifications")
    news = [tell() for _ in range(30)]
    other = [tell(type_="core_other") for _ in range(3)]
    with query_counter() as many:
        found = reader.get("/notifications").json["response"]
    assert [one["id"] for one in found["core_news"]] == news[:-26:-1]
    assert [one["id"] for one in found["core_other"]] == other[::-1]
    assert len(many) == len(few)


def test_one_type_is_listed_in_pages_with_what_was_read_if_asked_for(reader, tell):
    made = [tell(contents=number) for number in range(27)]
    tell(2)
    reader.put(f"/notifications/{made[0]}", json={"read": True})
    first = reader.get("/notifications/core_news?limit=25")
    assert (ids_in(first), first.headers["X-Total-Count"]) == (made[:1:-1], "26")
    assert ids_in(reader.get("/notifications/core_news?limit=25&page=2")) == [made[1]]
    assert ids_in(reader.get("/notifications/core_news?include_read=1")) == made[::-1]


def test_one_notification_is_marked_and_unmarked(reader, tell):
    number, other = tell(), tell(2)
    for read, word in ((True, "read"), (True, "read"), (False, "unread")):
        answer = reader.put(f"/notifications/{number}", json={"read": read})
        assert said(answer) == (200, f"Notification {number} marked as {word}.")
        assert unread() == (set() if read else {number})
    for missing in (other, 0, number + 100, 2**63 - 1, 2**63, 10**40):
        answer = reader.put(f"/notifications/{missing}", json={"read": True})
        assert said(answer) == (404, f"Notification {missing} does not exist.")
    assert unread(2) == {other}


def test_all_or_one_type_is_cleared_and_nothing_of_others(reader, tell):
    tell()
    second, third, foreign = tell(type_="core_other"), tell(type_="core_other"), tell(2)
    answer = reader.put("/notifications/core_news", json={"read": True})
    assert said(answer) == (200, "core_news notifications cleared.")
    assert unread() == {second, third}
    assert said(reader.put("/notifications", json={"read": True})) == (200, "All notifications cleared.")
    assert (unread(), unread(2)) == (set(), {foreign})


def test_many_cannot_be_marked_as_unread_and_an_unknown_type_is_400(reader, tell):
    number = tell()
    for path in ("/notifications", "/notifications/core_news"):
        assert reader.put(path, json={"read": False}).status_code == 400
    for name in ("nothing", "CORE_NEWS", "%00", "%C3%A9", "x" * 100):
        word = {"%00": "\0", "%C3%A9": "é"}.get(name, name)
        expected = (400, f"{word} is not a notification type.")
        assert said(reader.get(f"/notifications/{name}")) == expected
        assert said(reader.put(f"/notifications/{name}", json={"read": True})) == expected
    assert unread() == {number}


def test_those_of_others_need_the_permission_for_others(reader, app, tell):
    number = tell(2)
    calls = [
        lambda: reader.get("/notifications?user_id=2"),
        lambda: reader.get("/notifications/core_news?user_id=2"),
        lambda: reader.put("/notifications/core_news?user_id=2", json={"read": True}),
        lambda: reader.put("/notifications?user_id=2", json={"read": True}),
    ]
    assert [call().status_code for call in calls] == [403] * 4
    assert unread(2) == {number}
    add_permissions(app, "notifications_view_others", "notifications_modify_others")
    assert reader.put(f"/notifications/{number}", json={"read": True}).status_code == 200
    assert reader.put(f"/notifications/{number}", json={"read": False}).status_code == 200
    assert ids_in(reader.get("/notifications/core_news?user_id=2")) == [number]
    assert [call().status_code for call in calls] == [200] * 4
    assert unread(2) == set()
    assert said(reader.get("/notifications?user_id=99")) == (404, "User 99 does not exist.")
    assert said(reader.get("/notifications?user_id=x")) == (400, "User ID must be an integer.")


def test_each_call_needs_its_permission(two, tell):
    number = tell(2)
    paths = ("/notifications", "/notifications/core_news", f"/notifications/{number}")
    assert {two.get(path).status_code for path in paths} == {403}
    assert {two.put(path, json={"read": True}).status_code for path in paths} == {403}
    assert unread(2) == {number}


@pytest.fixture
def meet_after_look(app):
    """``meet_after_look(n)``: each of n threads has looked before any of them writes."""
    listening = []

    def meet(number):
        barrier, here = threading.Barrier(number, timeout=30), threading.local()

        def wait(_connection, _cursor, statement, *_rest):
            if "WHERE core_notification_types.name" in statement and not hasattr(here, "met"):
                here.met = True
                barrier.wait()

        event.listen(db.engine, "after_cursor_execute", wait)
        listening.append(wait)

    yield meet
    for wait in listening:
        event.remove(db.engine, "after_cursor_execute", wait)


def test_a_type_is_made_once_however_many_use_it_first_at_once(app, clean_database, at_once, meet_after_look):
    meet_after_look(MANY)

    def tell():
        with app.app_context():
            notify(1, "core_first", None)
            db.session.commit()
        return "told"

    assert at_once(*[tell] * MANY) == ["told"] * MANY
    db.session.rollback()
    assert db.session.scalar(select(func.count()).select_from(NotificationType)) == 1
    assert len(unread()) == MANY


@pytest.mark.parametrize(
    ("type_", "contents"),
    [
        ("news", None),
        ("stranger_news", None),
        ("core", None),
        ("core_News", None),
        ("core_" + "x" * 60, None),
        ("core_news", "x" * 2**14),
        ("core_news", float("nan")),
    ],
)
def test_a_plugin_cannot_tell_just_anything(app, clean_database, type_, contents):
    with pytest.raises(ValueError, match=r"type of notification|contents|JSON"):
        notify(1, type_, contents)


def test_somebody_who_is_not_there_cannot_be_told(app, clean_database):
    with pytest.raises(NotFound, match="User 99 does not exist"):
        notify(99, "core_news", None)


def prune(app):
    enqueue("core.prune_notifications")
    db.session.commit()
    run_next(app, "a worker")


def test_what_was_read_is_deleted_when_it_is_old(reader, app, tell, freeze_time):
    read, kept = tell(), tell()
    reader.put(f"/notifications/{read}", json={"read": True})
    prune(app)
    assert ids_in(reader.get("/notifications/core_news?include_read=1")) == [kept, read]
    freeze_time(app.config["NOTIFICATIONS_KEEP"] + 60)
    prune(app)
    db.session.rollback()
    assert set(db.session.scalars(select(Notification.id))) == {kept}
