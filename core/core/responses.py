"""What goes out: the envelope around JSON, pages, headers that every answer carries."""

from collections.abc import Mapping
from http import HTTPStatus
from json import JSONEncoder
from typing import Any, Final
from urllib.parse import quote, urlencode

from flask import Response, json, request
from flask.json.provider import DefaultJSONProvider

from core.blueprint import Mount

__all__ = ["add_page_headers", "envelop", "json_response", "own_address"]

_HEAD: Final = b'{"status":"success","response":'
# Made once: Flask's json.dumps() makes an encoder for every call.
_ENCODER: Final = JSONEncoder(ensure_ascii=False, default=DefaultJSONProvider.default)
SAFE_HEADERS: Final = tuple(
    (name, name.lower(), value)
    for name, value in (
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "same-origin"),
        ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    )
)


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """``value`` as JSON, whatever its type: a bare string too, which Flask would send as HTML."""
    return Response(_ENCODER.encode(value), status, headers, mimetype="application/json")


def envelop(response: Response, state: Any) -> None:
    """Put ``{"status": "success", "response": ...}`` around JSON of an enveloped blueprint.

    The body is spliced, not parsed. What is not JSON, or is streamed, passes untouched and unread.
    """
    mount: Mount = state.mount
    status = response.status_code
    if (
        not mount.envelope
        or response.mimetype != "application/json"
        or response.is_streamed
        or status in (204, 205)
        or 300 <= status < 400
    ):
        return
    text = response.get_data()
    if status < 300 and text:
        response.set_data(_HEAD + text.rstrip() + b"}")
    elif status >= 400 and state.error is None:
        response.set_data(_failed(status, text, state.request_id))


def _failed(status: int, text: bytes, request_id: str) -> bytes:
    """The envelope of an error that a view built by hand instead of raising one."""
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Failed."
    said = {"status": "failed", "response": phrase}
    error = {"code": phrase.lower().replace(" ", "_"), "request_id": request_id}
    head = json.dumps(said | {"error": error}).rstrip("}\n ")
    return head.encode() + b', "details": ' + (text.rstrip() or b"null") + b"}}"


def add_headers(response: Response, state: Any) -> None:
    """Headers that protect a browser, the request's id, what is left of its limits; no caching of what
    a login showed.
    """
    headers = response.headers
    headers["X-Request-Id"] = state.request_id
    given = {name.lower() for name, _ in headers}
    for name, lower, value in SAFE_HEADERS:
        if lower not in given:
            headers.add(name, value)
    for name, value in state.usage.items():
        headers.add(name, value)
    fresh = response.mimetype == "application/json" and "cache-control" not in given
    if fresh and state.identity.authenticated:
        headers["Cache-Control"] = "no-store"


def own_address() -> str:
    """The path of the present request, as a client would ask for it again, also behind a proxy's prefix."""
    return quote(request.script_root + request.path)


def add_page_headers(response: Response, *, total: int, page: int, limit: int) -> Response:
    """``X-Total-Count`` and ``Link`` (first, prev, next, last) for page ``page`` of ``total`` things."""
    last = max(1, -(-total // limit))
    pages = {"first": 1, "prev": page - 1, "next": page + 1, "last": last}
    asked = request.args.to_dict() | {"limit": str(limit)}
    links = [
        f'<{own_address()}?{urlencode(asked | {"page": str(number)})}>; rel="{rel}"'
        for rel, number in pages.items()
        if 1 <= number <= last
    ]
    response.headers["X-Total-Count"] = str(total)
    response.headers["Link"] = ", ".join(links)
    return response
