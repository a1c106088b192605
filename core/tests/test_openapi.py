"""The description of the API, and that every route says who may call it."""

import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from core.openapi import VARIABLE
from core.testing import unguarded_routes

pytestmark = pytest.mark.any_database


@pytest.fixture
def spec(sample):
    return sample.test_client().get("/api/spec.json").json


def test_the_description_is_valid(spec):
    OpenAPIV31SpecValidator(spec).validate()
    assert spec["openapi"] == "3.1.0"


def test_no_two_paths_are_one_to_a_reader_of_the_description(spec):
    names = [re.sub(r"{\w+}", "{}", path) for path in spec["paths"]]
    assert len(names) == len(set(names))


def unlimited(schema, where, schemas):
    """The places in a description of input that say neither what they hold nor how much of it."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    kinds = schema.get("type", "nothing")
    limits = {
        "string": {"maxLength", "enum"},
        "integer": {"maximum", "enum"},
        "array": {"maxItems"},
        "object": {"maxProperties", "properties"},
        "boolean": {"type"},
    }
    for kind in {kinds} if isinstance(kinds, str) else set(kinds) - {"null"}:
        if not limits.get(kind, set()) & set(schema):
            yield where
    for key, inner in schema.get("properties", {}).items():
        yield from unlimited(inner, f"{where}.{key}", schemas)
    if "items" in schema:
        yield from unlimited(schema["items"], f"{where}[]", schemas)


def test_everything_that_core_takes_has_a_limit(app):
    spec = app.test_client().get("/api/spec.json").json
    found = []
    for path, operations in spec["paths"].items():
        for method in operations.keys() - {"parameters"}:
            taken = {one["name"]: one["schema"] for one in operations[method].get("parameters", [])}
            body = operations[method].get("requestBody", {"content": {}})
            taken |= {media: content["schema"] for media, content in body["content"].items()}
            for name, schema in taken.items():
                found += unlimited(schema, f"{method} {path} {name}", spec["components"]["schemas"])
    assert found == []


@pytest.mark.parametrize(
    "schema",
    [{}, {"type": "string"}, {"type": ["integer", "null"]}, {"type": "array", "maxItems": 1, "items": {}}],
)
def test_what_has_no_limit_is_found(schema):
    assert list(unlimited({"type": "object", "properties": {"x": schema}}, "body", {})) != []


def test_every_rule_and_method_is_described(sample, spec):
    for rule in sample.url_map.iter_rules():
        path = VARIABLE.sub(r"{\g<name>}", rule.rule)
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            operation = spec["paths"][path][method.lower()]
            assert operation["summary"] or rule.endpoint.startswith("sample.")
            assert "default" in operation["responses"]


def test_what_is_described_is_what_is_answered(authed_client, app):
    spec = app.test_client().get("/api/spec.json").json
    described = spec["paths"]["/users/me"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    name = described["properties"]["response"]["$ref"].rpartition("/")[2]
    answer = authed_client.get("/users/me").json
    assert set(described["properties"]) == set(answer)
    assert set(spec["components"]["schemas"][name]["properties"]) == set(answer["response"])


def test_a_rule_with_two_paths_has_two_operations(spec):
    ids = [
        operation["operationId"]
        for path in spec["paths"].values()
        for operation in path.values()
        if isinstance(operation, dict)
    ]
    assert len(ids) == len(set(ids))


def test_the_page_needs_no_other_host(client):
    page = client.get("/api/spec.html")
    assert page.mimetype == "text/html"
    start = client.get("/api/spec/start.js")
    for text in (page.text, start.text):
        assert "http://" not in text
        assert "https://" not in text
        assert not re.search(r"""(src|href)=["']//""", text)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    parts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(parts) >= 4
    for part in parts:
        answer = client.get(f"/api/{part}")
        assert (answer.status_code, bool(answer.data)) == (200, True)
        answer.close()
    for other in ("../openapi.py", "index.html", "%2e%2e%2fx", "nothing.js"):
        assert client.get(f"/api/spec/{other}").status_code in (401, 404)


def test_every_route_of_core_says_who_may_call_it(app):
    assert unguarded_routes(app, "core") == []


def test_a_route_that_says_nothing_is_found(make_plugin, make_site):
    make_plugin(
        "lax",
        routes="""
        from flask import Blueprint
        from core.requests import login_required, public
        bp = Blueprint("lax", __name__)

        @bp.get("/said")
        @login_required
        def said(): ...

        @bp.get("/open")
        @public
        def opened(): ...

        @bp.get("/nothing/<int:x>")
        def nothing(x): ...
        """,
    )
    app = make_site("lax")
    assert unguarded_routes(app) == ["GET /lax/nothing/<int:x> (lax.nothing)"]
    assert unguarded_routes(app, "core") == []
