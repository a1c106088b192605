"""Whatever is sent to the calls about people: a sentence that says what is wrong, and never a 500."""

import json
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select

from core.app import create_app
from core.conftest import CHEAP_ARGON2
from core.db import Base, db
from core.notifications import notify
from core.users import services
from core.users.models import Invite, User, UserClass, UserPermission

DEEP = b"[" * 100_000 + b"]" * 100_000
BODIES = {
    "POST /users": {"username": "ann", "password": "correct horse 1!", "email": "a@example.org"},
    "POST /invites": {"email": "a@example.org"},
    "PUT /notifications": {"read": True},
    "PUT /notifications/core_news": {"read": True},
    "PUT /notifications/1": {"read": True},
}
# Of no type that any of the fields has, or no value.
WRONG: list[object] = [
    None,
    [],
    {},
    -1,
    1.5,
    0,
    2**63,
    10**400,
    "",
    "\x00",
    "a\x00b",
    "\ud800",
    "x" * 100_000,
    [[["x"]]],
]
QUERIES = {
    "/users": ("search", "page", "limit"),
    "/invites": ("used", "include_dead", "user_id", "page", "limit"),
    "/notifications": ("user_id",),
    "/notifications/core_news": ("include_read", "user_id", "page", "limit"),
}
VALUES = ["-1", "%00", "%FF", "9" * 19, "9" * 5000, "x" * 5000, "1.5", "%D9%A3", "1&{0}=1", "[]"]
PATHS = ["/users/", "/invites/", "/notifications/"]
PARTS = [
    "%00",
    "%FF",
    "a%00b",
    "9223372036854775808",
    "9" * 400,
    "-1",
    "x" * 5000,
    "'",
    "%25",
    "%F0%9F%8F%8E",
]


@pytest.fixture(scope="module")
def call():
    """``call("POST", "/users", data)``: the answer to a caller who may do anything."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.py").write_text("SECRET_KEY = 'a secret of the test'\n", encoding="utf-8")
        app = create_app(folder, TESTING=True, ARGON2_PARAMETERS=CHEAP_ARGON2, REQUIRE_INVITE_CODE=True)
        with app.app_context():
            Base.metadata.create_all(db.engine)
            db.session.add(UserClass(id=1, name="User"))
            db.session.flush()
            user = services.create_user("root", "correct horse 1!", "r@example.org")
            user.invites = 5
            grant = {"user_id": user.id, "permission": "site_god_mode", "granted": True}
            db.session.execute(insert(UserPermission), [grant])
            notify(user.id, "core_news", None)
            _, key = services.create_key(user, permanent=True)
            db.session.commit()

        def send(method, path, data=b""):
            headers = {"Authorization": f"Token {key}"}
            return app.test_client().open(path, method=method, data=data, headers=headers)

        yield send
        with app.app_context():
            assert db.session.scalar(select(func.count()).select_from(User)) == 1
            assert db.session.scalar(select(func.count()).select_from(Invite)) == 0
            db.engine.dispose()


def refused(answer):
    assert answer.status_code == 400, answer.text[:200]
    assert answer.json["error"]["code"] in ("bad_json", "validation_failed", "bad_request")
    assert "Traceback" not in answer.text
    assert len(answer.data) < 10_000
    return answer.json


@pytest.mark.parametrize("route", BODIES)
def test_a_body_of_another_form_is_400(call, route):
    method, path = route.split()
    good = BODIES[route]
    whole = [
        b"[]",
        b'"x"',
        b"1",
        b"null",
        b"{",
        b"\xff",
        b"\x00",
        DEEP,
        b'{"a": 1, "a": 2}',
        b'{"x": ' + DEEP + b"}",
    ]
    for data in (*whole, json.dumps(good | {"colour": 1}).encode()):
        refused(call(method, path, data))
    text = json.dumps(good)
    refused(call(method, path, f"{text[:-1]}, {text[1:]}".encode()))  # each key twice
    for key in good:
        missing = {name: value for name, value in good.items() if name != key}
        assert key in refused(call(method, path, json.dumps(missing)))["error"]["details"]
        for value in WRONG:
            refused(call(method, path, json.dumps(good | {key: value})))


@pytest.mark.parametrize("path", QUERIES)
def test_a_query_of_another_form_is_400(call, path):
    refused(call("GET", f"{path}?colour=1"))
    for key in QUERIES[path]:
        for value in VALUES:
            answer = call("GET", f"{path}?{key}={value.format(key)}")
            # A name that nobody has and a user who is not there are no mistakes of form.
            assert answer.status_code in ((400, 200) if key == "search" else (400, 404))
            if answer.status_code == 400:
                refused(answer)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_path_that_means_nothing_is_400_404_or_405(call, path, method):
    for part in PARTS:
        answer = call(method, path + part, b'{"read": true}')
        assert answer.status_code in (400, 404, 405)
        assert answer.json["status"] == "failed"
