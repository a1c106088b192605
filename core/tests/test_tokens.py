"""Tokens: what they may do, when they end, and what ends with them."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import g
from sqlalchemy import select

from core.conftest import add_permissions
from core.db import db
from core.errors import BadRequest, Unauthenticated
from core.identity import OPERATOR, SESSION, by_key, identity_of
from core.models import Event
from core.users import services
from core.users.models import ACCESS, CODE, REFRESH, ApiKey, User

ANYTHING = {"key", "session", "access", "refresh", "code"}


@pytest.fixture
def who(app, clean_database):
    """``who(text, *kinds)``: whom a text stands for in a request of its own, as another process sees it."""

    def ask(text, *kinds):
        app.extensions["pulsar"].identities.clear()
        with app.test_request_context() as context:
            return by_key(text, context.request, kinds or ANYTHING)

    return ask


@pytest.fixture
def dead(who):
    def ask(*texts):
        found = []
        for text in texts:
            try:
                who(text)
            except Unauthenticated:
                found.append(text)
        return found == list(texts)

    return ask


@pytest.fixture
def browser(clean_database):
    """User 1, signed in by a page."""
    user = db.session.get(User, 1)
    session, _ = services.create_session(user)
    db.session.commit()
    return identity_of(user, key_hash=session.hash, kind=SESSION)


@pytest.fixture
def make_key(who):
    def make(**options):
        _, text = services.create_key(db.session.get(User, 1), **options)
        db.session.commit()
        return text

    return make


@pytest.fixture
def redeem(app, who):
    """``redeem(text)``: what a code, refresh token or key is exchanged for."""

    def exchange(text):
        identity = who(text, *services.EXCHANGEABLE)
        with app.test_request_context():
            g.identity = identity
            found = services.exchange(identity)
            db.session.commit()
            return found

    return exchange


def new_code(identity):
    text = services.create_code(identity)
    db.session.commit()
    return text


def row_of(text):
    return db.session.scalar(
        select(ApiKey).where(ApiKey.hash == text[:10]).execution_options(populate_existing=True)
    )


def test_a_code_is_good_once_and_gives_two_tokens(browser, redeem, who, dead):
    code = new_code(browser)

    tokens = redeem(code)

    assert dead(code)
    with pytest.raises(Unauthenticated):
        redeem(code)
    assert (who(tokens.access).user_id, who(tokens.access).kind) == (1, ACCESS)
    assert who(tokens.refresh).kind == REFRESH
    row = row_of(tokens.access)
    assert (tokens.expires_at - row.created_at).total_seconds() == 24 * 3600
    assert not {code[10:], tokens.access[10:], tokens.refresh[10:]} & set(
        db.session.scalars(select(ApiKey.digest))
    )


def test_of_two_who_use_a_code_at_once_one_gets_tokens(app, browser, redeem):
    code = new_code(browser)

    def use(_):
        with app.app_context():
            try:
                return redeem(code)
            except Unauthenticated:
                return None

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(use, range(4)))
    assert len([tokens for tokens in found if tokens]) == 1


def test_codes_wait_side_by_side_and_end_after_ten_minutes(browser, redeem, freeze_time, dead):
    first, second, third = (new_code(browser) for _ in range(3))
    assert redeem(second).access
    freeze_time(590)
    assert redeem(first).access
    freeze_time(605)
    assert dead(third)


def test_of_too_many_codes_the_oldest_end(browser, who, dead, freeze_time):
    codes = []
    for second in range(22):
        freeze_time(second)
        codes.append(new_code(browser))
    assert dead(*codes[:2])
    assert all(who(code).kind == CODE for code in codes[2:])


def test_only_access_tokens_and_keys_open_the_site(app, browser, redeem, client_of):
    code = new_code(browser)
    tokens = redeem(code)
    waiting = new_code(browser)
    for _ in range(2):  # cold and warm
        assert client_of(tokens.access).get("/users/me").json["response"]["username"] == "user_one"
        for other in (tokens.refresh, waiting):
            assert client_of(other).get("/users/me").status_code == 401
    planted = app.test_client()
    planted.set_cookie("pulsar_session", tokens.access)
    assert planted.get("/users/me").status_code == 401


def test_an_access_token_is_no_session_and_buys_nothing(browser, redeem):
    tokens = redeem(new_code(browser))
    with pytest.raises(Unauthenticated):
        redeem(tokens.access)


def test_an_access_token_ends_after_a_day_however_much_it_is_used(browser, redeem, client_of, freeze_time):
    client = client_of(redeem(new_code(browser)).access)
    for hours in (0, 10, 20, 23.9):
        freeze_time(hours * 3600)
        assert client.get("/users/me").status_code == 200
    freeze_time(24.1 * 3600)
    assert client.get("/users/me").status_code == 401
    assert client.get("/users/me").status_code == 401
    revoked = db.session.scalars(select(Event.payload).where(Event.name == "core.api_key.revoked")).all()
    assert revoked == [{"user_id": 1, "expired": True}]


def test_a_refresh_token_is_replaced_and_the_old_one_ends_soon_after(browser, redeem, freeze_time, dead):
    day = 24 * 3600
    first = redeem(new_code(browser))
    freeze_time(day)
    second, same_moment = redeem(first.refresh), redeem(first.refresh)
    assert len({first.refresh, second.refresh, same_moment.refresh}) == 3
    freeze_time(day + 500)
    redeem(first.refresh)
    freeze_time(day + 605)  # the use before did not make it longer
    assert dead(first.refresh)
    assert redeem(second.refresh).access
    freeze_time(day + 601 + 90 * day)
    assert dead(same_moment.refresh), "who does not come for a season signs in again"


def test_old_tokens_leave_the_table(browser, redeem, freeze_time):
    day = 24 * 3600
    tokens = redeem(new_code(browser))
    new_code(browser)
    for days in range(1, 100):
        freeze_time(days * day)
        tokens = redeem(tokens.refresh)
    kinds = db.session.scalars(select(ApiKey.kind).where(ApiKey.family != "")).all()
    assert len(kinds) <= 2 * 91 + 2
    assert not db.session.scalars(select(ApiKey).where(ApiKey.kind == CODE)).all()


def test_a_scope_is_handed_on_and_stays_when_its_permissions_are_lost(app, make_key, redeem, who):
    add_permissions(app, "users_view")
    tokens = redeem(make_key(permissions=["users_view"], permanent=True))
    services.change_user(1, {"permissions": {"users_view": False}}, OPERATOR)
    db.session.commit()
    add_permissions(app, "users_moderate")

    for text in (tokens.access, tokens.refresh, redeem(tokens.refresh).access):
        identity = who(text)
        assert identity.scope == {"users_view"}
        assert not identity.can("users_view")
        assert not identity.can("users_moderate"), "a scope that gives nothing is still a scope"
    code = new_code(who(tokens.access))
    assert who(redeem(code).access).scope == {"users_view"}


def test_a_key_stays_when_it_is_exchanged_and_takes_what_came_of_it_along(make_key, redeem, who, dead):
    key, other = make_key(permanent=True), make_key(permanent=True)
    tokens, apart = redeem(key), redeem(other)
    later = redeem(tokens.refresh)
    code = new_code(who(later.access))
    assert who(key).kind == "key"

    services.revoke_key(row_of(key))
    db.session.commit()

    assert dead(key, tokens.access, tokens.refresh, later.access, later.refresh, code)
    assert who(apart.access)
    assert who(other)


@pytest.mark.parametrize("which", ["access", "refresh"])
def test_a_sign_in_ends_as_a_whole_and_no_other_with_it(browser, redeem, who, dead, which):
    mine, other = redeem(new_code(browser)), redeem(new_code(browser))

    services.revoke_key(row_of(getattr(mine, which)))
    db.session.commit()

    assert dead(mine.access, mine.refresh)
    assert who(other.access).user_id == who(other.refresh).user_id == 1
    with pytest.raises(BadRequest, match="already revoked"):
        services.revoke_key(row_of(mine.access))


def test_a_password_change_and_a_disabled_account_end_every_token(browser, redeem, who, dead, make_key):
    tokens, code, key = redeem(new_code(browser)), new_code(browser), make_key(permanent=True)
    services.change_user(1, {"enabled": False}, OPERATOR)
    services.change_user(1, {"enabled": True}, OPERATOR)
    db.session.commit()
    assert dead(tokens.access, tokens.refresh, code)
    assert who(key)

    tokens = redeem(key)
    services.change_password(db.session.get(User, 1), "correct horse 2!")
    db.session.commit()
    assert dead(key, tokens.access, tokens.refresh)


def test_what_ended_meanwhile_makes_no_tokens(browser, make_key, who, redeem):
    key = who(make_key(permanent=True))
    refresh = who(redeem(new_code(browser)).refresh)
    services.revoke_all_keys(db.session.get(User, 1))
    db.session.commit()
    for make in (services.create_code, services.exchange, services.replace_key):
        with pytest.raises(Unauthenticated):
            make(key)
    with pytest.raises(Unauthenticated):
        services.exchange(refresh)
    with pytest.raises(Unauthenticated):
        services.create_code(browser)


@pytest.mark.parametrize("options", [{"permanent": True, "name": "laptop"}, {"timeout": 60}])
def test_a_replaced_key_is_like_the_old_one(app, make_key, who, dead, options):
    add_permissions(app, "users_view")
    old = make_key(permissions=["users_view"], **options)
    new = services.replace_key(who(old))
    db.session.commit()
    assert dead(old)
    assert who(new).scope == {"users_view"}
    before, after = row_of(old), row_of(new)
    for column in ("name", "permanent", "timeout", "kind", "permissions"):
        assert getattr(before, column) == getattr(after, column)


def test_who_signed_in_is_written_down_with_no_secret(browser, redeem):
    tokens = redeem(new_code(browser))
    redeem(tokens.refresh)
    told = db.session.execute(
        select(Event.actor, Event.target, Event.payload).where(Event.name == "core.token.created")
    ).all()
    assert [(actor, target, payload["by"]) for actor, target, payload in told] == [
        ("user_one", "user:1", "code"),
        ("user_one", "user:1", "refresh"),
    ]
    assert told[0].payload["token_hash"] == tokens.access[:10]
    assert tokens.access[10:] not in str(told)
