"""Fixtures for the tests of core and of every plugin.

A plugin's ``tests/conftest.py`` begins::

    from core.conftest import *  # noqa
    from core.conftest import PLUGINS, UNPOPULATE_FUNCTIONS

    PLUGINS.append(probe)

``PLUGINS`` holds modules; what they require is added. Each package's tests get an app with the plugins
that its own conftest named, also when the tests of several packages run together. ``POPULATORS`` holds
classes whose data every test of the package begins with.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
import pytest
from flask.testing import FlaskClient, FlaskCliRunner
from sqlalchemy import event, insert
from sqlalchemy.engine import make_url

from core import test_data
from core.app import Pulsar, create_app
from core.db import Base, db, now
from core.limits import Limiter
from core.plugins import find_plugins, needed
from core.site import site_of
from core.test_data import CorePopulator, TestDataPopulator
from core.testing import check_is_for_tests, make_database, why_not
from core.users import services
from core.users.models import User, UserPermission

CODE_1, CODE_2, CODE_3, CODE_4 = test_data.CODE_1, test_data.CODE_2, test_data.CODE_3, test_data.CODE_4
KEY_OF_USER_1, KEY_OF_USER_2 = test_data.KEY_OF_USER_1, test_data.KEY_OF_USER_2
CHEAP_ARGON2 = {"time_cost": 1, "memory_cost": 8, "parallelism": 1}


class _ByConftest(list[Any]):
    """A list that remembers which folder's conftest appended an item."""

    def __init__(self) -> None:
        super().__init__()
        self.folders: list[Path] = []

    def append(self, item: Any) -> None:
        super().append(item)
        self.folders.append(Path(sys._getframe(1).f_globals["__file__"]).parent)

    def of(self, path: Path) -> list[Any]:
        """Items appended by conftests that apply to the tests in ``path``."""
        return [item for item, folder in zip(self, self.folders, strict=True) if path.is_relative_to(folder)]


PLUGINS: list[ModuleType] = _ByConftest()
POPULATORS: list[type[TestDataPopulator]] = _ByConftest()
UNPOPULATE_FUNCTIONS: list[Callable[..., None]] = _ByConftest()
_apps: dict[tuple[str, ...], Pulsar] = {}


class Client(FlaskClient):
    """A client whose requests see only what is committed, as those of another process would."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        with self.application.app_context():
            return super().open(*args, **kwargs)


@pytest.fixture(scope="session")
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an empty database; the test is skipped, saying why, if its server is not there."""
    name: str = getattr(request, "param", "sqlite")
    if reason := why_not(name):
        pytest.skip(reason)
    worker = getattr(request.config, "workerinput", {}).get("workerid", "main")
    yield from make_database(name, tmp_path_factory.mktemp(name), worker)


@pytest.fixture(scope="module")
def app(request: pytest.FixtureRequest, database: str, tmp_path_factory: pytest.TempPathFactory) -> Pulsar:
    """The site with the plugins of this package, its tables made. One app for a package and a database."""
    check_is_for_tests(make_url(database))
    assert isinstance(PLUGINS, _ByConftest)
    names = _with_requirements(PLUGINS.of(request.path))
    key = (database, *names)
    if key not in _apps:
        instance = tmp_path_factory.mktemp("instance")
        (instance / "config.py").write_text("SECRET_KEY = 'a secret for tests'\n", encoding="utf-8")
        _apps[key] = made = create_app(
            instance,
            TESTING=True,
            PLUGINS=names,
            SQLALCHEMY_DATABASE_URI=database,
            ARGON2_PARAMETERS=CHEAP_ARGON2,
        )
        made.test_client_class = Client
    return _apps[key]


def _with_requirements(modules: list[ModuleType]) -> list[str]:
    """Names of the plugins that ``modules`` are, and of all they require."""
    by_module = {plugin.module_name: name for name, plugin in find_plugins().items()}
    return needed(by_module.get(module.__name__, module.__name__) for module in modules)


@pytest.fixture(scope="module")
def db_create_tables(app: Pulsar) -> None:
    """Every table of the loaded plugins, empty."""
    with app.app_context():
        Base.metadata.create_all(db.engine)


@pytest.fixture
def clean_database(app: Pulsar, db_create_tables: None, request: pytest.FixtureRequest) -> Iterator[None]:
    """An app context over a database that holds the base data, that of ``POPULATORS``, and nothing else."""
    assert isinstance(POPULATORS, _ByConftest)
    populators = POPULATORS.of(request.path)
    with app.app_context():
        for populator in reversed(populators):
            populator.unpopulate()
        _empty_tables()
        _add_base_data()
        for populator in populators:
            populator.populate()
            db.session.commit()
        site_of(app).identities.clear()
        yield
        db.session.rollback()


def _empty_tables() -> None:
    for table in reversed(Base.metadata.sorted_tables):
        db.session.execute(table.delete())
    db.session.commit()


def _add_base_data() -> None:
    CorePopulator.populate()
    db.session.commit()


@pytest.fixture
def client(app: Pulsar, clean_database: None, request: pytest.FixtureRequest) -> FlaskClient:
    """A client without credentials."""
    made = app.test_client()
    assert isinstance(UNPOPULATE_FUNCTIONS, _ByConftest)
    for unpopulate in reversed(UNPOPULATE_FUNCTIONS.of(request.path)):
        unpopulate(made) if inspect.signature(unpopulate).parameters else unpopulate()
    return made


@pytest.fixture
def authed_client(client: FlaskClient) -> FlaskClient:
    """The same client, now with a key of user 1 that is not restricted."""
    client.environ_base["HTTP_AUTHORIZATION"] = f"Token {KEY_OF_USER_1}"
    return client


@pytest.fixture
def client_of(app: Pulsar, clean_database: None) -> Callable[[str], FlaskClient]:
    """``client_of(key)``: a client that sends this API key."""

    def make(key: str) -> FlaskClient:
        made = app.test_client()
        made.environ_base["HTTP_AUTHORIZATION"] = f"Token {key}"
        return made

    return make


@pytest.fixture
def runner(app: Pulsar, clean_database: None) -> FlaskCliRunner:
    """Runs ``flask`` commands in this process."""
    return app.test_cli_runner()


@pytest.fixture
def user_factory(clean_database: None) -> Callable[..., User]:
    """``user_factory("ann", "users_view", ...)``: a stored user with these permissions."""

    def make(username: str, *permissions: str) -> User:
        user = services.create_user(username, "correct horse 1!", f"{username}@example.org")
        db.session.add_all(
            UserPermission(user_id=user.id, permission=name, granted=True) for name in permissions
        )
        db.session.commit()
        return user

    return make


@pytest.fixture
def api_key_factory(clean_database: None) -> Callable[..., str]:
    """``api_key_factory(user, permissions=[...])``: the text of a new key."""

    def make(user: User, **options: Any) -> str:
        _, text = services.create_key(user, **options)
        db.session.commit()
        return text

    return make


@pytest.fixture
def query_counter(app: Pulsar) -> Callable[[], Any]:
    """``with query_counter() as statements: ...`` collects the SQL that was sent."""

    @contextmanager
    def count() -> Iterator[list[str]]:
        statements: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            statements.append(statement)

        with app.app_context():
            engine = db.engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            yield statements
        finally:
            event.remove(engine, "before_cursor_execute", note)

    return count


@dataclass(frozen=True)
class HookCall:
    """One call of a hook: its name, what was handed over, what came back."""

    name: str
    arguments: dict[str, Any]
    result: Any


@pytest.fixture
def hook_recorder(app: Pulsar) -> Iterator[list[HookCall]]:
    """Every call of a hook during the test that some plugin answered, as a growing list.

    The hook ``event`` is called by a thread: ``core.listeners.wait()`` waits for it.
    """
    calls: list[HookCall] = []

    def after(outcome: pluggy.Result[Any], name: str, found: Any, arguments: Any) -> None:
        if found:
            calls.append(HookCall(name, dict(arguments), outcome.get_result()))

    undo = site_of(app).hooks.add_hookcall_monitoring(lambda *_: None, after)
    yield calls
    undo()


@pytest.fixture
def rate_limits(app: Pulsar) -> Iterator[Callable[..., Limiter]]:
    """``rate_limits(RATE_LIMIT_UNAUTH=(3, 60), ...)``: the site has its limits for the rest of this test,
    with these settings; nothing has been counted yet.

    Without it there are none.
    """
    site = site_of(app)
    before = site.limiter

    def switch_on(**settings: Any) -> Limiter:
        config = {**app.config, **settings, "TESTING": False}
        site.limiter = Limiter(config, clock=lambda: now().timestamp())  # as freeze_time has it
        return site.limiter

    yield switch_on
    site.limiter = before


@pytest.fixture
def freeze_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """``freeze_time(60)``: the site's clock stands still, that many seconds after the real one."""
    start = now()

    def freeze(seconds: float) -> None:
        moment = start + timedelta(seconds=seconds)

        class Frozen(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> "datetime":  # type: ignore[override]
                return moment.astimezone(tz)

        monkeypatch.setattr("core.db.datetime", Frozen)

    return freeze


def add_permissions(app: Pulsar, *names: str, user_id: int = 1) -> None:
    """Grant permissions to user 1, or another."""
    with app.app_context():
        rows = [{"user_id": user_id, "permission": name, "granted": True} for name in names]
        db.session.execute(insert(UserPermission), rows)
        services.touch(user_id)
        db.session.commit()


def check_json_response(response: Any, expected: Any, list_: bool = False, strict: bool = False) -> None:
    """Assert that the ``response`` member of the answer is, or holds, ``expected``.

    :param list_: the answer is a list whose first item is compared.
    :param strict: the two must be equal; otherwise ``expected`` must be part of the answer.
    """
    found = response.get_json()["response"]
    if list_:
        assert isinstance(found, list)
        found = found[0]
    if strict or not isinstance(expected, dict):
        assert found == expected
    else:
        check_dictionary(found, expected)


def check_dictionary(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Assert that ``found`` has every item of ``expected``."""
    assert {key: found.get(key) for key in expected} == expected


def check_dupe_in_list(items: list[Any]) -> None:
    """Assert that nothing is in ``items`` twice."""
    assert len(items) == len({repr(item) for item in items})
