"""``/cart``: the protocol of Pacifica's cart daemon, and what we add to it. Its quirks live here alone."""

import threading
import time
from typing import Any, Final

from flask import Response, current_app, request, stream_with_context
from marshmallow import Schema, fields, validate

from cart.connection import has_hung_up
from cart.document import BadDocument, parse
from cart.errors import BadCart, state_headers
from cart.permissions import CartPermissions as P
from cart.routes.callers import caller, check_uid
from cart.routes.downloads import BundleQuery, content_length
from cart.services import carts, showing
from cart.services.resolving import resolve
from core.blueprint import Blueprint
from core.errors import BadJSON, TooLarge
from core.identity import current_identity
from core.requests import public, query, read_json, returns
from core.responses import add_page_headers, json_response

__all__ = ["bp"]

ALIVE: Final = "Pacifica Cartd Interface Up and Running"
# What a client that polls may rely on: 204 is said of nothing but these two, or it would stop polling.
STATUS: Final = {"waiting": 202, "staging": 204, "ready": 204, "error": 500}
LOOK: Final = 0.5  # s between two looks for a caller who waits

bp = Blueprint("carts", __name__)

_DOCUMENT: Final = {
    "type": "object",
    "required": ["fileids"],
    "properties": {
        "fileids": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": ["string", "integer"]},
                    "path": {"type": "string"},
                    "hashtype": {"type": "string"},
                    "hashsum": {"type": "string"},
                    "source": {"type": "string"},
                },
            },
        },
        "bundle": {"type": "boolean"},
        "label": {"type": "string"},
    },
}


class PageQuery(Schema):
    """Which page of one's carts."""

    page = fields.Integer(load_default=1, validate=validate.Range(1, 10**6))
    limit = fields.Integer(load_default=50, validate=validate.Range(1, 1000))


class WaitQuery(Schema):
    """How long an answer may take."""

    wait = fields.Float(load_default=0.0, allow_nan=False, validate=validate.Range(0, 60))


@bp.get("/")
@public
@query(PageQuery())
@returns(200, {"type": "object"}, "That the service runs; with a login, one's carts.")
def get_root(args: dict[str, Any]) -> Response:
    """That the service runs; for a caller with a login, also the carts of that user, newest first."""
    identity = current_identity()
    if not identity.can(P.READ) or not identity.authenticated:
        return json_response({"message": ALIVE})
    found, total = showing.list_carts(identity, **args)
    return add_page_headers(json_response({"message": ALIVE, "carts": found}), total=total, **args)


@bp.post("/<uid>")
@public
@returns(201, {"type": "object"}, "The cart is made; nothing is said of its files yet.")
@returns(400, {"type": "object"}, "The document cannot be used; `errors` has every bad entry.")
def create_cart(uid: str) -> Response:
    """Make a cart, or replace the one of this id.

    The body is JSON whatever its Content-Type: `{"fileids": [{"id", "path", "hashtype", "hashsum"}, ...]}`.
    """
    identity = caller(P.CREATE)
    config = current_app.config
    try:
        document = parse(
            _read(check_uid(uid)),
            default_source=config["CART_DEFAULT_SOURCE"],
            bundle=config["CART_BUNDLE"],
            max_entries=config["CART_MAX_ENTRIES"],
            long_names=config["CART_LONG_NAMES"],
            require_hash=config["CART_REQUIRE_HASH"],
        )
        contents = resolve(document, identity)
    except BadDocument as exc:
        raise BadCart(exc) from None
    except OverflowError as exc:
        raise TooLarge(f"The document has {exc}.") from None
    carts.create_cart(identity, uid, contents, bundle=document.bundle, label=document.label)
    return json_response({"message": "Cart Processing has begun"}, 201)


def _read(_uid: str) -> Any:
    try:
        return read_json()
    except BadJSON:
        raise BadJSON("Invalid JSON document") from None


# Flask would answer HEAD by the view for GET, which composes the tar.
@bp.route("/<uid>", methods=["HEAD"])
@public
@query(BundleQuery())
@returns(202, None, "`X-Pacifica-Status: waiting`")
@returns(204, None, "`X-Pacifica-Status: staging` or `ready`")
@returns(500, None, "`X-Pacifica-Status: error`; the reason is in `X-Pacifica-Message`")
def head_cart(uid: str, args: dict[str, Any]) -> Response:
    """The state of a cart, in headers."""
    identity = caller(P.READ)
    cart = carts.get_cart(identity, check_uid(uid))
    headers = state_headers(cart.state, cart.message if cart.state == "error" else "")
    headers["X-Pulsar-Cart-Files"] = f"{cart.files_done}/{cart.files}"
    headers["X-Pulsar-Cart-Bytes"] = f"{cart.bytes_done}/{cart.bytes}"
    headers["Cache-Control"] = "no-store"
    if length := content_length(cart, identity, args):
        headers["X-Content-Length"] = str(length)
    answer = Response(status=STATUS[cart.state], headers=headers)
    del answer.headers["Content-Type"]
    return answer


@bp.delete("/<uid>")
@public
@returns(200, {"type": "object"}, "It is gone, and its space is free.")
def delete_cart(uid: str) -> Response:
    """Delete a cart in any state, and stop all work for it."""
    carts.delete_cart(caller(P.DELETE), check_uid(uid))
    return json_response({"message": "Cart Deleted Successfully"})


@bp.get("/<uid>/status")
@public
@query(WaitQuery())
@returns(200, {"type": "object"}, "State, times, files and bytes done, and the first files that failed.")
def get_status(uid: str, args: dict[str, Any]) -> Response:
    """The state of a cart as JSON. With `?wait=30` the answer may take so many seconds: it comes when the
    state changes, at once where it cannot change any more."""
    identity = caller(P.READ)
    end = time.monotonic() + args["wait"]
    shown = showing.describe(identity, check_uid(uid))
    if args["wait"] and _waiting.acquire(blocking=False):
        try:
            state = shown["state"]
            while state in showing.UNFINISHED and shown["state"] == state and time.monotonic() < end:
                threading.Event().wait(LOOK)
                if has_hung_up(request.environ):
                    break
                shown = showing.describe(identity, uid)
        finally:
            _waiting.release()
    return json_response(shown, headers={"Cache-Control": "no-store"})


# Callers who wait hold a thread of the server; half of the usual eight in a process are left for the others.
_waiting: Final = threading.BoundedSemaphore(4)


class ManifestQuery(Schema):
    """In which form."""

    format = fields.String(load_default="json", validate=validate.OneOf(["json", "sha256sum"]))


@bp.get("/<uid>/manifest")
@public
@query(ManifestQuery())
@returns(200, {"type": "string"}, "A line for each file.")
def get_manifest(uid: str, args: dict[str, Any]) -> Response:
    """The files of a cart that is ready: lines of JSON, or `?format=sha256sum` for `sha256sum -c`."""
    identity = caller(P.READ)
    cart_id = showing.get_ready(identity, check_uid(uid)).id
    if args["format"] == "json":
        return Response(stream_with_context(showing.iter_json(cart_id)), mimetype="application/x-ndjson")
    return Response(stream_with_context(showing.iter_sums(cart_id)), mimetype="text/plain")
