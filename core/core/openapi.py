"""The description of every route: OpenAPI 3.1 at ``/api/spec.json``, a page to try it at ``/api/spec.html``.

It is built from the routes and what their decorators declared, plugins included, once an app.
"""

import copy
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.resources import files
from inspect import cleandoc
from typing import Any, Final

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask, Response, current_app, send_from_directory
from marshmallow import Schema, fields
from werkzeug.routing import Rule

from core.blueprint import Blueprint, Mount
from core.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    PulsarError,
    TooLarge,
    Unauthenticated,
    UnsupportedMedia,
)
from core.requests import RouteInfo, public, returns, route_info
from core.serializers import INT64, QUERY_DIGITS, Attribute, EpochSeconds, QueryInteger, Serializer
from core.site import current_site, site_of

__all__ = ["bp", "make_spec"]

# Not counted: a page loads several parts at once, and they cost next to nothing.
bp = Blueprint("openapi", __name__, envelope=False, rate_limits=None)

VARIABLE: Final = re.compile(r"<(?:(?P<kind>\w+)(?:\([^)]*\))?:)?(?P<name>\w+)>")
KINDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "int": {"type": "integer", "minimum": 0},
    "float": {"type": "number"},
    "uuid": {"type": "string", "format": "uuid"},
}
HTML: Final = {"type": "string", "contentMediaType": "text/html"}
DIST: Final = str(files("flask_swagger_ui") / "dist")
ASSETS: Final = (
    "swagger-ui.css",
    "swagger-ui-bundle.js",
    "swagger-ui-standalone-preset.js",
    "favicon-32x32.png",
)
PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>pulsar API</title>
<link rel="icon" href="spec/favicon-32x32.png"><link rel="stylesheet" href="spec/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="spec/swagger-ui-bundle.js"></script><script src="spec/start.js"></script></body></html>
"""
# Whoever is signed in by cookie sends the token of the session along; others send their API key.
START: Final = """let token = null;
fetch("../sessions/current").then(a => a.ok ? a.json() : null)
  .then(a => { token = a && a.response.csrf_token; });
SwaggerUIBundle({url: "spec.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
  requestInterceptor: r => { if (token) r.headers["X-CSRF-Token"] = token; return r; }});
"""
# The page runs its own scripts and styles and asks this site alone.
POLICY: Final = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
)


@bp.get("/api/spec.json")
@public
@returns(200, {"type": "object"}, "The OpenAPI document.")
def get_spec() -> Response:
    """The description of every route of this site."""
    site = current_site()
    if site.api_description is None:
        site.api_description = current_app.json.dumps(make_spec(current_app)).encode()
    return Response(site.api_description, mimetype="application/json")


@bp.get("/api/spec.html")
@public
@returns(200, HTML, "A page.")
def get_page() -> Response:
    """The same, as a page on which every call can be tried; it needs no other host."""
    return Response(PAGE, mimetype="text/html", headers={"Content-Security-Policy": POLICY})


@bp.get("/api/spec/<name>")
@public
@returns(200, None, "A script, a style sheet or an icon.")
def get_asset(name: str) -> Response:
    """A part of the page."""
    if name == "start.js":
        return Response(START, mimetype="text/javascript")
    return send_from_directory(DIST, name if name in ASSETS else "none", max_age=86_400)


def make_spec(app: Flask) -> dict[str, Any]:
    """The OpenAPI document of ``app``."""
    marshmallow = MarshmallowPlugin(schema_name_resolver=_schema_name)
    spec = APISpec(
        "pulsar", "1", "3.1.0", plugins=[marshmallow], info={"description": "Every call of this site."}
    )
    spec.components.security_scheme("token", {"type": "apiKey", "in": "header", "name": "Authorization"})
    assert marshmallow.converter is not None
    for describe in (_inner_attribute, _limits, _keys):
        marshmallow.converter.add_attribute_function(describe)  # type: ignore[no-untyped-call]
    marshmallow.map_to_openapi_type(EpochSeconds, "integer", None)  # type: ignore[no-untyped-call]
    spec.components.schema("Error", ERROR)
    for error in ERRORS:
        spec.components.response(error.__name__, _error(cleandoc(error.__doc__ or "")))
    seen: Counter[str] = Counter()
    for rule in app.url_map.iter_rules():
        mount = site_of(app).mounts.get(rule.endpoint.partition(".")[0])
        if mount is None:
            continue
        operations = {}
        for method in sorted(_methods(rule)):
            operations[method.lower()] = operation = _operation(app, rule, method, mount)
            # An endpoint may have several rules; the names of operations are unique.
            seen[operation["operationId"]] += 1
            if (number := seen[operation["operationId"]]) > 1:
                operation["operationId"] += f".{number}"
        spec.path(
            VARIABLE.sub(r"{\g<name>}", rule.rule), parameters=_path_parameters(rule), operations=operations
        )
    _add_assigned(spec, marshmallow.converter)
    return spec.to_dict()


NULL: Final = {"type": "null"}
ERRORS: Final = (BadRequest, Unauthenticated, Forbidden, NotFound, TooLarge, UnsupportedMedia)
ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["status", "response", "error"],
    "properties": {
        "status": {"const": "failed"},
        "response": {"type": "string"},
        "error": {
            "type": "object",
            "required": ["code", "details", "request_id"],
            "properties": {
                "code": {"type": "string"},
                "details": {"type": ["object", "null"]},
                "request_id": {"type": ["string", "null"]},
            },
        },
    },
}


def _schema_name(schema: type[Schema] | Schema) -> str:
    """The name a schema is described under; empty: one that was cut down, described where it is used."""
    if isinstance(schema, Schema) and (schema.only or schema.exclude):
        return ""
    cls = schema if isinstance(schema, type) else type(schema)
    return (
        f"{cls.__module__.partition('.')[0]}.{cls.__name__.removesuffix('Serializer').removesuffix('Schema')}"
    )


def _inner_attribute(_converter: Any, field: Any, **_kwargs: Any) -> dict[str, Any]:
    """A permission-aware attribute is described by the field it wraps, and may be null."""
    if not isinstance(field, Attribute) or field.inner is None:
        return {}
    inner: dict[str, Any] = _converter.field2property(field.inner)
    nested = field.inner.schema if isinstance(field.inner, fields.Nested) else None
    if isinstance(nested, Serializer) and "items" in inner and _may_be_hidden(nested):
        inner["items"] = {"anyOf": [inner["items"], NULL]}
    if isinstance(inner.get("type"), str):
        inner["type"] = [inner["type"], "null"]
    return {"anyOf": [inner, NULL]} if "$ref" in inner else inner


def _may_be_hidden(serializer: Serializer) -> bool:
    """Whether a caller may see nothing of an object, which is then null."""
    return all(
        isinstance(one, Attribute) and (one.permission is not None or not one.nested)
        for one in serializer.dump_fields.values()
    )


def _limits(_converter: Any, field: Any, ret: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
    """How numbers and expressions are limited that say so to Python alone."""
    found: dict[str, Any] = {}
    if isinstance(field, QueryInteger):
        if field.load_default is None:
            del ret["default"]  # nothing of a query is null; it is not there
        most = 10**QUERY_DIGITS - 1
        found = {"minimum": ret.get("minimum", -most), "maximum": ret.get("maximum", most)}
        found["type"] = "integer"
    elif isinstance(field, fields.Integer) and not field.dump_only:
        found = {"minimum": ret.get("minimum", -INT64), "maximum": ret.get("maximum", INT64)}
    elif isinstance(field, fields.Enum) and field.by_value:
        found = {"type": "string"}
    if "pattern" in ret:
        # Python looks at the beginning of the text alone, and its \Z has another name here.
        found["pattern"] = f"^(?:{ret['pattern'].removesuffix(chr(92) + 'Z')})$"
    return found


def _keys(converter: Any, field: Any, ret: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
    """How many keys a mapping has, and of what form; apispec takes it for a text."""
    if not isinstance(field, fields.Dict):
        return {}
    found = {"maxProperties": ret.pop("maxLength")} if "maxLength" in ret else {}
    if field.key_field is not None:
        found["propertyNames"] = converter.field2property(field.key_field)
    return found


def _add_assigned(spec: APISpec, converter: Any) -> None:
    """Describe the attributes that plugins added to serializers of others."""
    described = {key[0]: name for key, name in converter.refs.items()}
    for serializer in current_site().attributes:
        name = described.get(serializer)
        if issubclass(serializer, Serializer) and name:
            added = current_site().assigned(serializer)
            properties = spec.components.schemas[name]["properties"]
            properties |= {key: converter.field2property(field) for key, field in added.items()}


def _methods(rule: Rule) -> set[str]:
    return (rule.methods or set()) - {"OPTIONS", "HEAD"} or {"GET"}


def _path_parameters(rule: Rule) -> list[dict[str, Any]]:
    return [
        {
            "in": "path",
            "name": match["name"],
            "required": True,
            "schema": dict(KINDS.get(match["kind"] or "", {"type": "string"})),
        }
        for match in VARIABLE.finditer(rule.rule)
    ]


def _operation(app: Flask, rule: Rule, method: str, mount: Mount) -> dict[str, Any]:
    view = app.view_functions[rule.endpoint]
    info = route_info(view)
    text = cleandoc(view.__doc__ or "")
    operation: dict[str, Any] = {
        "operationId": f"{rule.endpoint}.{method.lower()}",
        "tags": [mount.plugin],
        "summary": text.partition("\n")[0],
        "description": text,
        "responses": _responses(rule, info, mount),
        "security": [] if info.public else [{"token": []}],
    }
    if info.permission:
        operation["description"] += f"\n\nNeeds the permission `{info.permission}`."
    if info.query is not None:
        operation["parameters"] = [{"in": "query", "schema": info.query}]
    if info.body is not None:
        needed = any(field.required for field in info.body.load_fields.values())
        operation["requestBody"] = {
            "required": needed,
            "content": {"application/json": {"schema": info.body}},
        }
    return operation


def _responses(rule: Rule, info: RouteInfo, mount: Mount) -> dict[str, Any]:
    """What the route declared; the errors that follow from what it takes; one entry for all others."""
    own = mount.error_formatter is None
    found: dict[str, Any] = {}
    for status, (schema, description) in (info.returns or {200: (None, "")}).items():
        answer: dict[str, Any] = {"description": description or "Success."}
        if own and status >= 400:
            answer = _error(description)
        found[str(status)] = answer
        if schema is not None:
            media = schema.get("contentMediaType") if isinstance(schema, Mapping) else None
            shown = _resolved(schema) if media else _enveloped(_resolved(schema), mount)
            answer["content"] = answer.get("content", {}) | {media or "application/json": {"schema": shown}}
    if own:
        found = {str(int(error.status)): error.__name__ for error in _errors(rule, info, mount)} | found
    other = "What went wrong."
    return dict(sorted(found.items())) | {"default": _error(other) if own else {"description": other}}


def _error(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": "Error"}}}


def _errors(rule: Rule, info: RouteInfo, mount: Mount) -> Iterator[type[PulsarError]]:
    """What may be wrong with any call that takes this: a bad key, a closed account, a word too many."""
    yield Unauthenticated
    yield Forbidden
    if mount.envelope or info.query is not None:
        yield BadRequest
    if rule.arguments:
        yield NotFound
    if info.body is not None:
        yield TooLarge
        yield UnsupportedMedia


def _resolved(schema: Any) -> Any:
    """A copy, as apispec writes into what it is given, in which objects that may be hidden may be null."""
    if isinstance(schema, Mapping):
        return {key: _resolved(value) for key, value in schema.items()}
    if not isinstance(schema, Serializer) or not _may_be_hidden(schema):
        return schema
    one = copy.copy(schema)
    one.many = False
    nullable = {"anyOf": [one, dict(NULL)]}
    return {"type": "array", "items": nullable} if schema.many else nullable


def _enveloped(schema: Any, mount: Mount) -> Any:
    if not mount.envelope:
        return schema
    properties = {"status": {"const": "success"}, "response": schema}
    return {"type": "object", "required": ["status", "response"], "properties": properties}
