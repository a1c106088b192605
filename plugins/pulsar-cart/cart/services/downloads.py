"""Bundles and single files of a cart that is ready, as they are sent."""

import hashlib
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import BinaryIO, Final

from flask import current_app
from sqlalchemy import select, update

from cart.bag import make_bag
from cart.bundle import Bundle, Entries, Tar
from cart.document import path_key
from cart.models import Cart, Entry
from cart.paths import BadPath, clean_name, clean_path, default_name, top_of
from cart.pieces import Pieces
from cart.services.reading import Reader, iter_pieces, open_member
from cart.services.tables import open_table, write
from cart.sums import Sums
from cart.table import Member
from cart.zipped import Zip
from core.db import change, db, now, own_transaction
from core.errors import NotFound
from core.storage.models import Blob

__all__ = [
    "FORMATS",
    "NOTE",
    "Download",
    "iter_noting_use",
    "kept",
    "names_of",
    "note_use",
    "open_bundle",
    "open_file",
]

FORMATS: Final[dict[str, type[Bundle]]] = {"tar": Tar, "zip": Zip}
NOTE: Final = timedelta(seconds=60)  # a download says so often that it goes on
KEEP: Final = timedelta(seconds=150)  # and is taken for one that goes on for so long


@dataclass(frozen=True)
class Download:
    """Something that can be sent, whole or in part.

    :param name: under which a browser saves it.
    :param etag: of these bytes; never of others. None if no two downloads are alike.
    :param blocks: gives the bytes ``start`` to ``stop`` (exclusive); raises when they cannot be had.
    :param resumable: whether it can be had in parts; else only as a whole, and by ``blocks`` alone.
    """

    name: str
    etag: str | None
    modified_at: datetime
    size: int
    blocks: Callable[[int, int], Pieces]
    resumable: bool = True


def kept(cart: Cart) -> Cart:
    """The cart as it was found: looking at the table of its files ends transactions, which costs it else."""
    db.session.expunge(cart)
    return cart


def open_bundle(cart: Cart, *, name: str | None, kind: str, as_bag: bool) -> Download:
    """The bundle of a cart that is ready.

    The same cart, name and kind are the same bytes. Commits, the first time.

    :param name: what the caller wants it to be called, in any form.
    :param kind: of :data:`FORMATS`.
    """
    ready_at = (cart.ready_at or cart.updated_at).astimezone(UTC).replace(microsecond=0)
    uid = cart.uid
    file_name, top = names_of(cart, name, ready_at, FORMATS[kind].suffix)
    digest = write(cart)
    table = open_table(digest)
    reader = Reader(table)
    sums = None
    if not table.complete and (as_bag or kind == "zip"):
        sums = Sums(table, reader.check, digests=as_bag)
    if as_bag:
        entries = make_bag(table, reader.read, top, uid=uid, ready_at=ready_at, sums=sums)
    else:
        entries = Entries(table, reader.read, top, sums=sums)
    bundle = FORMATS[kind](entries)
    told = (digest, kind, top, *([uid, ready_at.isoformat()] if as_bag else []))
    etag = hashlib.sha256("\0".join(told).encode()).hexdigest()[:32]

    def blocks(start: int, stop: int) -> Pieces:
        with reader, closing(bundle.blocks(start, stop)) as pieces:
            yield from pieces

    return Download(file_name, etag, ready_at, bundle.total, blocks, resumable=sums is None)


def names_of(cart: Cart, name: str | None, moment: datetime, suffix: str) -> tuple[str, str]:
    """The file name of a bundle of the cart, and its top folder.

    :param name: what the caller wants it to be called, in any form.
    :param moment: after which it is called else.
    """
    # The same moment is the same name, whenever it is asked for, also after a change of the clocks.
    shown = moment if current_app.config["CART_UTC_NAMES"] else moment.astimezone()
    file_name = clean_name(name, default_name(shown, suffix), suffix)
    is_uid = cart.bundle and cart.uid not in (".", "..")
    return file_name, cart.uid if is_uid else top_of(file_name, suffix)


def open_file(cart: Cart, path: str) -> Download:
    """One file of a cart that is ready.

    :raises NotFound: the cart has no such file, or it is not there any more.
    """
    try:
        clean = clean_path(path, max_segment_bytes=len(path) * 4)
    except BadPath:
        raise NotFound("The cart has no such file") from None
    columns = Entry.source, Entry.source_id, Entry.size, Entry.mtime, Entry.digest, Blob.size
    query = select(*columns).outerjoin(Blob, Blob.digest == Entry.digest)
    row = db.session.execute(
        query.where(Entry.cart_id == cart.id, Entry.path_key == path_key(clean))
    ).one_or_none()
    if row is None:
        raise NotFound("The cart has no such file")
    source, identifier, size, mtime, digest, stored = row
    if digest is None:
        member = Member(b"", size or 0, mtime or 0, place=f"{source}\0{identifier}".encode())
    else:
        member = Member(b"", stored, mtime or 0, sha256=bytes.fromhex(digest))

    def blocks(start: int, stop: int) -> Pieces:
        return iter_pieces(open_member(member, start), stop - start)

    stream: BinaryIO = open_member(member, 0)
    stream.close()  # what is not there is not found, before the first byte was promised
    etag = digest or hashlib.sha256(f"{source}\0{identifier}\0{size}\0{mtime}".encode()).hexdigest()[:32]
    modified_at = datetime.fromtimestamp(max(0, min(mtime or 0, 2**36)), UTC)
    return Download(clean.rpartition("/")[2], etag, modified_at, member.size, blocks)


def iter_noting_use(cart: Cart, blocks: Pieces) -> Pieces:
    """``blocks``, noting at the start and once a minute that the cart is being downloaded."""
    cart_id = cart.id
    if cart.reading_until is None or cart.reading_until < now() + KEEP - NOTE:
        note_use(cart_id)
    return _iter_noting(cart_id, blocks)


def _iter_noting(cart_id: int, blocks: Pieces) -> Pieces:
    following = time.monotonic() + NOTE.total_seconds()
    with closing(blocks):
        for block in blocks:
            if time.monotonic() > following:
                following = time.monotonic() + NOTE.total_seconds()
                note_use(cart_id)
            yield block


def note_use(cart_id: int) -> None:
    """Note that the cart is being downloaded. Commits by itself."""
    moment = now()
    used = update(Cart).where(Cart.id == cart_id).values(used_at=moment, reading_until=moment + KEEP)
    with own_transaction() as session:
        change(session, used)
