"""What the description of the API says of a call is what the call does.

schemathesis reads the description, makes requests that keep to it and requests that break it, and compares
the answers with it. The same ones each time: nothing here is left to chance. The database is put back
before each, so that no request depends on those before it.
"""

import sqlite3
from contextlib import closing

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from core.app import create_app
from core.conftest import CHEAP_ARGON2, KEY_OF_USER_1, KEY_OF_USER_2, _add_base_data
from core.db import Base, db
from core.identity import identity_of
from core.jobs import enqueue
from core.notifications import notify
from core.routes import bps
from core.users import services
from core.users.models import UserPermission

CALLERS = {"administrator": KEY_OF_USER_1, "ordinary user": KEY_OF_USER_2}
EXAMPLES = {"administrator": 25, "ordinary user": 10}  # of requests of each call
CHECKS = [
    checks.content_type_conformance,
    checks.negative_data_rejection,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A site on SQLite with something of everything; ``site.put_back()`` undoes what was done to it."""
    folder = tmp_path_factory.mktemp("described")
    (folder / "config.py").write_text("SECRET_KEY = 'a secret of the test'\n", encoding="utf-8")
    # A thousand requests a minute are no mistake here.
    limits = [
        "RATE_LIMIT_AUTH_SPECIFIC",
        "RATE_LIMIT_PER_USER",
        "RATE_LIMIT_UNAUTH",
        "RATE_LIMIT_LOGIN_ACCOUNT",
        "RATE_LIMIT_LOGIN_ADDRESS",
    ]
    app = create_app(folder, TESTING=True, ARGON2_PARAMETERS=CHEAP_ARGON2, **dict.fromkeys(limits))
    with app.app_context():
        Base.metadata.create_all(db.engine)
        _add_base_data()
        app.known = _add_something()
        path = db.engine.url.database
    with closing(sqlite3.connect(path)) as live, closing(sqlite3.connect(":memory:")) as kept:
        live.backup(kept)

        def put_back():
            kept.backup(live)
            app.extensions["pulsar"].identities.clear()

        app.put_back = put_back
        yield app
    with app.app_context():
        db.engine.dispose()


def _add_something():
    """Rows of every kind. Returns what stands in paths for them, as no generator would guess it."""
    services.grant_defaults("core")
    db.session.add(UserPermission(user_id=1, permission="site_god_mode", granted=True))
    for number in (1, 2):
        services.get_user(number).invites = 3
        notify(number, "core_news", {"text": "hello"})
    ann = identity_of(services.get_user(2))
    invite = services.send_invite(ann, "guest@example.org", from_ip="192.0.2.1")
    job = enqueue("core.prune_events", owner_id=2)
    db.session.commit()
    return {
        "user_id": 2,
        "class_id": 1,
        "key_hash": KEY_OF_USER_2[:10],
        "type_": "core_news",
        "code": invite.code,
        "job_id": job.id,
        "name": "start.js",
    }


def documented(case, response):
    """The status is one that the call names; that others are described by ``default`` is not enough."""
    assert response.status_code < 500, response.text
    assert str(response.status_code) in case.operation.definition.raw["responses"], response.text


@pytest.fixture(scope="module")
def operations(site):
    """Every call of the description."""
    described = site.test_client().get("/api/spec.json").json
    for path in described["paths"].values():
        for operation in path.values():
            # Who calls is said below; otherwise a request without the key would count as a broken one.
            operation.pop("security", None) if isinstance(operation, dict) else None
    schema = schemathesis.openapi.from_dict(described)
    schema.app = site
    return [found.ok() for found in schema.get_all_operations()]


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("blueprint", [bp.name for bp in bps])
def test_calls_do_as_they_are_described(site, operations, blueprint, caller):
    mine = [one for one in operations if one.definition.raw["operationId"].startswith(f"{blueprint}.")]
    assert mine, "the blueprint has no calls"
    for operation in mine:
        _try(site, operation, caller)


def _try(site, operation, caller):
    requests = st.one_of(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)

    @settings(
        max_examples=EXAMPLES[caller],
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=requests, known=st.booleans())
    def go(case, known):
        if known and case.meta.generation.mode.is_positive:
            case.path_parameters |= {k: v for k, v in site.known.items() if k in case.path_parameters}
        assume([] not in case.query.values())  # of which nothing is left in an address
        site.put_back()
        response = case.call(headers={"Authorization": f"Token {CALLERS[caller]}"})
        documented(case, response)
        case.validate_response(response, checks=CHECKS)

    go()
