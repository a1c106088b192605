"""``GET /cart/<uid>``: the bundle, whole or in part; ``/cart/<uid>/files/<path>``: one file of it."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Any, Final

from flask import Response, request, stream_with_context
from marshmallow import Schema, fields, validate
from werkzeug.http import http_date, is_resource_modified, quote_etag

from cart.connection import has_hung_up, send, socket_of
from cart.errors import CartFailed
from cart.permissions import CartPermissions as P
from cart.pieces import as_bytes
from cart.routes.callers import caller, check_uid
from cart.services import carts, downloads, early, showing
from cart.services.downloads import Download
from core.blueprint import Blueprint
from core.errors import APIException, NotFound, PulsarError
from core.identity import Identity
from core.requests import public, query, returns
from core.storage import Unsatisfiable, content_disposition, parse_range

if TYPE_CHECKING:
    from cart.models import Cart

__all__ = ["BundleQuery", "bp", "content_length"]

GONE = "The cart does not exist or has already been deleted"
NOT_READY = "The cart is not ready for download."
_BYTES = {"type": "string", "contentMediaType": "application/octet-stream"}
_MEDIA_TYPES = {"tar": "application/octet-stream", "zip": "application/zip"}

bp = Blueprint("downloads", __name__)


class BundleQuery(Schema):
    """Which bundle. What it is called is cleaned, never refused."""

    filename = fields.String(load_default=None)
    format = fields.String(load_default="tar", validate=validate.OneOf(sorted(downloads.FORMATS)))
    bag = fields.Boolean(load_default=False)
    stream = fields.Boolean(load_default=False)


@bp.get("/<uid>")
@public
@query(BundleQuery())
@returns(200, _BYTES, "The tar, or with `?format=zip` the zip; with `?bag=1` as a bag.")
@returns(202, {"type": "string"}, "The cart is not ready.")
@returns(206, _BYTES, "The range that was asked for.")
@returns(304, None, "The caller has it.")
@returns(416, None, "The range lies outside the bundle.")
@returns(500, {"type": "object"}, "The cart failed; `message` says why.")
def get_cart(uid: str, args: dict[str, Any]) -> Response:
    """Download the files of a cart as one tar or zip; `?filename=NAME` names it and its top folder.

    The length is exact, and a broken download can go on where it stopped. With `?stream=1` a tar begins as
    soon as all sizes are known, with what has come; it cannot go on after a break.
    """
    identity = caller(P.READ)
    cart = _find(identity, check_uid(uid))
    if cart.state == "error":
        raise CartFailed(cart.message)
    if cart.state == "ready":
        return _send(cart, _open(cart, args), _MEDIA_TYPES[args["format"]])
    is_tar = args["format"] == "tar" and not args["bag"]
    if args["stream"] and is_tar and (answer := _send_early(cart, identity, args["filename"])):
        return answer
    headers = {"Cache-Control": "no-store", "Retry-After": "1"}
    return Response(NOT_READY, 202, mimetype="text/plain", headers=headers)


@bp.get("/<uid>/files/<path:path>")
@public
@returns(200, _BYTES, "The bytes.")
@returns(206, _BYTES, "The range that was asked for.")
@returns(304, None, "The caller has them.")
@returns(404, {"type": "object"}, "There is no such file.")
@returns(416, None, "The range lies outside the file.")
def get_file(uid: str, path: str) -> Response:
    """Download one file of a cart that is ready."""
    cart = showing.get_ready(caller(P.READ), check_uid(uid))
    return _send(cart, downloads.open_file(cart, path), "application/octet-stream")


def content_length(cart: "Cart", identity: Identity, args: dict[str, Any]) -> int | None:
    """Bytes that ``GET`` with these arguments sends; None if it sends none."""
    if cart.state != "ready":
        return None
    # HEAD speaks of the state, whatever GET would have to say.
    with suppress(PulsarError):
        showing.require_readable(cart, identity)
        return _open(cart, args).size
    return None


def _open(cart: "Cart", args: dict[str, Any]) -> Download:
    return downloads.open_bundle(cart, name=args["filename"], kind=args["format"], as_bag=args["bag"])


def _find(identity: Identity, uid: str) -> "Cart":
    cart = carts.find_cart(identity, uid)
    if cart is None:
        raise NotFound(GONE)
    if cart.state == "ready":
        showing.require_readable(cart, identity)
    return downloads.kept(cart)


# Downloads that wait for files hold a thread of the server, and so do callers who wait for a state.
_early: Final = threading.BoundedSemaphore(2)


def _send_early(cart: "Cart", identity: Identity, name: str | None) -> Response | None:
    """What has come of a cart that is being staged, and then what comes; None if it cannot begin now."""
    if not _early.acquire(blocking=False):
        return None
    with ExitStack() as place:
        place.callback(_early.release)
        showing.require_readable(cart, identity)
        environ = request.environ
        download = early.open_early(cart, name=name, is_unwanted=lambda: has_hung_up(environ))
        if download is None:
            return None
        answer = _send(cart, download, _MEDIA_TYPES["tar"])
        blocks = _holding(answer.response, place.pop_all())
        next(blocks)  # what has not begun would not notice that it is closed
        answer.response = blocks
        return answer


def _holding(blocks: Any, place: ExitStack) -> Iterator[bytes]:
    with place, closing(blocks):
        yield b""
        yield from blocks


def _send(cart: "Cart", download: Download, media_type: str) -> Response:
    """The bytes, or the part that was asked for. Memory: some pieces."""
    headers = {
        "Accept-Ranges": "bytes" if download.resumable else "none",
        # A proxy that zips it on its way would break lengths and ranges.
        "Cache-Control": "private, no-cache, no-transform",
    }
    if download.etag is not None:
        # Weak where no part can be had: nobody shall put two halves together.
        headers["ETag"] = quote_etag(download.etag, weak=not download.resumable)
        headers["Last-Modified"] = http_date(download.modified_at)
        if not is_resource_modified(request.environ, download.etag, last_modified=download.modified_at):
            return Response(status=304, headers=headers)
    headers["Content-Disposition"] = content_disposition(download.name)
    headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    part = _wanted_part(download)
    start, stop = part or (0, download.size)
    answer = Response(status=206 if part else 200, headers=headers, mimetype=media_type)
    answer.direct_passthrough = True
    answer.headers["Content-Length"] = str(stop - start)
    if part:
        answer.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{download.size}"
    if request.method == "GET":
        noting = downloads.iter_noting_use(cart, download.blocks(start, stop))
        connection = socket_of(request.environ)
        answer.response = stream_with_context(send(noting, connection) if connection else as_bytes(noting))
    return answer


def _wanted_part(download: Download) -> tuple[int, int] | None:
    if request.method != "GET" or not download.resumable or not _is_same(download):
        return None
    try:
        return parse_range(request.headers.get("Range"), download.size)
    except Unsatisfiable:
        raise APIException(
            "The range lies outside the bytes.",
            416,
            code="range_not_satisfiable",
            headers={"Content-Range": f"bytes */{download.size}"},
        ) from None


def _is_same(download: Download) -> bool:
    """Whether ``If-Range`` has nothing against a part."""
    wanted = request.if_range
    if wanted.etag is not None:
        return not request.headers["If-Range"].startswith("W/") and wanted.etag == download.etag
    return wanted.date is None or wanted.date == download.modified_at
