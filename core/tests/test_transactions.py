"""One request is one transaction, and what waits for it."""

import threading

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import OperationalError

from core.app import create_app
from core.db import Base, db, own_transaction
from core.users.models import User

THREADS, ROUNDS = 8, 10


@pytest.fixture
def site(sample):
    return sample.test_client()


def test_what_a_view_wrote_is_stored_when_it_returns(sample, site):
    assert site.post("/sample/count/1/atomic").status_code == 200
    assert sample.counted() == 1


def test_an_error_forgets_the_rows_and_what_waited_for_them(sample, site):
    assert site.post("/sample/count/1/fail").status_code == 500
    assert sample.counted() == 0
    assert sample.done == []
    assert site.post("/sample/count/1/atomic").status_code == 200
    assert sample.done == []


@pytest.mark.parametrize("how", ["twice", "check"])
def test_what_the_database_refuses_is_a_conflict(sample, site, how):
    answer = site.post(f"/sample/count/1/{how}")
    assert (answer.status_code, answer.json["error"]["code"]) == (409, "conflict")
    assert "counters" not in answer.text
    assert sample.done == []


def test_a_failed_savepoint_forgets_only_its_own_tasks(sample, site):
    assert site.post("/sample/count/1/tasks").status_code == 200
    assert sample.done == ["outer", "after"]


@pytest.mark.parametrize("how", ["atomic", "locked"])
def test_of_many_that_read_and_then_write_none_is_lost(sample, how):
    answers = []

    def work():
        client = sample.test_client()
        answers.extend(client.post(f"/sample/count/1/{how}").status_code for _ in range(ROUNDS))

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * (THREADS * ROUNDS)
    assert sample.counted() == THREADS * ROUNDS


def test_bookkeeping_survives_the_refusal_of_the_request(app, clean_database):
    with own_transaction() as session:
        session.execute(text("UPDATE core_users SET email = 'kept' WHERE id = 1"))
    db.session.rollback()
    assert db.session.get(User, 1).email == "kept"


@pytest.fixture
def sqlite_site(make_site):
    """A site on SQLite whose writers give up at once."""
    app = make_site(tables=True)
    with app.app_context():
        db.engine.dispose()
        event.listen(db.engine, "connect", lambda raw, _: raw.execute("PRAGMA busy_timeout=10"))
        Base.metadata.create_all(db.engine)
    return app


def test_a_database_that_stays_locked_is_unavailable_and_not_a_crash(sqlite_site):
    with sqlite_site.app_context(), db.engine.connect() as other:
        other.execute(text("UPDATE core_users SET locked = 0"))
        with pytest.raises(OperationalError, match="locked"):
            db.session.execute(text("UPDATE core_users SET locked = 1"))
        db.session.rollback()
        assert db.session.scalar(text("SELECT count(*) FROM core_users")) == 0  # readers do not wait
        other.rollback()
        db.session.execute(text("UPDATE core_users SET locked = 1"))


def test_a_common_table_expression_is_read_without_waiting_for_the_writer(sqlite_site):
    with sqlite_site.app_context(), db.engine.connect() as other:
        other.execute(text("UPDATE core_users SET locked = 0"))
        numbers = select(User.id).cte("numbers")
        assert db.session.scalars(select(numbers.c.id)).all() == []
        other.rollback()


@pytest.mark.parametrize(
    "uri", ["sqlite:////nowhere/at/all.db", "postgresql://x@127.0.0.1:1/x", "mysql://127.0.0.1:1/x"]
)
def test_without_its_database_a_site_says_so(tmp_path, uri):
    (tmp_path / "config.py").write_text("SECRET_KEY = 'x'")
    app = create_app(tmp_path, SQLALCHEMY_DATABASE_URI=uri)
    client = app.test_client()
    health = client.get("/health")
    assert health.status_code == 503
    assert health.json["response"] == "The site cannot work: database failed."
    assert health.json["error"]["details"]["database"] == "failed"
    answer = client.get("/users/1", headers={"Authorization": f"Token {'k' * 40}"})
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "unavailable")
    for text_ in (health.text, answer.text):
        assert "127.0.0.1" not in text_
        assert "nowhere" not in text_


@pytest.mark.parametrize(("testing", "mode"), [(False, 2), (True, 0)])
def test_a_commit_of_a_site_on_sqlite_waits_for_the_disk(tmp_path, testing, mode):
    (tmp_path / "config.py").write_text("SECRET_KEY = 'a secret for tests'\n")
    app = create_app(tmp_path, TESTING=testing)
    with app.app_context():
        assert db.session.scalar(text("PRAGMA synchronous")) == mode
        assert db.session.scalar(text("PRAGMA journal_mode")) == "wal"
        db.session.rollback()
        db.engine.dispose()
