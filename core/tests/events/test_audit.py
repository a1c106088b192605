"""``GET /audit`` and ``flask audit``: the log is read, and nobody changes it."""

import json
from datetime import UTC, datetime, timedelta
from itertools import chain

import pytest
from sqlalchemy import event, insert, select, text

from core.audit.services import list_events
from core.cli.audit import audit
from core.conftest import KEY_OF_USER_2, add_permissions
from core.db import db, now
from core.jobs.queue import create_periodic_jobs
from core.models import Event

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
NOON_S = int(NOON.timestamp())


def add_events(*rows, **same):
    """Store events, a second apart; their ids."""
    known = {"name": "core.user.created", "delivered_at": NOON} | same
    for second, row in enumerate(rows):
        db.session.execute(
            insert(Event).values({"happened_at": NOON + timedelta(seconds=second)} | known | row)
        )
    db.session.commit()
    return list(db.session.scalars(select(Event.id).order_by(Event.id)))


@pytest.fixture
def reader(app, authed_client):
    """A client that may read the log."""
    add_permissions(app, "site_view_audit")
    return authed_client


def ids(answer):
    assert answer.status_code == 200, answer.json
    return [event["id"] for event in answer.json["response"]]


def test_an_event_as_json(reader):
    (event_id,) = add_events(
        {
            "happened_at": NOON + timedelta(milliseconds=999),
            "actor_id": 2,
            "actor": "user_two",
            "key_hash": "bcdefghijk",
            "ip": "192.0.2.7",
            "request_id": "r-1",
            "target": "user:7",
            "payload": {"fields": ["email"]},
        }
    )
    assert reader.get("/audit").json["response"] == [
        {
            "id": event_id,
            "name": "core.user.created",
            "happened_at": NOON_S,
            "actor_id": 2,
            "actor": "user_two",
            "key_hash": "bcdefghijk",
            "ip": "192.0.2.7",
            "request_id": "r-1",
            "target": "user:7",
            "payload": {"fields": ["email"]},
        }
    ]


def test_what_is_not_known_is_null(reader):
    add_events({})
    (found,) = reader.get("/audit").json["response"]
    assert {key for key, value in found.items() if value is None} == {
        "actor_id", "actor", "key_hash", "ip", "request_id", "target",
    }  # fmt: skip


def test_the_log_is_for_those_who_may_read_it(app, client, client_of):
    add_events({})
    assert client.get("/audit").status_code == 401
    assert client_of(KEY_OF_USER_2).get("/audit").status_code == 403
    add_permissions(app, "site_view_audit", user_id=2)
    assert client_of(KEY_OF_USER_2).get("/audit").status_code == 200


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [3, 2, 1, 0]),
        ({"name": "core.user.created"}, [0]),
        ({"name": "core.user.*"}, [2, 1, 0]),
        ({"name": "core.user"}, []),
        ({"name": "core.user*"}, [3, 2, 1, 0]),
        ({"name": "*"}, [3, 2, 1, 0]),
        ({"actor": "ann"}, [1, 0]),
        ({"actor": "Ann"}, []),
        ({"target": "user:1"}, [2, 0]),
        ({"request_id": "r-2"}, [3, 2]),
        ({"since": NOON_S + 2}, [3, 2]),
        ({"until": NOON_S + 1}, [1, 0]),
        ({"since": NOON_S + 1, "until": NOON_S + 1}, [1]),
        ({"since": NOON_S + 1, "name": "core.user.*", "actor": "ann"}, [1]),
        ({"actor": "%"}, []),
    ],
)
def test_filters(reader, query, expected):
    made = add_events(
        {"actor": "ann", "target": "user:1", "request_id": "r-1"},
        {"name": "core.user.changed", "actor": "ann", "target": "user:2", "request_id": "r-1"},
        {
            "name": "core.user.locked",
            "actor": "bob",
            "target": "user:1",
            "request_id": "r-2",
            "happened_at": NOON + timedelta(seconds=2, microseconds=999_999),
        },
        {"name": "core.user_class.created", "actor": "bob", "target": "class:1", "request_id": "r-2"},
    )
    answer = reader.get("/audit", query_string=query)
    assert ids(answer) == [made[index] for index in expected]
    assert answer.headers["X-Total-Count"] == str(len(expected))


@pytest.mark.parametrize(
    "query",
    [
        {"name": "%"},
        {"name": "core.*.created"},
        {"name": "x" * 66},
        {"actor": ""},
        {"actor": "\x00"},
        {"target": "x" * 129},
        {"since": "yesterday"},
        {"since": -1},
        {"until": 2**62},
        {"after": 0},
        {"after": 2**63},
        {"after": 5, "page": 2},
        {"page": 0},
        {"limit": 1000},
        {"colour": "red"},
    ],
)
def test_what_cannot_be_asked(reader, query):
    answer = reader.get("/audit", query_string=query)
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "validation_failed")


def follow(client, path):
    """The ids of every page, by the links to the next."""
    found = []
    while path:
        answer = client.get(path)
        found.append(ids(answer))
        links = [link.split(">; rel=") for link in answer.headers.get("Link", "").split(", ") if link]
        path = next((link.lstrip("<") for link, rel in links if rel == '"next"'), None)
    return found


def test_pages_and_cursors_give_everything_once(reader):
    made = add_events(*({"actor": "ann" if n % 2 else "bob"} for n in range(120)))
    newest_first = made[::-1]

    by_page = follow(reader, "/audit?limit=50")
    assert [len(page) for page in by_page] == [50, 50, 20]
    assert list(chain(*by_page)) == newest_first

    by_cursor = follow(reader, f"/audit?limit=25&actor=ann&after={made[-1] + 1}")
    assert [len(page) for page in by_cursor] == [25, 25, 10]
    assert list(chain(*by_cursor)) == newest_first[::2]


def test_a_cursor_is_not_moved_by_what_happens_meanwhile(reader):
    made = add_events(*({} for _ in range(30)))
    first = ids(reader.get("/audit?limit=25"))
    add_events({}, {})
    assert ids(reader.get(f"/audit?limit=25&after={first[-1]}")) == made[4::-1]


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_nobody_changes_the_log(app, reader, method):
    add_permissions(app, "site_god_mode")
    (event_id,) = add_events({})
    assert getattr(reader, method)("/audit").status_code == 405
    assert getattr(reader, method)(f"/audit/{event_id}").status_code == 404


def test_a_page_costs_the_same_however_long_it_is(reader, query_counter):
    add_events({})
    reader.get("/audit?limit=100")
    costs = []
    for _ in range(2):
        with query_counter() as statements:
            assert reader.get("/audit?limit=100").status_code == 200
        costs.append(len(statements))
        add_events(*({} for _ in range(99)))
    assert costs[0] == costs[1]


@pytest.fixture
def explain(app, clean_database):
    """``explain(name="x")``: how the database would look for these events among many."""
    rows = [
        {
            "name": f"core.thing_{n % 50}.made",
            "happened_at": NOON + timedelta(seconds=n),
            "actor": f"user_{n % 50}",
            "target": f"user:{n}",
            "request_id": f"r-{n}",
            "key_hash": "",
            "ip": "",
            "payload": {},
        }
        for n in range(3000)
    ]
    db.session.execute(insert(Event), rows)
    db.session.commit()
    dialect = db.engine.dialect.name
    if dialect != "sqlite":
        db.session.execute(
            text("ANALYZE core_events" if dialect == "postgresql" else "ANALYZE TABLE core_events")
        )
        db.session.commit()

    def run(**wanted):
        sent = []

        def note(_connection, _cursor, statement, parameters, *_):
            sent.append((statement, parameters))

        event.listen(db.engine, "before_cursor_execute", note)
        list_events(limit=25, **wanted)
        event.remove(db.engine, "before_cursor_execute", note)
        word = "EXPLAIN QUERY PLAN" if dialect == "sqlite" else "EXPLAIN"
        rows = db.session.connection().exec_driver_sql(f"{word} {sent[-1][0]}", sent[-1][1]).all()
        return "\n".join(str(tuple(row)) for row in rows)

    return run


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({}, None),
        ({"after": 5}, None),
        ({"name": "core.thing_7.made"}, "ix_core_events_name"),
        ({"actor": "user_7"}, "ix_core_events_actor"),
        ({"target": "user:7"}, "ix_core_events_target"),
        ({"request_id": "r-7"}, "ix_core_events_request_id"),
        ({"since": NOON, "until": NOON + timedelta(seconds=9)}, "ix_core_events_happened_at"),
    ],
)
def test_the_log_is_searched_by_an_index(explain, wanted, index):
    plan = explain(**wanted)
    if index is None:
        # The newest first is the order of the primary key: no sorting.
        assert not any(word in plan for word in ("TEMP B-TREE", "Sort", "filesort")), plan
    else:
        assert index in plan, plan
    assert "Seq Scan" not in plan, plan


def prune(app, work, keep, monkeypatch):
    monkeypatch.setitem(app.config, "AUDIT_KEEP", keep)
    create_periodic_jobs()
    work(app)
    return db.session.query(Event).count()


def test_events_are_kept_for_ever(app, reader, work, monkeypatch):
    add_events({"happened_at": now() - timedelta(days=36_500)})
    assert prune(app, work, app.config["AUDIT_KEEP"], monkeypatch) == 1


def test_events_leave_when_the_configuration_says_so(app, reader, work, monkeypatch):
    monkeypatch.setattr("core.audit.retention.BATCH", 2)
    old = {"happened_at": now() - timedelta(days=2)}
    add_events(old, old, old, {"happened_at": now() - timedelta(hours=23)})
    assert prune(app, work, 86_400, monkeypatch) == 1


@pytest.fixture
def flask_audit(runner):
    """``flask_audit("--json")``: the finished command."""

    def run(*arguments):
        return runner.invoke(audit, arguments)

    return run


def test_the_command_shows_the_same(flask_audit, reader):
    add_events(
        {"actor": "ann", "target": "user:1", "payload": {"fields": ["email"]}},
        {"name": "core.login.failed"},
    )
    text = flask_audit().stdout.splitlines()
    assert [line.split()[3] for line in text] == ["core.login.failed", "core.user.created"]
    assert "2030-06-01 12:00:00" in text[1]
    assert '{"fields": ["email"]}' in text[1]
    assert json.loads(flask_audit("--json").stdout) == reader.get("/audit").json["response"]


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["--name", "core.user.*"], 2),
        (["--actor", "ann"], 1),
        (["--since", "2030-06-01T12:00:01"], 2),
        (["--since", "2030-06-01T14:00:01+02:00"], 2),
        (["--until", str(NOON_S)], 1),
        (["--limit", "1"], 1),
        (["--target", "nothing"], 0),
    ],
)
def test_the_command_filters(flask_audit, arguments, count):
    add_events({"actor": "ann"}, {"name": "core.user.locked"}, {"name": "core.login.failed"})
    assert len(json.loads(flask_audit("--json", *arguments).stdout)) == count


@pytest.mark.parametrize("moment", ["yesterday", "9" * 30, ""])
def test_a_time_that_is_none_is_wrong_use(flask_audit, moment):
    done = flask_audit("--since", moment)
    assert done.exit_code == 2
    assert "is no time" in done.stderr


def test_what_users_named_cannot_steer_a_terminal(flask_audit):
    add_events({"target": "package:a/\x1b[2J"})
    assert "\x1b" not in flask_audit().stdout
