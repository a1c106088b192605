"""The part of the test kit that pytest itself must know: options, databases, the closing summary.

Installing pulsar-core registers it, with the fixtures of :mod:`core.conftest`.
"""

import gc
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import pytest
from flask import Flask
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from core.contract import check_plugin as check_plugin
from core.contract import list_unguarded

pytest_plugins = ["core.conftest"]

SERVERS: Final = {
    "postgresql": "postgresql+psycopg://root@127.0.0.1:5432/postgres",
    "mariadb": "mysql+pymysql://root@127.0.0.1:3306/mysql?charset=utf8mb4&ssl_disabled=true",
}
ANY_DATABASE: Final = "any_database"
CONNECT_TIMEOUT: Final = 2  # s; a server that needs longer to say hello is not there


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--databases",
        default=os.environ.get("PULSAR_TEST_DATABASES", "sqlite"),
        help="sqlite, postgresql, mariadb, a comma-separated list of them, or all: sqlite and what answers.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a database that is not for tests before anything runs."""
    config.addinivalue_line("markers", f"{ANY_DATABASE}: runs on one database; which does not matter.")
    if given := os.environ.get("PULSAR_TEST_DATABASE_URI"):
        check_is_for_tests(make_url(given))


def pytest_collection_finish() -> None:
    """What is there now stays; the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that uses the site runs once on each database that was asked for; marked, on one of them."""
    if "database" in metafunc.fixturenames:
        metafunc.parametrize("database", databases_for(metafunc), indirect=True, scope="session")


def databases_for(metafunc: pytest.Metafunc) -> list[str]:
    """Names of the databases that a test runs on."""
    names = wanted_databases(metafunc.config)
    return [min(names, key=_prefer)] if metafunc.definition.get_closest_marker(ANY_DATABASE) else names


def _prefer(name: str) -> bool:
    """False for the best: PostgreSQL, which is the strictest about what it stores."""
    return name != "postgresql" or why_not(name) is not None


def wanted_databases(config: pytest.Config) -> list[str]:
    """Names of the databases that ``--databases`` asks for, whether they answer or not."""
    wanted: str = config.getoption("--databases")
    return ["sqlite", *SERVERS] if wanted == "all" else wanted.split(",")


@cache
def why_not(name: str) -> str | None:
    """Why tests cannot run on the server called ``name``; None if they can."""
    if name == "sqlite":
        return None
    engine = create_engine(SERVERS[name], connect_args={"connect_timeout": CONNECT_TIMEOUT})
    try:
        with engine.connect():
            return None
    except SQLAlchemyError as exc:
        return f"{name} does not answer: {str(getattr(exc, 'orig', exc)).splitlines()[0]}"
    finally:
        engine.dispose()


def check_is_for_tests(url: URL) -> None:
    """Everything in the database of a test is deleted, so its name has to say that this is fine.

    :raises pytest.UsageError: unless the name of the database, or of its file, contains ``test``.
    """
    name = url.database or "nameless"
    if url.get_backend_name() == "sqlite":
        name = Path(name).name
    if "test" not in name:
        raise pytest.UsageError(f"the database {name} is not for tests: its name lacks 'test'")


def make_database(name: str, folder: Path, worker: str) -> Iterator[str]:
    """Make an empty database, yield its address, drop it.

    ``PULSAR_TEST_DATABASE_URI`` names another server's; its name must contain ``test``, for
    everything in it is deleted.
    """
    given = os.environ.get("PULSAR_TEST_DATABASE_URI")
    if name == "sqlite" and given is None:
        yield f"sqlite:///{folder / 'test.db'}"
        return
    url = make_url(given or SERVERS[name])
    if url.get_backend_name() == "sqlite":
        check_is_for_tests(url)
        yield url.render_as_string()
        return
    # The random end keeps apart what several runs on one machine do at once.
    own = f"{url.database if given else 'pulsar_test'}_{worker}_{token_hex(4)}"
    target = url.set(database=own)
    check_is_for_tests(target)
    _run(url, f"CREATE DATABASE {_quoted(url, target)}")
    try:
        yield target.render_as_string(hide_password=False)
    finally:
        forced = " WITH (FORCE)" if url.get_backend_name() == "postgresql" else ""
        _run(url, f"DROP DATABASE IF EXISTS {_quoted(url, target)}{forced}")


def _quoted(url: URL, target: URL) -> str:
    return url.get_dialect()().identifier_preparer.quote_identifier(str(target.database))


def _run(url: URL, *statements: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
    finally:
        engine.dispose()


def unguarded_routes(app: Flask, plugin: str | None = None) -> list[str]:
    """Routes that say neither which permission they need nor that a login, or nothing, is enough.

    They do need a login; but nobody has decided so. ``assert unguarded_routes(app, "probe") == []``
    belongs into the tests of every plugin.

    :param plugin: look at this plugin alone.
    """
    return [text for text, _ in list_unguarded(app, plugin)]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say which databases were used, and why the others were not."""
    if hasattr(config, "workerinput"):
        return
    lines = [f"{name}: {why_not(name) or 'used'}" for name in wanted_databases(config)]
    terminalreporter.write_line("databases: " + "; ".join(lines))
