"""The database: the session of a request, the base of all models, portable column types.

Services use :data:`db` (``db.session``), models subclass :class:`Base` and take their columns from the
types here, so that one place decides how long a name is and how a time is stored on SQLite,
PostgreSQL and MariaDB alike.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

from flask import Flask
from flask_sqlalchemy_lite import SQLAlchemy
from sqlalchemy import (
    BigInteger,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Integer,
    MetaData,
    String,
    Text,
    event,
)
from sqlalchemy.dialects.mysql import DATETIME, LONGTEXT
from sqlalchemy.engine import make_url
from sqlalchemy.orm import DeclarativeBase, Session, SessionTransaction, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine

__all__ = [
    "PK",
    "Base",
    "BigInt",
    "BigText",
    "Digest",
    "Name",
    "Timestamp",
    "after_commit",
    "db",
    "exact",
    "naming_convention",
    "now",
    "own_transaction",
]

log = logging.getLogger(__name__)

# Constraints have names from the first day: a batch migration on SQLite can only drop what has one.
naming_convention = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def now() -> datetime:
    """The present time, in UTC and with its zone."""
    return datetime.now(UTC)


def exact(length: int) -> String:
    """Text of at most ``length`` characters that compares and sorts by code point on every database.

    Names, paths and digests are identifiers: ``A`` is not ``a``, and the order of a list must not
    depend on the locale the server happened to be installed with.
    """
    return (
        String(length)
        .with_variant(String(length, collation="utf8mb4_bin"), "mysql", "mariadb")
        .with_variant(String(length, collation="C"), "postgresql")
    )


class UTCDateTime(TypeDecorator[datetime]):
    """A point in time. Refuses one without a zone, always returns UTC, keeps microseconds.

    ``DateTime(timezone=True)`` alone is not enough: SQLite and MariaDB drop the zone, and the same
    value then reads ``12:00+00:00`` when written and ``12:00`` when read back.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# SQLite numbers rows by itself only in a column declared INTEGER; elsewhere 64 bits are asked for.
_big = BigInteger().with_variant(Integer, "sqlite")

PK = Annotated[int, mapped_column(_big, primary_key=True)]
BigInt = Annotated[int, mapped_column(_big)]  # bytes, things or foreign keys, up to 2^63 - 1
Name = Annotated[str, mapped_column(exact(64))]
Digest = Annotated[str, mapped_column(exact(64))]  # SHA-256, lower-case hex
BigText = Annotated[str, mapped_column(Text().with_variant(LONGTEXT, "mysql", "mariadb"))]
Timestamp = Annotated[datetime, mapped_column(UTCDateTime)]


class Base(DeclarativeBase):
    """The base of every model of the site. A table's name starts with the name of its plugin."""

    metadata = MetaData(naming_convention=naming_convention)


class PulsarSession(Session):
    """A session that runs what waited for the commit, once it is stored."""

    def commit(self) -> None:
        super().commit()
        for _, task in self.info.pop("after_commit", ()):
            try:
                task()
            except Exception:
                # The transaction is stored and the caller must hear so. What waits here is a hint
                # (a message to a worker); whatever may not be lost is a row of that transaction.
                log.exception("a task failed after its transaction was stored")


@event.listens_for(PulsarSession, "after_soft_rollback")
def _forget_rolled_back(session: Session, previous: SessionTransaction) -> None:
    """Forget the tasks of the transaction, or of the savepoint, that was rolled back."""
    waiting = session.info.get("after_commit", [])
    session.info["after_commit"] = [
        entry for entry in waiting if previous.nested and entry[0] is not previous
    ]


def after_commit(task: Callable[[], object]) -> None:
    """Call ``task()`` once the present transaction is stored; a rollback forgets it.

    Whatever the outside world can see belongs here: a worker that is told of a row before the
    commit looks for something that is not there yet.
    """
    session = db.session
    session.info.setdefault("after_commit", []).append((session.get_nested_transaction(), task))


db = SQLAlchemy(session_options={"class_": PulsarSession})


@contextmanager
def own_transaction() -> Iterator[Session]:
    """A short transaction beside the request's, for book-keeping that must survive a refusal."""
    with db.sessionmaker() as session, session.begin():
        yield session


def engine_options(uri: str) -> dict[str, Any]:
    """Options of ``create_engine`` for the database that ``uri`` names."""
    url = make_url(uri)
    options: dict[str, Any] = {"url": url}
    if url.get_backend_name() == "sqlite":
        options["connect_args"] = {"check_same_thread": False}
    else:
        # A connection that died while it lay in the pool is replaced, not handed to a request.
        options |= {"pool_pre_ping": True, "isolation_level": "READ COMMITTED"}
    return options


def init_app(app: Flask) -> None:
    """Open the database that ``SQLALCHEMY_DATABASE_URI`` names. No connection is made yet."""
    app.config["SQLALCHEMY_ENGINES"] = {"default": engine_options(app.config["SQLALCHEMY_DATABASE_URI"])}
    db.init_app(app)
    # The extension also closes asynchronous sessions, which we have none of, in an event loop that it
    # starts for each request: about 1 ms of it.
    app.teardown_appcontext_funcs = [
        close for close in app.teardown_appcontext_funcs if close.__name__ != "_close_async_sessions"
    ]
    with app.app_context():
        prepare_engine(db.engine)


def prepare_engine(engine: Engine) -> None:
    """Teach a SQLite engine what the servers do by themselves; leave others alone."""
    if engine.dialect.name != "sqlite":
        return
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_reading)
    event.listen(engine, "before_cursor_execute", _begin_writing)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    pragmas = (
        "journal_mode=WAL",  # readers do not wait for the writer
        "synchronous=NORMAL",  # with WAL: safe against a crash of the program, and of the machine
        "busy_timeout=10000",  # ms that a writer waits for another before it gives up
        "foreign_keys=ON",
    )
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_reading(connection: Connection) -> None:
    connection.info["writing"] = False
    connection.exec_driver_sql("BEGIN")


def _begin_writing(
    connection: Connection, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool
) -> None:
    """Turn a reading transaction into a writing one just before its first write.

    A SQLite transaction that has read cannot safely start to write: if anyone else wrote in between
    it fails at once, whatever the busy timeout. So the read ends here and ``BEGIN IMMEDIATE`` waits its
    turn. Later statements may see newer rows than earlier ones, which is what READ COMMITTED means
    on the servers too: rules that matter are held by constraints and conditional updates.
    """
    if connection.info.get("writing", True) or not _will_write(statement, context):
        return
    connection.info["writing"] = True
    raw = connection.connection.dbapi_connection
    assert raw is not None
    raw.execute("COMMIT").close()
    raw.execute("BEGIN IMMEDIATE").close()


def _will_write(statement: str, context: Any) -> bool:
    word = statement.lstrip()[:6].upper()
    if word == "SELECT":
        # SQLite has no FOR UPDATE and its dialect leaves the words out: the lock is on the database.
        compiled = getattr(context, "compiled", None)
        return getattr(compiled and compiled.statement, "_for_update_arg", None) is not None
    return word not in ("BEGIN", "COMMIT", "ROLLBA", "PRAGMA", "EXPLAI")
