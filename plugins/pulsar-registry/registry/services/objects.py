"""Objects: which ones somebody may know of, and many of them in one call.

The store keeps equal bytes once for everybody, so "it is already here" says something about others. It is
said only to those who have *proof*: they may read a package that holds the object, or have sent it in full.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlalchemy import ColumnElement, exists, or_, select

from core import storage
from core.db import db
from core.errors import BadRequest
from core.identity import Identity
from core.sharing import Level
from core.storage.models import Blob
from core.storage.proofs import was_sent_by
from core.storage.rows import find_among, usable
from registry.errors import WrongObjects
from registry.models import Package, PackageObject
from registry.packs import HEAD_BYTES, BadPack, Stream, pack_head, read_pack
from registry.services import access, quotas
from registry.services.quotas import Payer

__all__ = ["get_fetchable", "iter_pack", "list_missing", "pack_length", "proven", "readable", "store_pack"]

PIECE = 2**18  # B that are handed to the server at a time


def readable(digests: Iterable[str], identity: Identity) -> dict[str, int]:
    """Sizes of those of ``digests`` that a package holds which ``identity`` may read."""
    return _sizes(digests, _in_readable_package(identity))


def proven(digests: Iterable[str], identity: Identity) -> dict[str, int]:
    """Sizes of those of ``digests`` that are here and of which ``identity`` may be told so."""
    return _sizes(digests, or_(was_sent_by(identity.user_id), _in_readable_package(identity)))


def _in_readable_package(identity: Identity) -> ColumnElement[bool]:
    return exists(
        select(PackageObject.digest)
        .join(Package, Package.id == PackageObject.package_id)
        .where(PackageObject.digest == Blob.digest, access.may(Level.READ, identity))
    )


def _sizes(digests: Iterable[str], allowed: ColumnElement[bool]) -> dict[str, int]:
    query = select(Blob.digest, Blob.size).where(usable(), allowed)
    return dict(find_among(db.session, query, Blob.digest, digests))


def list_missing(sizes: Mapping[str, int], identity: Identity) -> dict[str, int]:
    """Those that ``identity`` has to send, with the sizes they claim.

    One whose size is not what the sender says counts as missing: his link will then take no other bytes.
    """
    here = proven(sizes, identity)
    known = [digest for digest, size in sizes.items() if here.get(digest) == size]
    storage.store().touch(known)
    return {digest: size for digest, size in sizes.items() if here.get(digest) != size}


def store_pack(stream: Stream, identity: Identity, payer: Payer, *, max_object_bytes: int) -> int:
    """Store every object of a pack; how many there were. They are durable when this returns.

    :param payer: whose quota must have room for all of them. It is filled later, by the push.

    :raises BadRequest: the stream is no pack, or bytes have another digest, which is named. Objects before
        it may have been kept.
    :raises OverQuota: likewise.
    """
    room = quotas.get_room(payer)

    def read() -> Iterator[tuple[str, int, bytes]]:
        total = 0
        for digest, content in read_pack(stream, max_object_bytes):
            total += len(content)
            if room is not None and total > room:
                quotas.check_room(payer, total)
            yield digest, len(content), content

    try:
        return len(storage.store().put_many(read(), user_id=identity.user_id))
    except BadPack as exc:
        raise BadRequest(str(exc), code="bad_pack") from None
    except BadRequest as exc:
        if exc.code != "wrong_digest" or exc.details is None:
            raise
        wrong = exc.details["expected"]
        raise WrongObjects(f"The bytes sent as {wrong} have another digest.", [wrong]) from None


def get_fetchable(digests: Sequence[str], identity: Identity, *, max_object_bytes: int) -> dict[str, int]:
    """Sizes of all of ``digests``, in their order.

    :raises WrongObjects: naming those that ``identity`` may not read, or that are too large for a pack.
    """
    sizes = readable(digests, identity)
    if absent := [digest for digest in digests if digest not in sizes]:
        raise WrongObjects(f"{len(absent)} objects do not exist: {absent[0]} ...", absent, status=404)
    if large := [digest for digest in digests if sizes[digest] > max_object_bytes]:
        raise WrongObjects(f"{len(large)} objects are too large for a pack: {large[0]} ...", large)
    return {digest: sizes[digest] for digest in digests}


def pack_length(sizes: Mapping[str, int]) -> int:
    """Bytes of the pack of these objects."""
    return HEAD_BYTES * len(sizes) + sum(sizes.values())


def iter_pack(contents: Iterable[bytes], sizes: Mapping[str, int]) -> Iterator[bytes]:
    """The pack of these objects, whose bytes come in the same order.

    Memory: a piece and one object. An object that is gone or cut ends the stream early, which the
    announced length makes plain.
    """
    pieces: list[bytes] = []
    held = 0
    for (digest, size), content in zip(sizes.items(), contents, strict=True):
        pieces += (pack_head(digest, size), content)
        held += HEAD_BYTES + size
        if held >= PIECE:
            yield b"".join(pieces)
            pieces, held = [], 0
    yield b"".join(pieces)
