"""Who is asking: keys, their scope, their end, and how fast a change holds."""

from datetime import timedelta

import pytest
from sqlalchemy import delete, event, insert, update

from core.app import create_app
from core.conftest import CHEAP_ARGON2, CODE_1, CODE_2, CODE_3, KEY_OF_USER_1, add_permissions
from core.db import db
from core.errors import BadRequest
from core.identity import Identity
from core.users import services
from core.users.models import ApiKey, ClassPermission, User, UserPermission

SCOPED = "abcdefghij" + CODE_1


def header(key, scheme="Token"):
    return {"Authorization": f"{scheme} {key}"}


@pytest.fixture
def site(sample):
    return sample.test_client()


@pytest.fixture
def change(sample):
    """``change(statement, user_id)``: what an administrator in another process does."""

    def make(*statements, user_id=1):
        with sample.app_context():
            for statement in statements:
                db.session.execute(statement)
            services.touch(user_id)
            db.session.commit()

    return make


@pytest.mark.parametrize(
    "given",
    [
        "Token",
        "Token ",
        "Token short",
        "Token\tshort",
        f"Token {KEY_OF_USER_1} more",
        f"Token {KEY_OF_USER_1}x",
        f"Token {KEY_OF_USER_1[:-1]}",
        f"Token xxxxxxxxxx{CODE_3}",
        f"Token 1234567890{CODE_2}",
        f"Token {'é' * 40}",
        f"Token {'x' * 10_000}",
    ],
)
@pytest.mark.parametrize("path", ["/health", "/users/me", "/nothing", "/api/spec.json"])
def test_a_bad_key_is_refused_everywhere(site, given, path):
    answer = site.get(path, headers={"Authorization": given})
    assert (answer.status_code, answer.json["response"]) == (401, "Invalid authorization.")


def test_the_word_before_the_key_is_read_in_any_case_and_others_are_ignored(site):
    for word in ("Token", "token", "TOKEN"):
        assert site.get("/users/me", headers=header(KEY_OF_USER_1, word)).status_code == 200
    for other in ("Bearer", "Basic", "Digest", "Tokens"):
        assert site.get("/health", headers=header("nonsense", other)).status_code == 200
        assert site.get("/users/me", headers=header(KEY_OF_USER_1, other)).status_code == 401


def test_a_blueprint_may_take_bearer_and_basic(sample, site):
    add_permissions(sample, "sample_look")
    assert site.get("/sample/look", headers=header(KEY_OF_USER_1, "Bearer")).status_code == 200
    assert site.get("/sample/look", auth=("anything", KEY_OF_USER_1)).status_code == 200
    wrong = site.get("/sample/look", auth=("user_one", "x" * 34))
    assert wrong.status_code == 401
    assert wrong.headers["WWW-Authenticate"].startswith("Basic")
    assert site.get("/sample/look", headers=header("%%%", "Basic")).status_code == 401
    assert site.get("/users/me").headers["WWW-Authenticate"] == "Token"


def test_a_change_holds_on_the_next_request(site, change):
    def status():
        return site.get("/sample/look", headers=header(KEY_OF_USER_1)).status_code

    assert status() == 403
    grant = insert(UserPermission).values(user_id=1, permission="sample_look", granted=True)
    change(grant)
    assert status() == 200
    change(update(User).where(User.id == 1).values(locked=True))
    answer = site.get("/sample/look", headers=header(KEY_OF_USER_1))
    assert (answer.status_code, answer.json["error"]["code"]) == (403, "account_locked")
    change(update(User).where(User.id == 1).values(locked=False, enabled=False))
    answer = site.get("/health", headers=header(KEY_OF_USER_1))
    assert (answer.status_code, answer.json["error"]["code"]) == (403, "account_disabled")
    change(update(User).where(User.id == 1).values(enabled=True))
    assert status() == 200
    change(delete(UserPermission))
    assert status() == 403
    change(update(ApiKey).where(ApiKey.hash == KEY_OF_USER_1[:10]).values(revoked=True))
    assert status() == 401


def test_a_class_gives_and_a_personal_revocation_takes(site, change):
    change(insert(ClassPermission).values(user_class_id=1, permission="sample_look"))
    assert site.get("/sample/look", headers=header(KEY_OF_USER_1)).status_code == 200
    change(insert(UserPermission).values(user_id=1, permission="sample_look", granted=False))
    assert site.get("/sample/look", headers=header(KEY_OF_USER_1)).status_code == 403


def test_a_key_may_do_what_its_user_may_and_its_scope_lists(sample, site):
    add_permissions(sample, "sample_look", "site_god_mode")
    assert site.get("/sample/look", headers=header(KEY_OF_USER_1)).status_code == 200
    answer = site.get("/sample/look", headers=header(SCOPED))
    assert (answer.status_code, answer.json["error"]["code"]) == (403, "key_scope")


@pytest.mark.parametrize(
    ("granted", "scope", "asked", "yes"),
    [
        ({"a"}, set(), "a", True),
        ({"a"}, set(), "b", False),
        ({"a", "b"}, {"a"}, "b", False),
        ({"a"}, {"a", "b"}, "b", False),
        ({"site_god_mode"}, set(), "never_heard_of", True),
        ({"site_god_mode"}, {"a"}, "a", True),
        ({"site_god_mode"}, {"a"}, "b", False),
        ({"site_god_mode"}, {"a"}, "site_god_mode", False),
        ({"site_god_mode"}, {"site_god_mode"}, "b", True),
        ({"a"}, {"site_god_mode"}, "a", False),
        ({"a"}, {"site_god_mode"}, "site_god_mode", False),
    ],
)
def test_what_may_be_done_is_the_user_cut_down_to_the_scope(granted, scope, asked, yes):
    identity = Identity(1, granted=frozenset(granted), scope=frozenset(scope))
    assert identity.can(asked) is yes
    assert identity.is_god is identity.can("site_god_mode")


def test_a_key_made_with_a_scoped_key_is_never_wider(sample):
    add_permissions(sample, "sample_permission", "sample_2_permission", "sample_look")
    with sample.app_context():
        user = services.get_user(1)
        maker = Identity(
            1, granted=frozenset({"sample_permission", "sample_look"}), scope=frozenset({"sample_permission"})
        )
        inherited, _ = services.create_key(user, maker=maker)
        assert inherited.permissions == ["sample_permission"]
        with pytest.raises(BadRequest, match="sample_look"):
            services.create_key(user, maker=maker, permissions=["sample_permission", "sample_look"])
        for unknown in ("sample_3_permission", "never_heard_of"):
            with pytest.raises(BadRequest, match=unknown):
                services.create_key(user, permissions=[unknown])


def test_only_a_digest_of_the_secret_is_stored(sample):
    with sample.app_context():
        key, text = services.create_key(services.get_user(1))
        secret = text[len(key.hash) :]
        assert len(secret) >= 32
        assert all(secret not in str(getattr(key, column.key)) for column in ApiKey.__table__.columns)


@pytest.fixture
def keyed(sample):
    """The text of a key of user 1 that ends after 100 s without use, and how to read its row."""
    with sample.app_context():
        _, text = services.create_key(services.get_user(1), timeout=100)
        db.session.commit()

    def row():
        with sample.app_context():
            return db.session.get(ApiKey, text[:10])

    return text, row


def test_each_use_slides_the_end_of_a_key(site, keyed, freeze_time):
    text, row = keyed
    for seconds in (0, 90, 180, 270):
        freeze_time(seconds)
        assert site.get("/users/me", headers=header(text)).status_code == 200
    assert row().revoked is False
    freeze_time(371)
    assert site.get("/users/me", headers=header(text)).status_code == 401
    assert row().revoked is True
    freeze_time(372)
    assert site.get("/users/me", headers=header(text)).status_code == 401


def test_a_key_used_in_one_process_lives_in_another_that_has_forgotten_it(
    sample, site, keyed, freeze_time, database
):
    text, row = keyed
    other_app = create_app(
        sample.instance_path,
        TESTING=True,
        PLUGINS=["sample"],
        SQLALCHEMY_DATABASE_URI=database,
        ARGON2_PARAMETERS=CHEAP_ARGON2,
    )
    other = other_app.test_client()
    freeze_time(0)
    assert other.get("/users/me", headers=header(text)).status_code == 200
    for seconds in (60, 120, 180):
        freeze_time(seconds)
        assert site.get("/users/me", headers=header(text)).status_code == 200
    assert other.get("/users/me", headers=header(text)).status_code == 200
    freeze_time(300)
    assert site.get("/users/me", headers=header(text)).status_code == 401
    assert other.get("/users/me", headers=header(text)).status_code == 401
    assert row().revoked is True
    with other_app.app_context():
        db.engine.dispose()


def test_a_permanent_key_does_not_end(sample, site, freeze_time):
    with sample.app_context():
        _, text = services.create_key(services.get_user(1), permanent=True, timeout=60)
        db.session.commit()
    freeze_time(10 * 365 * 24 * 3600)
    assert site.get("/users/me", headers=header(text)).status_code == 200


def test_the_last_use_is_written_now_and_then_and_when_the_address_changes(site, keyed, freeze_time):
    text, row = keyed
    start = row().last_used_at

    def use(seconds, **environ):
        freeze_time(seconds)
        assert site.get("/users/me", headers=header(text), environ_overrides=environ).status_code == 200
        return row().last_used_at - start

    assert timedelta(0) < use(1) < timedelta(seconds=20)  # the first use tells the address
    first = row().last_used_at
    use(20)
    assert row().last_used_at == first  # a quarter of 100 s has not gone by
    assert use(27) > timedelta(seconds=25)
    assert row().ip == "127.0.0.1"
    use(28, REMOTE_ADDR="10.0.0.1")
    assert row().ip == "10.0.0.1"
    use(29, REMOTE_ADDR="10.0.0.1", HTTP_USER_AGENT="x" * 2000)
    assert row().user_agent == "x" * 512


@pytest.fixture
def traced(sample):
    """A list of what is sent to the database from now on; on SQLite also of what its driver adds."""
    statements = []

    def note(_connection, _cursor, statement, *_):
        statements.append(statement)

    def trace(raw, *_):
        raw.set_trace_callback(statements.append)

    with sample.app_context():
        engine = db.engine
    listeners = [("before_cursor_execute", note)]
    if engine.dialect.name == "sqlite":
        listeners.append(("checkout", trace))
    for name, listener in listeners:
        event.listen(engine, name, listener)
    yield statements
    for name, listener in listeners:
        event.remove(engine, name, listener)
    engine.dispose()


def test_a_warm_request_asks_the_database_one_cheap_question(sample, site, traced):
    add_permissions(sample, "sample_look")
    assert site.get("/sample/look", headers=header(KEY_OF_USER_1)).status_code == 200
    traced.clear()
    assert site.get("/sample/look", headers=header(KEY_OF_USER_1)).status_code == 200
    asked = [statement for statement in traced if statement not in ("BEGIN", "COMMIT", "ROLLBACK")]
    assert len(asked) == (1 if any(statement == "BEGIN" for statement in traced) else 0), asked
    assert "JOIN" not in str(asked)
