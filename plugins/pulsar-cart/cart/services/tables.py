"""The table of a cart: written once when all its files are here, and kept in the store like other bytes."""

import tempfile
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

from sqlalchemy import ColumnElement, select, update

from cart.models import Cart, CartState, Entry
from cart.table import Member, Table, write_table
from core import storage
from core.db import change, db
from core.errors import NotFound
from core.storage import Place
from core.storage.models import Blob

__all__ = ["iter_members", "open_table", "write"]

BATCH: Final = 5000  # entries that are read at a time
SPOOL: Final = 4 * 2**20  # B; a longer table waits on disk until it is stored


def write(cart: Cart) -> str:
    """Store the table of a cart whose files are all here, and note its digest. Commits.

    :raises NotFound: the cart is not ready any more.
    """
    cart_id, found = cart.id, cart.table_digest
    if found is not None:
        return found
    with tempfile.SpooledTemporaryFile(SPOOL) as file:
        out = cast(BinaryIO, file)
        write_table((member for _, member in iter_members(cart_id)), out)
        out.seek(0)
        digest = storage.store().put(out).digest
    noted = update(Cart).where(Cart.id == cart_id, Cart.state == CartState.READY).values(table_digest=digest)
    if not change(db.session, noted):
        raise NotFound("The cart does not exist or has already been deleted")
    db.session.commit()
    return digest


def open_table(digest: str) -> Table:
    """The table of a cart. Each look at it is a short transaction, if there is one at all."""
    store = storage.store()
    place = _place(digest)

    def read(start: int, stop: int) -> bytes:
        nonlocal place
        try:
            stream = store.open_place(place, start, stop)
        except NotFound:  # the sweep may have moved it after we asked where it is
            place = _place(digest)
            stream = store.open_place(place, start, stop)
        with stream:
            return read_all(stream, stop - start)

    return Table(read, place.size)


def _place(digest: str) -> Place:
    found = storage.store().find_places([digest])
    db.session.rollback()
    if digest not in found:
        raise NotFound("not available")
    return found[digest]


def read_all(stream: BinaryIO, count: int) -> bytes:
    """``count`` bytes, or all that there are: raw streams may give less at a time."""
    pieces = []
    while count and (piece := stream.read(count)):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def iter_members(cart_id: int, *which: ColumnElement[bool]) -> Iterator[tuple[int, Member]]:
    """The files of a cart and their positions, in order; of which all this holds. In the present transaction.

    What is to be fetched is described like a local file.
    """
    columns = (
        Entry.position, Entry.path, Entry.size, Entry.mtime, Entry.source, Entry.source_id,
        Entry.digest, Blob.size, Blob.crc32,
    )  # fmt: skip
    query = select(*columns).outerjoin(Blob, Blob.digest == Entry.digest)
    query = query.where(Entry.cart_id == cart_id, *which).order_by(Entry.position).limit(BATCH)
    last, count = -1, BATCH
    while count == BATCH:
        rows = db.session.execute(query.where(Entry.position > last)).all()
        count = len(rows)
        for position, path, size, mtime, source, identifier, digest, stored, crc32 in rows:
            last = position
            if digest is None:
                place = f"{source}\0{identifier}".encode()
                yield position, Member(path.encode(), size or 0, mtime or 0, place=place)
            else:
                yield position, Member(path.encode(), stored, mtime or 0, crc32, bytes.fromhex(digest))
