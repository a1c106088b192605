"""``/blobs/<digest>``: bytes in and out by signed links. The signature is the credential."""

import gzip
import time
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from flask import Response, current_app, g, redirect, request
from werkzeug.wsgi import get_input_stream, wrap_file

from core.blueprint import Blueprint
from core.errors import APIException, BadRequest, Forbidden, NotFound, Unavailable, UnsupportedMedia
from core.requests import public, returns
from core.storage.digests import PIECE_BYTES
from core.storage.disposition import content_disposition
from core.storage.factory import signer, store
from core.storage.links import Grant, Op
from core.storage.ranges import Unsatisfiable, parse_range
from core.users import services as users

if TYPE_CHECKING:
    from core.storage.models import Blob

__all__ = ["bp"]

# What is read of a body that was refused, so that its sender, who writes before he reads, hears why. Of a
# longer one the server reads no more and closes the connection.
DRAIN_BYTES = 8 * 2**20
_BYTES = {"type": "string", "contentMediaType": "application/octet-stream"}

# Not counted: who holds ten thousand links was counted when they were made, and uses twenty at a time.
bp = Blueprint("blobs", __name__, url_prefix="/blobs", envelope=False, auth_schemes=(), rate_limits=None)


@bp.get("/<digest>")
@public
@returns(200, _BYTES, "The bytes; for HEAD, their size.")
@returns(206, _BYTES, "The range that was asked for.")
@returns(302, None, "Where the bytes are, when they are in an object store.")
@returns(304, None, "The caller has them.")
@returns(416, None, "The range lies outside the bytes.")
def get_blob(digest: str) -> Response:
    """Read a blob through a signed link.

    One range may be asked for (``Range: bytes=0-``); several, or a broken one, give everything. The digest
    is the strong ETag. HEAD of a link for sending answers 200 if this sender has sent the bytes
    before and 404 otherwise, whether or not somebody else has.
    """
    grant = _open_link(digest, ("get", "put") if request.method == "HEAD" else ("get",))
    if grant.op == "put":
        return _answer_sent(grant)
    blob = store().get(digest)
    if request.if_none_match.contains(digest):
        return _describe(Response(status=304), blob, grant)
    if request.method == "GET" and (answer := _redirect(blob, grant)):
        return answer
    return _describe(_send(blob), blob, grant)


@bp.put("/<digest>")
@public
@returns(201, None, "The bytes are stored.")
@returns(400, None, "They are not those the link is for; nothing was kept.")
def put_blob(digest: str) -> Response:
    """Send a blob through a signed link: exactly the bytes it was made for, as they are or gzipped.

    They are hashed on arrival. Sending again what is there is fine, and proves that one has it.
    """
    grant = _open_link(digest, ("put",))
    _check_sender(grant)
    store().put(
        _body(grant), digest=digest, size=grant.size, max_bytes=grant.max_bytes, user_id=grant.user_id
    )
    return Response(status=201, headers={"ETag": f'"{digest}"'})


@bp.after_request
def drain(response: Response) -> Response:
    """Read the rest of a body that was refused."""
    if request.method == "PUT" and response.status_code >= 400:
        left, stream = DRAIN_BYTES, _stream()
        with suppress(Exception):  # the sender may be gone, which is no reason for another answer
            while left > 0 and (piece := stream.read(PIECE_BYTES)):
                left -= len(piece)
    return response


def _open_link(digest: str, ops: tuple[Op, ...]) -> Grant:
    return signer().open(digest, request.args, ops, time.time())


def _check_sender(grant: Grant) -> None:
    """A link outlives the right to use it: who was locked or removed sends nothing more."""
    if grant.user_id is None:
        return
    try:
        user = users.get_user(grant.user_id)
    except NotFound:
        user = None
    if user is None or user.locked or not user.enabled:
        raise Forbidden("This link is not valid.", code="link_invalid")


def _answer_sent(grant: Grant) -> Response:
    if grant.user_id is None or not store().known_to([grant.digest], grant.user_id):
        raise NotFound.of("Blob", grant.digest)
    size = store().get(grant.digest).size
    store().touch([grant.digest])
    return Response(headers={"Content-Length": str(size), "ETag": f'"{grant.digest}"'})


def _redirect(blob: "Blob", grant: Grant) -> Response | None:
    """The way to the object store, if the bytes are in one and callers may go there."""
    if not current_app.config["STORAGE_S3_REDIRECT"]:
        return None
    url = store().download_url(
        blob,
        name=grant.name,
        media_type=grant.media_type or "application/octet-stream",
        life=int(grant.until - time.time()),
    )
    if url is None:
        return None
    answer = cast(Response, redirect(url))
    answer.headers["Cache-Control"] = "no-store"  # the address ends before a cache would forget it
    return answer


def _send(blob: "Blob") -> Response:
    """The bytes, or the part that was asked for, straight from the back end. Memory: one piece."""
    if not store().is_whole(blob):
        # Fewer bytes than announced would be taken for the beginning of the next answer.
        raise Unavailable("The stored bytes of this blob are damaged.", code="damaged")
    part = _wanted_part(blob)
    start, stop = part or (0, blob.size)
    answer = Response(status=206 if part else 200, direct_passthrough=True)
    answer.headers["Content-Length"] = str(stop - start)
    if part:
        answer.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
    if request.method == "GET":
        answer.response = wrap_file(request.environ, store().open(blob.digest, start, stop), PIECE_BYTES)
    return answer


def _wanted_part(blob: "Blob") -> tuple[int, int] | None:
    if request.method != "GET" or request.headers.get("If-Range", f'"{blob.digest}"') != f'"{blob.digest}"':
        return None
    try:
        return parse_range(request.headers.get("Range"), blob.size)
    except Unsatisfiable:
        raise APIException(
            "The range lies outside the bytes.",
            416,
            code="range_not_satisfiable",
            headers={"Content-Range": f"bytes */{blob.size}"},
        ) from None


def _describe(answer: Response, blob: "Blob", grant: Grant) -> Response:
    headers: dict[str, Any] = {
        "Content-Type": grant.media_type or "application/octet-stream",
        "ETag": f'"{blob.digest}"',
        "Accept-Ranges": "bytes",
        # The bytes under a digest never change; no-transform because a proxy that zips them breaks ranges.
        "Cache-Control": "private, max-age=31536000, immutable, no-transform",
        "X-Content-Type-Options": "nosniff",
        # Whatever somebody uploaded, it does not run as a page of this site.
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    if grant.name:
        headers["Content-Disposition"] = content_disposition(grant.name)
    answer.headers.update(headers)
    return answer


def _body(grant: Grant) -> BinaryIO:
    """The body of the request, unzipped if need be, with its own words for what goes wrong on the way."""
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding == "gzip":
        zipped = cast(BinaryIO, gzip.GzipFile(fileobj=cast(BinaryIO, _Body(_stream()))))
        return cast(BinaryIO, _Body(zipped))
    if encoding != "identity":
        raise UnsupportedMedia("Content-Encoding is not supported, except gzip.")
    if grant.size is not None and request.content_length not in (None, grant.size):
        raise BadRequest(
            f"{request.content_length} bytes are announced, the link is for {grant.size}.", code="wrong_size"
        )
    return cast(BinaryIO, _Body(_stream()))


def _stream() -> BinaryIO:
    """The body as the server gives it.

    Not ``request.stream``: that has the limit of JSON bodies, and here the signed size is the limit.
    """
    if "blob_body" not in g:
        g.blob_body = get_input_stream(request.environ)
    return cast(BinaryIO, g.blob_body)


class _Body:
    """A stream whose sender may go away or send nonsense, which is his mistake and not the site's."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        try:
            return cast(bytes, self._stream.read(size))
        except (OSError, EOFError, zlib.error):
            raise BadRequest("The body ended early or is damaged.", code="wrong_size") from None
