"""Sharing: one predicate for single rows, lists and counts."""

import threading
from itertools import pairwise

import pytest
from sqlalchemy import event, func, insert, select
from sqlalchemy.orm import Mapped

from core.conftest import CHEAP_ARGON2
from core.db import PK, Base, BigInt, db, now
from core.identity import ANONYMOUS, Identity
from core.sharing import Audience, Grant, Level, can, find_grant, list_grants, revoke, revoke_all, share

OWNER, FRIEND, STRANGER = (Identity(number, user_class_ids=(number + 10,)) for number in (1, 2, 3))
ROWS, SHARED = 100_000, 50
CALLERS = 8


class Thing(Base):
    """What is shared in these tests."""

    __tablename__ = "sharingtest_things"

    id: Mapped[PK]
    owner_id: Mapped[BigInt]


@pytest.fixture
def thing(app, clean_database):
    Base.metadata.create_all(db.engine)
    db.session.query(Thing).delete()
    made = Thing(owner_id=1)
    db.session.add(made)
    db.session.commit()
    return made


def seen(identity, level=Level.READ):
    return db.session.scalar(select(func.count()).select_from(Thing).where(can(level, Thing, identity)))


@pytest.mark.parametrize(
    ("audience", "subject_id", "who"),
    [
        (Audience.USER, 2, {FRIEND}),
        (Audience.USER_CLASS, 12, {FRIEND}),
        (Audience.LOGGED_IN, 0, {FRIEND, STRANGER}),
        (Audience.PUBLIC, 0, {FRIEND, STRANGER, ANONYMOUS}),
    ],
)
@pytest.mark.parametrize("level", list(Level))
def test_a_grant_opens_its_level_and_those_below_to_its_audience(thing, audience, subject_id, who, level):
    assert share(thing, audience, level, subject_id=subject_id) is True
    for identity in (FRIEND, STRANGER, ANONYMOUS):
        for asked in Level:
            assert seen(identity, asked) == (identity in who and asked <= level)
    assert seen(OWNER, Level.MANAGE) == 1
    assert revoke(thing, audience, subject_id) is True
    assert revoke(thing, audience, subject_id) is False
    assert [seen(identity) for identity in (FRIEND, STRANGER, ANONYMOUS)] == [0, 0, 0]


def test_an_administrator_sees_everything_unless_the_key_is_restricted(thing):
    god = Identity(9, granted=frozenset({"site_god_mode"}))
    assert seen(god, Level.MANAGE) == 1
    assert seen(Identity(9, granted=god.granted, scope=frozenset({"users_view"}))) == 0


def test_a_second_grant_changes_the_level_and_says_whether_it_did(thing):
    assert share(thing, Audience.USER, Level.READ, subject_id=2) is True
    assert share(thing, Audience.USER, Level.READ, subject_id=2) is False
    assert share(thing, Audience.USER, Level.WRITE, subject_id=2) is True
    assert find_grant(thing, Audience.USER, 2).level == Level.WRITE
    share(thing, Audience.PUBLIC, Level.READ)
    assert [grant.audience for grant in list_grants(thing)] == ["user", "public"]
    revoke_all(thing)
    assert list_grants(thing) == []


def test_a_grant_of_one_kind_says_nothing_of_another(thing):
    share(thing, Audience.PUBLIC, Level.READ)
    db.session.query(Grant).update({"kind": "other_things"})
    assert seen(ANONYMOUS) == 0


def test_many_that_grant_the_same_at_once_make_one_grant(app, thing):
    number, start, failures = thing.id, threading.Barrier(CALLERS), []

    def work(level):
        with app.app_context():
            try:
                mine = db.session.get(Thing, number)
                start.wait()
                share(mine, Audience.USER, level, subject_id=2)
                db.session.commit()
            except Exception as exc:
                failures.append(exc)

    threads = [threading.Thread(target=work, args=(Level.WRITE,)) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    db.session.rollback()
    assert [grant.level for grant in list_grants(thing)] == [Level.WRITE]


def test_a_list_among_many_rows_costs_one_query_and_no_scan(make_site):
    app = make_site(tables=True, ARGON2_PARAMETERS=CHEAP_ARGON2)
    with app.app_context():
        db.session.execute(insert(Thing), [{"owner_id": number} for number in range(10, ROWS + 10)])
        grants = {"kind": Thing.__tablename__, "level": 1, "granted_at": now(), "granted_by": None}
        friends = [
            grants | {"object_id": number * 1000 + 1, "audience": "user", "subject_id": 2}
            for number in range(SHARED)
        ]
        others = [
            grants | {"object_id": number, "audience": "user", "subject_id": number}
            for number in range(3, ROWS)
        ]
        db.session.execute(insert(Grant), friends + others)
        db.session.commit()
        statements = []
        event.listen(db.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
        query = select(Thing.id).where(can(Level.READ, Thing, FRIEND)).order_by(Thing.id).limit(SHARED)
        ids = db.session.scalars(query).all()
        assert len(ids) == SHARED
        assert all(one < other for one, other in pairwise(ids))
        assert len([statement for statement in statements if statement != "BEGIN"]) == 1
