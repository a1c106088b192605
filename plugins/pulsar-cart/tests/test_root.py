"""The cart at the root of a site of its own, where old clients expect it; core's own paths stay core's."""

import io
import tarfile

import pytest
from cart_kit import entry

from core.app import create_app
from core.db import Base, db

pytestmark = pytest.mark.any_database

CORE = ("/health", "/login", "/logout", "/users", "/api_keys", "/jobs", "/plugins", "/permissions")

DOCUMENT = {"fileids": [entry(b"foo\n", "1/2/3/foo.txt", "foo.txt")]}


@pytest.fixture
def client(tmp_path):
    """Somebody without credentials, at a site that asks for none."""
    (tmp_path / "config.py").write_text("SECRET_KEY = 'a secret of the test'\n")
    (tmp_path / "files").mkdir()
    (tmp_path / "files/foo.txt").write_bytes(b"foo\n")
    app = create_app(
        tmp_path,
        PLUGINS=["cart"],
        URL_PREFIXES={"cart": "/"},
        CART_ANONYMOUS=True,
        CART_DIRECTORY="files",
        CART_DEFAULT_SOURCE="directory",
        TESTING=True,
    )
    with app.app_context():
        Base.metadata.create_all(db.engine)
        yield app.test_client()
        db.session.rollback()
        db.engine.dispose()


def allowed(answer):
    return set(answer.headers["Allow"].split(", "))


def test_every_call_of_the_protocol(client):
    alive = {"message": "Pacifica Cartd Interface Up and Running"}
    assert client.get("/").json == alive
    assert (client.head("/").status_code, client.head("/").data) == (200, b"")
    assert client.post("/36a", json=DOCUMENT).status_code == 201
    state = client.head("/36a")
    assert (state.status_code, state.headers["X-Pacifica-Status"]) == (204, "ready")
    with tarfile.open(fileobj=io.BytesIO(client.get("/36a?filename=my.tar").data)) as tar:
        assert tar.getnames() == ["my/1/2/3/foo.txt"]
    assert client.get("/36a/files/1/2/3/foo.txt").data == b"foo\n"
    assert client.delete("/36a").json == {"message": "Cart Deleted Successfully"}
    assert client.get("/36a").status_code == 404


def test_what_the_protocol_does_not_have_is_refused_in_its_words(client):
    for method in ("PUT", "PATCH"):
        answer = client.open("/36a", method=method)
        assert answer.status_code == 405
        assert answer.json["status"] == "405 Method Not Allowed"
        assert allowed(answer) == {"DELETE", "GET", "HEAD", "OPTIONS", "POST"}
        assert allowed(client.open("/", method=method)) == {"GET", "HEAD", "OPTIONS"}
    for path in ("/36a/x", "/36a/x/y", "/a/b/c/d", "/status/transactions/by_id/7"):
        answer = client.get(path)
        assert (answer.status_code, answer.json["status"]) == (404, "404 Not Found"), path
        assert answer.json["traceback"] == ""


def test_what_is_called_like_a_path_of_core_is_no_cart(client):
    for path in CORE:
        for method in ("POST", "GET", "HEAD", "PUT", "DELETE"):
            answer = client.open(path, method=method, json=DOCUMENT if method == "POST" else None)
            assert "X-Pacifica-Status" not in answer.headers, path
            assert answer.headers.get("WWW-Authenticate") in (None, "Token")
            assert b"Cart Processing" not in answer.data
            assert b"traceback" not in answer.data
    assert client.get("/health").json["response"]["plugins"] == {"core": "ok", "cart": "ok"}
