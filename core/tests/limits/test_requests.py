"""What a caller meets who asks too often: whose limit it is, what it says, and who is not held up by it."""

from multiprocessing import get_context

import pytest
from marshmallow import ValidationError

from core.conftest import CODE_1, KEY_OF_USER_1, KEY_OF_USER_2
from core.db import db
from core.limits import Limiter
from core.models import Event
from core.plugins import BrokenPlugins
from core.settings import Config
from core.site import site_of
from core.users.models import User

pytestmark = pytest.mark.any_database

OTHER_KEY_OF_USER_1 = "abcdefghij" + CODE_1
BAD_KEY = KEY_OF_USER_1[:-1] + "!"
fork = get_context("fork")

# Three plugins: with the site's limits, with one of its own, with none.
PLUGIN = """
from core.blueprint import Blueprint
from core.config import Setting
from core.requests import public

class Config:
    {upper}_LIMIT = Setting((2, 60), nullable=True)

bp = Blueprint("{name}", __name__{more})

@bp.get("/open")
@public
def get_open():
    return {{}}
"""


@pytest.fixture
def statuses():
    """``statuses(client, 3, path="/users/me")``: what so many requests are answered with."""

    def ask(client, times, path="/users/me", **options):
        return [client.get(path, **options).status_code for _ in range(times)]

    return ask


def switch_on(app, **settings):
    """Give ``app`` its limits; a plugin's settings are in its configuration already."""
    site_of(app).limiter = Limiter({**app.config, **settings, "TESTING": False})
    return app.test_client()


def test_the_next_request_of_a_key_is_refused_and_says_for_how_long(client_of, rate_limits, freeze_time):
    freeze_time(0)
    rate_limits(RATE_LIMIT_AUTH_SPECIFIC=(2, 80))
    client = client_of(KEY_OF_USER_1)
    first = client.get("/users/me")
    assert [client.get("/users/me").status_code, client.get("/nothing").status_code] == [200, 429]
    freeze_time(20.5)
    answer = client.get("/users/me")
    assert answer.status_code == 429
    assert answer.json["error"]["code"] == "rate_limited"
    assert answer.json["response"] == "Client rate limit exceeded. 60 seconds until lock expires."
    assert answer.headers["Retry-After"] == "60"
    assert answer.headers["X-RateLimit-Reset"] == first.headers["X-RateLimit-Reset"]
    assert answer.headers.getlist("X-RateLimit-Remaining") == ["0"]
    freeze_time(79.9)
    assert client.get("/users/me").headers["Retry-After"] == "1"
    freeze_time(80)
    assert client.get("/users/me").status_code == 200


def test_the_defaults_are_those_of_the_settings(client_of, client, rate_limits, statuses):
    rate_limits()
    assert statuses(client_of(KEY_OF_USER_2), 51).count(200) == 50
    assert statuses(client, 31).count(401) == 30


def test_every_answer_says_what_is_left(client_of, client, rate_limits, freeze_time):
    freeze_time(0)
    rate_limits(RATE_LIMIT_AUTH_SPECIFIC=(5, 80), RATE_LIMIT_PER_USER=(4, 60), RATE_LIMIT_UNAUTH=(3, 60))

    def left(answer):
        return answer.headers["X-RateLimit-Limit"], answer.headers["X-RateLimit-Remaining"]

    known = client_of(KEY_OF_USER_1)
    # Of several counters the one that ends first is shown.
    assert [left(known.get("/users/me")) for _ in range(2)] == [("4", "3"), ("4", "2")]
    assert left(known.get("/nothing")) == ("4", "1")
    assert left(client.get("/users/me")) == ("3", "2")
    assert left(client.post("/api_keys", data="{")) == ("3", "1")
    seconds = int(known.get("/users/me").headers["X-RateLimit-Reset"]) - int(
        client.get("/users/me").headers["X-RateLimit-Reset"]
    )
    assert seconds == 0, "two windows of a minute that began at the same time"


def test_the_limit_of_a_user_holds_for_all_keys_together(client_of, rate_limits, statuses):
    rate_limits(RATE_LIMIT_AUTH_SPECIFIC=(3, 80), RATE_LIMIT_PER_USER=(4, 80))
    one, other = client_of(KEY_OF_USER_1), client_of(OTHER_KEY_OF_USER_1)
    assert statuses(one, 4) == [200, 200, 200, 429]
    assert other.get("/users/me").status_code == 200
    answer = other.get("/users/me")
    assert answer.json["response"] == "User rate limit exceeded. 80 seconds until lock expires."
    # The key is looked at first, and what it was refused does not count for the user.
    assert one.get("/users/me").json["response"].startswith("Client rate limit exceeded.")
    assert statuses(client_of(KEY_OF_USER_2), 3) == [200] * 3


def test_without_credentials_the_address_counts(client, rate_limits, statuses):
    rate_limits(RATE_LIMIT_UNAUTH=(2, 60))
    assert statuses(client, 3) == [401, 401, 429]
    answer = client.post("/users", json={})
    assert answer.json["response"] == "Unauthenticated rate limit exceeded. 60 seconds until lock expires."
    elsewhere = {"REMOTE_ADDR": "10.0.0.9"}
    assert statuses(client, 3, environ_overrides=elsewhere) == [401, 401, 429]
    six = [{"REMOTE_ADDR": f"2001:db8::{number}"} for number in (1, 2, 3)]
    assert [statuses(client, 1, environ_overrides=where) for where in six] == [[401], [401], [429]]


def test_bad_keys_count_against_the_address_and_lock_no_user_out(client, client_of, rate_limits, statuses):
    rate_limits(RATE_LIMIT_UNAUTH=(2, 60), RATE_LIMIT_AUTH_SPECIFIC=(3, 60))
    bad, good = client_of(BAD_KEY), client_of(KEY_OF_USER_1)
    assert statuses(bad, 5) == [401, 401, 429, 429, 429]
    assert statuses(client, 1) == [429]
    assert statuses(good, 4) == [200, 200, 200, 429]


def test_a_disabled_account_is_counted_by_its_address(client, client_of, rate_limits, statuses):
    db.session.get(User, 1).enabled = False
    db.session.commit()
    rate_limits(RATE_LIMIT_UNAUTH=(2, 60))
    assert statuses(client_of(KEY_OF_USER_1), 3) == [403, 403, 429]


def test_unknown_paths_count_too(client, rate_limits, statuses):
    rate_limits(RATE_LIMIT_UNAUTH=(2, 60))
    assert statuses(client, 3, "/nothing") == [401, 401, 429]


@pytest.mark.parametrize("path", ["/health", "/api/spec.json", "/api/spec.html", "/blobs/0?op=get"])
def test_what_is_exempt_is_never_refused_and_does_not_count(client, rate_limits, statuses, path):
    rate_limits(RATE_LIMIT_UNAUTH=(1, 60))
    assert set(statuses(client, 4, path)) <= {200, 403, 404}
    assert "X-RateLimit-Limit" not in client.get(path).headers
    assert client.get("/users/me").status_code == 401


@pytest.mark.parametrize("name", ["AUTH_SPECIFIC", "PER_USER", "UNAUTH"])
def test_none_switches_a_limit_off(client, client_of, rate_limits, statuses, name):
    names = ("AUTH_SPECIFIC", "PER_USER", "UNAUTH")
    rate_limits(**{f"RATE_LIMIT_{other}": None if other == name else (2, 60) for other in names})
    known, unknown = statuses(client_of(KEY_OF_USER_1), 3), statuses(client, 3)
    assert known == [200, 200, 429], "one of the two still holds"
    assert unknown == ([401] * 3 if name == "UNAUTH" else [401, 401, 429])


def test_the_kit_has_no_limits_unless_a_test_asks_for_them(authed_client, statuses):
    assert set(statuses(authed_client, 120)) == {200}
    assert "X-RateLimit-Limit" not in authed_client.get("/users/me").headers


def test_a_refused_request_does_nothing(client_of, rate_limits):
    rate_limits(RATE_LIMIT_AUTH_SPECIFIC=(1, 60))
    client = client_of(KEY_OF_USER_1)
    assert client.get("/api_keys").status_code != 429
    before = db.session.query(Event).count()
    assert client.post("/api_keys", json={}).status_code == 429
    assert db.session.query(Event).count() == before


@pytest.fixture
def make_limited(make_plugin, make_site):
    """``make_limited({"RATE_LIMIT_UNAUTH": ...}, one=", rate_limits=...")``: a client of such a site."""

    def make(__settings=None, **plugins):
        for name, more in plugins.items():
            init = PLUGIN.format(name=name, upper=name.upper(), more=more)
            make_plugin(name, init=init)
        return switch_on(make_site(*plugins, tables=True), **(__settings or {}))

    return make


def test_each_plugin_counts_for_itself(make_limited, statuses):
    plugins = {"alike": "", "busy": ", rate_limits=(3, 60)", "calm": ", rate_limits=None"}
    client = make_limited({"RATE_LIMIT_UNAUTH": (1, 60)}, named=', rate_limits="NAMED_LIMIT"', **plugins)
    assert statuses(client, 3, "/alike/open") == [200, 429, 429]
    assert statuses(client, 4, "/busy/open") == [200, 200, 200, 429]
    assert statuses(client, 9, "/calm/open") == [200] * 9
    assert statuses(client, 3, "/named/open") == [200, 200, 429]
    assert statuses(client, 2) == [401, 429]
    assert client.get("/busy/open").headers["X-RateLimit-Limit"] == "3"
    # What lies below the plugin's prefix is the plugin's, be there a route or not.
    assert statuses(client, 1, "/busy/nothing") == [429]


def test_a_limit_by_a_setting_that_is_not_there_stops_the_start(make_limited):
    with pytest.raises(BrokenPlugins, match="its blueprint typo names the setting TYPO_LIMT"):
        make_limited(typo=', rate_limits="TYPO_LIMT"')


def ask_in_child(app, found):
    with app.app_context():
        db.engine.dispose(close=False)
        client = app.test_client()
        found.put([client.get("/users/me").status_code for _ in range(12)])


def test_processes_forked_from_one_share_their_counts(make_site):
    app = make_site(tables=True)
    client = switch_on(app, RATE_LIMIT_UNAUTH=(20, 3600))
    with app.app_context():
        db.engine.dispose()
    found = fork.Queue()
    children = [fork.Process(target=ask_in_child, args=(app, found)) for _ in range(2)]
    for child in children:
        child.start()
    codes = [code for _ in children for code in found.get(timeout=60)]
    for child in children:
        child.join(60)
    assert (codes.count(401), codes.count(429)) == (20, 4)
    assert client.get("/users/me").status_code == 429


@pytest.mark.parametrize("bad", [(0, 60), (5, 0), (5,), (5, 60, 1), (-1, 60), (2**40, 60), 5, ("5", 60)])
def test_a_limit_is_two_numbers(bad):
    with pytest.raises(ValidationError):
        Config.RATE_LIMIT_UNAUTH.load(bad)
