"""How much happens to a package, by weeks."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from core.db import db, now
from core.models import Event

pytestmark = pytest.mark.any_database


def series(person, event, handle="ann/p"):
    answer = person.get(f"/api/package_timeseries/{handle}/{event}")
    assert answer.status_code == 200, answer.text
    return answer.json


def test_what_happened_is_counted_by_weeks(people):
    for number in range(6):
        people.ann.push("ann/p", {"a": bytes([number])})
    people.ann.push("ann/other", {"a": b"1"})
    ids = db.session.query(Event.id).filter_by(name="registry.package.pushed", target="package:ann/p").all()
    ages = (timedelta(days=1), timedelta(days=8), timedelta(days=9), timedelta(days=363), timedelta(days=365))
    for (event_id,), age in zip(ids, ages, strict=False):
        db.session.execute(update(Event).where(Event.id == event_id).values(happened_at=now() - age))
    db.session.commit()

    found = series(people.ann, "push")

    assert found["timeSeries"] == [1] + [0] * 49 + [2, 2]
    assert (found["total"], found["frequency"]) == (5, "week")
    assert found["endDate"] - found["startDate"] == 52 * 7 * 24 * 3600
    assert series(people.ann, "delete")["timeSeries"] == [0] * 52


def test_looking_at_a_package_counts_too(people):
    digest = people.ann.push("ann/p", {"a": b"1"})
    people.ann.get(f"/api/package_preview/ann/p/{digest}")
    people.ann.get("/packages/ann/p")
    assert series(people.ann, "preview")["timeSeries"] == [0] * 51 + [2]


@pytest.mark.parametrize(
    ("who", "path", "status"),
    [
        ("ann", "ann/p/eat", 400),
        ("ann", "ann/none/push", 404),
        ("bob", "ann/p/push", 404),
        ("bob", "ann/p/eat", 404),
        ("nobody", "ann/p/push", 401),
    ],
)
def test_only_readers_hear_of_it(people, who, path, status):
    people.ann.push("ann/p", {"a": b"1"})
    answer = getattr(people, who).get(f"/api/package_timeseries/{path}")
    assert answer.status_code == status
    assert isinstance(answer.json["message"], str)
