"""``/api/objects/...`` and ``/api/get_objects``: many objects in one call."""

import io
from typing import Any, cast

from flask import Response, current_app, request

from core import storage
from core.blueprint import Blueprint
from core.errors import BadRequest, TooLarge, UnsupportedMedia
from core.identity import Identity, current_identity
from core.requests import body, public, query, read_json, require_permission, returns
from registry.errors import WrongObjects
from registry.manifest import is_digest
from registry.packs import HEAD_BYTES, BadPack, pack_heads, read_heads
from registry.permissions import RegistryPermissions as P
from registry.routes.callers import reader
from registry.routes.streams import iter_object, json_stream, quoted
from registry.serializers import FetchSchema, HeadsQuery, MissingSchema, PackQuery
from registry.services import objects, pushes, quotas

__all__ = ["bp"]

BUFFER = 2**18  # B read from the connection at a time
_BYTES = {"type": "string", "format": "binary"}

bp = Blueprint("objects", __name__, url_prefix="/api")


@bp.post("/objects/heads")
@require_permission(P.PUSH)
@query(HeadsQuery())
@returns(200, _BYTES, "The heads of the objects that have to be sent.")
def find_missing_heads(args: dict[str, Any]) -> Response:
    """Which of these objects the caller has to send: as ``/api/objects/missing``, for those that go in packs.

    Body and answer are lists of 32 bytes of SHA-256 and 8 bytes of size (big-endian), the heads of a pack.
    There are no links, which for small objects are larger than what they are for. On a site with quotas the
    header ``X-Added-Bytes`` has what is ``added_bytes`` there, and the query what the body has there.
    """
    most = current_app.config["REGISTRY_MISSING_OBJECTS"]
    request.max_content_length = most * HEAD_BYTES
    _refuse_encoding()
    try:
        asked = read_heads(request.get_data(cache=False))
    except BadPack as exc:
        raise BadRequest(str(exc), code="bad_pack") from None
    identity = current_identity()
    added = _check_room(identity, {**args, "objects": asked})
    missing = objects.list_missing(asked, identity)
    answer = Response(pack_heads(missing), mimetype="application/octet-stream")
    if added is not None:
        answer.headers["X-Added-Bytes"] = str(added)
    return answer


@bp.post("/objects/missing")
@require_permission(P.PUSH)
@body(MissingSchema())
@returns(200, {"type": "object"}, "``missing``: links for sending, by digest.")
def find_missing(data: dict[str, Any]) -> Response:
    """Which of these objects the caller has to send, each with a link for it.

    An object is left out if it is here *and* the caller has sent it before or may read a package that holds
    it. Others are to be sent even if somebody else has done so: nobody learns what others have.

    On a site with quotas the answer is 413 if those of ``package`` (without it, your own) have no room for
    what is new among them. Otherwise ``added_bytes`` says how much is; who asks for more objects of
    the same push sends that number along.
    """
    _check_number(data["objects"])
    identity = current_identity()
    added = _check_room(identity, data)
    most = current_app.config["REGISTRY_MAX_OBJECT_BYTES"]
    if large := [digest for digest, size in data["objects"].items() if size > most]:
        raise WrongObjects(f"{large[0]} is larger than the {most} bytes an object can have here.", large)
    links = storage.links()
    missing = objects.list_missing(data["objects"], identity)
    members = (
        (digest, quoted(links.upload(digest, size, identity.user_id))) for digest, size in missing.items()
    )
    answer = iter_object(members)
    end = b"}" if added is None else b',"added_bytes":%d}' % added
    return json_stream(piece for part in ((b'{"missing":',), answer, (end,)) for piece in part)


def _check_room(identity: Identity, data: dict[str, Any]) -> int | None:
    """How many bytes the quota would be filled by, these objects and those that were asked for before."""
    if not quotas.is_limited():
        return None
    payer = pushes.find_payer(identity, data.get("package"))
    added: int = data["added_bytes"] + quotas.count_new(payer, identity, data["objects"])
    quotas.check_room(payer, added)
    return added


@bp.post("/objects/pack")
@require_permission(P.PUSH)
@query(PackQuery())
@returns(200, {"type": "object"}, "``stored``: how many objects there were.")
def send_pack(args: dict[str, Any]) -> dict[str, Any]:
    """Send many small objects in one body, streamed.

    For each object 32 bytes of SHA-256, 8 bytes of size (big-endian), then the bytes. When the answer is
    there the objects are durable. If one is not what its digest says the answer is 400 and names it;
    those before it may have been kept. Likewise 413 where the quota of ``package`` (without it, your own) has
    less room than the pack has bytes of objects.
    """
    config = current_app.config
    _refuse_encoding()
    request.max_content_length = config["REGISTRY_PACK_BYTES"]
    if (request.content_length or 0) > config["REGISTRY_PACK_BYTES"]:
        raise TooLarge(f"A pack has at most {config['REGISTRY_PACK_BYTES']} bytes.")
    stream = io.BufferedReader(cast(io.RawIOBase, request.stream), BUFFER)
    identity = current_identity()
    payer = pushes.find_payer(identity, args.get("package"))
    limit = config["REGISTRY_PACK_OBJECT_BYTES"]
    stored = objects.store_pack(stream, identity, payer, max_object_bytes=limit)
    return {"stored": stored}


@bp.post("/objects/fetch")
@public
@body(FetchSchema())
@returns(200, _BYTES, "A pack; its length is announced.")
def fetch(data: dict[str, Any]) -> Response:
    """Fetch many small objects of packages that the caller may read, as one pack in the order asked for.

    404 names those that are not there for the caller, 400 those that are too large for a pack.
    """
    digests: list[str] = data["objects"]
    _check_number(digests)
    sizes = objects.get_fetchable(
        digests, reader(), max_object_bytes=current_app.config["REGISTRY_PACK_OBJECT_BYTES"]
    )
    # Looked up here: the request is over when the bytes are read.
    contents = storage.store().read_many(list(sizes))
    answer = Response(objects.iter_pack(contents, sizes), mimetype="application/octet-stream")
    answer.headers["Content-Length"] = str(objects.pack_length(sizes))
    answer.headers["Cache-Control"] = "no-store"
    return answer


@bp.post("/get_objects")
@public
@returns(200, {"type": "object"}, "``urls`` and ``sizes`` by digest.")
def get_objects() -> Response:
    """Links to objects, given as a JSON list of digests; those the caller may not read are left out."""
    found = read_json()
    if not isinstance(found, list) or not all(map(is_digest, found)):
        raise BadRequest("Invalid data: expected a list of SHA-256", code="validation_failed")
    sizes = objects.readable(dict.fromkeys(found), reader())
    links = storage.links()
    urls = iter_object((digest, quoted(links.download(digest))) for digest in sizes)
    numbers = iter_object((digest, str(size)) for digest, size in sizes.items())
    parts = ((b'{"sizes":',), numbers, (b',"urls":',), urls, (b"}",))
    return json_stream(piece for part in parts for piece in part)


def _refuse_encoding() -> None:
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("A pack is not compressed.")


def _check_number(objects_: Any) -> None:
    most = current_app.config["REGISTRY_MISSING_OBJECTS"]
    if len(objects_) > most:
        raise BadRequest(
            f"{len(objects_)} objects are too many for one call; {most} are not.", code="too_many"
        )
