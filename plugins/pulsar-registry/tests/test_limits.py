"""How often the registry may be asked, and by whose pages."""

import pytest
from registry_kit import leaf, local, root

pytestmark = pytest.mark.any_database

PAGE = {"Origin": "https://anywhere.example.org"}


def test_clients_that_push_and_install_are_not_held_up_by_the_limits_of_people(people, rate_limits):
    rate_limits()
    statuses = {people.ann.get("/api/package/ann/").status_code for _ in range(120)}
    assert statuses == {200}


def test_the_registry_has_a_limit_of_its_own_in_its_own_words(people, rate_limits):
    rate_limits(REGISTRY_RATE_LIMIT=(2, 60), RATE_LIMIT_PER_USER=(1, 60))
    ask = people.ann.get
    assert [ask("/api/package/ann/").status_code for _ in range(2)] == [200, 200]
    refused = ask("/api/package/ann/")
    assert refused.status_code == 429
    assert refused.json["message"] == "User rate limit exceeded. 60 seconds until lock expires."
    assert refused.json["code"] == "rate_limited"
    assert refused.headers["Retry-After"] == "60"
    assert people.bob.get("/api/package/ann/").status_code == 200
    assert [people.nobody.get("/api/capabilities").status_code for _ in range(3)] == [200, 200, 429]


def test_signed_links_are_not_counted(people, rate_limits):
    content = b"sent by a link"
    rate_limits(REGISTRY_RATE_LIMIT=(1, 60), RATE_LIMIT_UNAUTH=(1, 60))
    asked = people.ann.request_push("ann/data", root(data=leaf(content)), dry_run=True)
    assert asked.status_code == 200
    assert people.ann.get("/api/package/ann/").status_code == 429
    (links,) = asked.json["upload_urls"].values()
    for _ in range(3):
        assert people.nobody.head(local(links["head"])).status_code in (200, 404)
        assert people.nobody.put(local(links["put"]), data=content).status_code == 201


def test_pages_of_any_site_may_call_the_api_and_nothing_else(people):
    client = people.nobody.client
    asked = PAGE | {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization"}
    for path in ("/api/package/ann/", "/api/nothing"):
        before = client.options(path, headers=asked)
        assert before.status_code == 204
        assert before.headers["Access-Control-Allow-Origin"] == "*"
        assert before.headers["Access-Control-Allow-Headers"] == "authorization"
        assert before.headers["Access-Control-Max-Age"] == "86400"
        answer = client.get(path, headers=PAGE)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers
    for path in ("/packages/ann/data", "/health", "/users/me"):
        assert "Access-Control-Allow-Origin" not in client.get(path, headers=PAGE).headers
