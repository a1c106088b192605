"""The database: the session of a request, the base of all models, portable column types.

Services use :data:`db` (``db.session``), models subclass :class:`Base` and take their columns from the
types here, so that one place decides how long a name is and how a time is stored on SQLite,
PostgreSQL and MariaDB alike.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from flask import Flask, current_app, g, has_app_context
from flask_sqlalchemy_lite import SQLAlchemy
from sqlalchemy import (
    BigInteger,
    Connection,
    CursorResult,
    DateTime,
    Dialect,
    Engine,
    ExceptionContext,
    Integer,
    MetaData,
    String,
    Text,
    UpdateBase,
    event,
)
from sqlalchemy.dialects.mysql import DATETIME, LONGTEXT
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Session, SessionTransaction, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine

from core.site import current_site

__all__ = [
    "PK",
    "Base",
    "BigInt",
    "BigText",
    "Digest",
    "Name",
    "Timestamp",
    "after_commit",
    "change",
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

    @classmethod
    def assign_attrs(cls, **attributes: Any) -> None:
        """Add properties and methods to this model in the app that is being made; for ``modify()``.

        A property is computed from the row; a function becomes a method; anything else is a value.

        :raises ValueError: if a name is taken.
        """
        current_site().assign(cls, attributes, hasattr)

    if not TYPE_CHECKING:  # or the type checker would believe that every name exists

        def __getattr__(self, name):
            """Look for what plugins assigned in the present app; called only for names not found."""
            site = None
            if not name.startswith("_") and has_app_context():
                site = current_app.extensions.get("pulsar")
            if site is not None:
                found = site.assigned(type(self)).get(name, self)
                if found is not self:
                    return found.__get__(self) if hasattr(found, "__get__") else found
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


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
    if previous.parent is None:
        session.info.pop("after_commit", None)
    elif previous.nested:
        waiting = session.info.get("after_commit", [])
        session.info["after_commit"] = [entry for entry in waiting if not _lies_in(entry[0], previous)]
    # Otherwise it is the transaction of a flush, and the savepoint around it comes next.


def _lies_in(inner: SessionTransaction | None, outer: SessionTransaction) -> bool:
    while inner is not None:
        if inner is outer:
            return True
        inner = inner.parent
    return False


def after_commit(task: Callable[[], object]) -> None:
    """Call ``task()`` once the present transaction is stored; a rollback forgets it.

    Whatever the outside world can see belongs here: a worker that is told of a row before the
    commit looks for something that is not there yet.
    """
    session = db.session
    session.info.setdefault("after_commit", []).append((session.get_nested_transaction(), task))


class Database(SQLAlchemy):
    """The extension, which also knows whether the present request has asked the database anything."""

    @property
    def opened(self) -> Session | None:
        """The session of the present request; None if it has not been asked for."""
        session: Session | None = g.get("_sqlalchemy_sessions", {}).get("default")
        return session


db = Database(session_options={"class_": PulsarSession})


@contextmanager
def own_transaction() -> Iterator[Session]:
    """A short transaction beside the request's, for book-keeping that must survive a refusal."""
    with db.sessionmaker() as session, session.begin():
        yield session


def change(session: Session, statement: UpdateBase) -> int:
    """Run an UPDATE or DELETE; how many rows it found is how the database decides a race."""
    result = session.execute(statement)
    assert isinstance(result, CursorResult), "only a SELECT has no count"
    return result.rowcount


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
        prepare_engine(db.engine, durable=not app.config["TESTING"])


def prepare_engine(engine: Engine, *, durable: bool = True) -> None:
    """Teach a SQLite engine what the servers do by themselves; leave others alone.

    :param durable: a commit waits for the disk, so that what was acknowledged survives a power cut.
    """
    if engine.dialect.name != "sqlite":
        return
    event.listen(engine, "connect", partial(_prepare_sqlite, "FULL" if durable else "OFF"))
    event.listen(engine, "begin", _begin_reading)
    event.listen(engine, "before_cursor_execute", _begin_writing)
    event.listen(engine, "handle_error", _refuse_huge_numbers)


def _prepare_sqlite(synchronous: str, connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    pragmas = (
        "journal_mode=WAL",  # readers do not wait for the writer
        # With WAL the file is whole after a power cut even with NORMAL, but the last commits may be missing.
        f"synchronous={synchronous}",
        "busy_timeout=10000",  # ms that a writer waits for another before it gives up
        "foreign_keys=ON",
        # 16 MiB of pages a connection, as far as they are used. Ten thousand new digests touch several MiB of
        # indexes; with SQLite's own 2 MiB a seventh of the CPU of a push went into reading pages again.
        "cache_size=-16384",
    )
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_reading(connection: Connection) -> None:
    connection.info["writing"] = False
    raw = connection.connection.dbapi_connection
    assert raw is not None
    raw.execute("BEGIN").close()


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
    try:
        raw.execute("COMMIT").close()
        raw.execute("BEGIN IMMEDIATE").close()
    except sqlite3.OperationalError as exc:  # the driver's own; callers know SQLAlchemy's
        raise OperationalError("BEGIN IMMEDIATE", None, exc) from exc


def _will_write(statement: str, context: Any) -> bool:
    word = statement.lstrip()[:6].upper()
    if word == "SELECT" or word.startswith("WITH"):
        # SQLite has no FOR UPDATE and its dialect leaves the words out: the lock is on the database.
        compiled = getattr(context, "compiled", None)
        query = getattr(compiled, "statement", None)
        if query is None or not query.is_select:
            return word != "SELECT"
        return getattr(query, "_for_update_arg", None) is not None
    return word not in ("BEGIN", "COMMIT", "ROLLBA", "PRAGMA", "EXPLAI")


def _refuse_huge_numbers(context: ExceptionContext) -> None:
    """A number of more than 64 bits is the caller's mistake, on SQLite as on the servers."""
    if isinstance(context.original_exception, OverflowError):
        raise DataError(context.statement, None, context.original_exception)
