"""Two servers of one site, each of which knows the caller: what is decided through one holds in the other.

They are processes of their own, on ports of their own, and share nothing but the database.
"""

import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

pytestmark = pytest.mark.any_database


class Caller:
    """Somebody with a key, or with the cookie of a browser."""

    def __init__(self, **headers):
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def asks(self, site, method, path, **body):
        """Status and ``response`` of the answer."""
        data = json.dumps(body).encode() if body else None
        request = Request(site.url + path, data, self.headers, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)["response"]
        except HTTPError as refused:
            with refused:
                return refused.code, json.load(refused)["response"]


@pytest.fixture
def servers(start_site, address):
    """The same site twice."""
    settings = {
        "PULSAR_SQLALCHEMY_DATABASE_URI": address,
        "PULSAR_WEB_PROCESSES": "1",
        "PULSAR_ARGON2_PARAMETERS": '{"time_cost": 1, "memory_cost": 8, "parallelism": 1}',
        "PULSAR_RATE_LIMIT_AUTH_SPECIFIC": "null",
        "PULSAR_RATE_LIMIT_PER_USER": "null",
    }
    return start_site(**settings), start_site(**settings), settings


def test_a_lock_or_a_revocation_in_one_server_holds_on_the_next_request_in_the_other(servers):
    here, there, settings = servers

    def flask(*arguments, input=None):
        done = here.run("flask", *arguments, input=input, **settings)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    flask(
        "admin", "create", "--username", "ann", "--email", "a@example.org", "--password-stdin",
        "--class", "User", input="correct horse 1!\n",
    )  # fmt: skip
    admin = Caller(Authorization=f"Token {flask('admin', 'key', 'admin')}")
    ann = Caller(Authorization=f"Token {flask('admin', 'key', 'ann')}")
    lab = {"name": "Lab", "permissions": ["site_view_audit"], "secondary": True}
    lab = admin.asks(here, "POST", "/user_classes", **lab)[1]["id"]

    def both():
        """What both servers answer to Ann, who is known to them from here on."""
        answers = [ann.asks(site, "GET", "/audit?limit=25")[0] for site in (there, here)]
        assert answers[0] == answers[1]
        return answers[0]

    def change(path="/users/2", **body):
        status, answer = admin.asks(here, "PUT", path, **body)
        assert status == 200, answer
        return both()

    assert both() == 403
    assert change(permissions={"site_view_audit": True}) == 200
    assert change(locked=True) == 403
    assert ann.asks(there, "GET", "/audit") == (403, "Your account has been locked.")
    assert change(locked=False) == 200
    assert change(enabled=False) == 403
    assert ann.asks(there, "GET", "/health") == (403, "Your account has been disabled.")
    assert change(enabled=True) == 200
    assert change(permissions={"site_view_audit": False}) == 403
    assert change(secondary_class_ids=[lab]) == 200
    assert change(f"/user_classes/{lab}", secondary=True, permissions={"site_view_audit": False}) == 403
    assert change(f"/user_classes/{lab}", secondary=True, permissions={"site_view_audit": True}) == 200
    flask("admin", "lock", "ann")  # a third process
    assert both() == 403
    flask("admin", "unlock", "ann")
    assert both() == 200

    made = ann.asks(here, "POST", "/api_keys", name="second")[1]
    second = Caller(Authorization=f"Token {made['key']}")
    assert [second.asks(site, "GET", "/users/me")[0] for site in (there, here)] == [200, 200]
    assert ann.asks(here, "DELETE", f"/api_keys/{made['hash']}")[0] == 200
    assert [second.asks(site, "GET", "/users/me")[0] for site in (there, here)] == [401, 401]
    assert both() == 200
    assert change(password="correct horse 2!") == 401
