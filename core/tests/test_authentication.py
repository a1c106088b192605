"""The header: keys, names with passwords, and what plugins know."""

import base64
import threading

import pytest
from sqlalchemy import select, update

from core.conftest import CODE_1, KEY_OF_USER_1, KEY_OF_USER_2, add_permissions
from core.db import db
from core.models import Event
from core.users import services
from core.users.models import LoginFailure, User, UserPermission

HOOK = """
    from core.authentication import Claim
    from core.errors import Unauthenticated
    from core.hookspecs import hookimpl

    @hookimpl
    def authenticate_request(request):
        ticket = request.headers.get("X-Ticket")
        if ticket == "bad":
            raise Unauthenticated
        return Claim(int(ticket), ["api_keys_view"]) if ticket else None
"""


@pytest.fixture
def site(sample):
    add_permissions(sample, "sample_look")
    return sample.test_client()


def look(client, name, password, **more):
    return client.get("/sample/look", auth=(name, password), **more).status_code


def lock_out(client, name="user_one"):
    """Fail until the account is closed; from other addresses, so that these stay open."""
    for number in range(10):
        assert look(client, name, "wrong", environ_overrides={"REMOTE_ADDR": f"10.0.0.{number}"}) == 401


def test_a_name_with_its_password_is_as_good_as_a_key(site):
    for name in ("user_one", "USER_ONE"):
        assert look(site, name, "12345") == 200
    assert look(site, "user_one", "wrong") == 401
    assert look(site, "nobody", "12345") == 401
    assert look(site, "user_two", "12345") == 403
    wrong = site.get("/sample/look", auth=("user_one", "wrong"))
    assert wrong.headers["WWW-Authenticate"].startswith("Basic")
    # Where a blueprint does not take Basic, it is not looked at.
    assert site.get("/users/me", auth=("user_one", "12345")).status_code == 401


def test_any_name_will_do_with_a_key(site):
    for name in ("user_one", "user_two", "", "x"):
        assert look(site, name, KEY_OF_USER_1) == 200
    assert look(site, "user_one", "abcdefghij" + CODE_1) == 403  # its scope
    for _ in range(12):
        assert look(site, "user_one", KEY_OF_USER_1[:-1] + "_") == 401
    assert look(site, "user_one", "12345") == 200  # bad keys were not counted


@pytest.mark.parametrize(
    "credentials",
    [
        b"",
        b":",
        b"user_one",
        b"user_one:",
        b":12345",
        b"\0:\0",
        b"user_one\0:12345",
        b"user_one:12345\0",
        b"\xff\xfe:\xff",
        b"user_one:" + b"x" * 5000,
        b"x" * 5000 + b":12345",
        "é:é".encode(),
    ],
)
def test_odd_credentials_are_bad_credentials(site, credentials):
    header = {"Authorization": "Basic " + base64.b64encode(credentials).decode()}
    assert site.get("/sample/look", headers=header).status_code == 401


def test_a_known_password_is_checked_without_another_digest(sample, site):
    assert look(site, "user_one", "12345") == 200
    with sample.app_context():
        # Whatever is stored now is not asked until something of the user changes.
        db.session.execute(update(User).where(User.id == 1).values(password="damaged"))
        db.session.commit()
    assert look(site, "user_one", "12345") == 200
    assert look(site, "user_one", "12346") == 401


def test_a_known_password_is_forgotten_after_a_while(sample, site, freeze_time):
    assert look(site, "user_one", "12345") == 200
    with sample.app_context():
        db.session.execute(update(User).where(User.id == 1).values(password="damaged"))
        db.session.commit()
    freeze_time(400)
    assert look(site, "user_one", "12345") == 401


def test_a_changed_password_holds_on_the_next_request(sample, site):
    assert look(site, "user_one", "12345") == 200
    with sample.app_context():
        services.change_password(services.get_user(1), "correct horse 1!")
        db.session.commit()
    assert look(site, "user_one", "12345") == 401
    assert look(site, "user_one", "correct horse 1!") == 200


def test_the_account_and_its_rights_are_looked_at_on_each_request(sample, site):
    assert look(site, "user_one", "12345") == 200
    for values, status in (({"locked": True}, 403), ({"locked": False, "enabled": False}, 403)):
        with sample.app_context():
            db.session.execute(update(User).where(User.id == 1).values(**values))
            services.touch(1)
            db.session.commit()
        assert look(site, "user_one", "12345") == status


def test_a_closed_account_tells_the_right_password_from_a_wrong_one_to_nobody(site):
    assert look(site, "user_one", "12345") == 200  # known from here on
    lock_out(site)
    right = site.get("/sample/look", auth=("user_one", "12345"))
    assert right.status_code == 429
    assert "Retry-After" in right.headers
    assert look(site, "user_one", "wrong") == 429
    assert look(site, "user_one", KEY_OF_USER_1) == 200


def test_many_requests_at_once_with_one_password_are_all_served(sample, site):
    codes = []

    def ask():
        codes.append(look(sample.test_client(), "user_one", "12345"))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [200] * 12
    with sample.app_context():
        assert [row.failures for row in db.session.scalars(select(LoginFailure))] in ([0], [])


def test_a_browser_that_remembers_a_password_is_asked_where_the_request_comes_from(site):
    auth = ("user_one", "12345")
    evil = {"Origin": "https://evil.example"}
    answer = site.post("/sample/things", json={"name": "x"}, auth=auth, headers=evil)
    assert (answer.status_code, answer.json["error"]["code"]) == (403, "csrf_failed")
    assert site.post("/sample/things", json={"name": "x"}, auth=auth).status_code == 201
    assert site.get("/sample/look", auth=auth, headers=evil).status_code == 200


def test_a_cookie_is_enough_for_what_a_page_shows(site):
    site.post("/sessions", json={"username": "user_one", "password": "12345"})
    image = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert site.get("/sample/look", headers=image).status_code == 200
    assert (
        site.get("/users/me", headers={"Authorization": f"Token {KEY_OF_USER_2}"}).json["response"]["id"] == 2
    )
    assert site.get("/users/me", headers={"Authorization": "Token bad"}).status_code == 401


def test_an_expired_key_leaves_a_word_in_the_log(sample, site, freeze_time):
    with sample.app_context():
        key, text = services.create_key(services.get_user(1), timeout=60)
        target = f"api_key:{key.hash}"
        db.session.commit()
    freeze_time(100)
    assert site.get("/users/me", headers={"Authorization": f"Token {text}"}).status_code == 401
    with sample.app_context():
        names = db.session.scalars(select(Event.name).where(Event.target == target)).all()
        assert names == ["core.api_key.created", "core.api_key.revoked"]


@pytest.fixture
def ticketed(make_plugin, make_site):
    """A site whose plugin takes ``X-Ticket: <id of a user>`` for a credential."""
    make_plugin("tickets", hooks=HOOK)
    app = make_site("tickets", tables=True)
    with app.app_context():
        services.lowest_class()
        for name in ("ann", "bob"):
            services.create_user(name, "correct horse 1!", f"{name}@example.org")
        db.session.add(UserPermission(user_id=1, permission="api_keys_view", granted=True))
        db.session.add(UserPermission(user_id=1, permission="users_view", granted=True))
        app.key = services.create_key(services.find_user("bob"))[1]
        db.session.commit()
    return app


def test_what_a_plugin_knows_is_cut_down_to_its_scope_and_the_account(ticketed):
    client = ticketed.test_client()

    def get(path, ticket, **more):
        return client.get(path, headers={"X-Ticket": ticket, **more})

    assert client.get("/users/me").status_code == 401
    assert get("/users/me", "1").json["response"]["username"] == "ann"
    effective = get("/api_keys/current", "1").json["response"]
    assert effective == {"key": None, "effective_permissions": ["api_keys_view"]}
    assert get("/users/2", "1").json["error"]["code"] == "key_scope"
    assert get("/users/me", "99").status_code == 401
    assert get("/users/me", "bad").status_code == 401
    key = f"Token {ticketed.key}"
    assert get("/users/me", "1", Authorization=key).json["response"]["username"] == "bob"
    with ticketed.app_context():
        db.session.get(User, 1).enabled = False
        db.session.commit()
    answer = get("/users/me", "1")
    assert (answer.status_code, answer.json["error"]["code"]) == (403, "account_disabled")
