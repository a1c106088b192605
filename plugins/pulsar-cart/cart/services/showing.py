"""What is told of carts."""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import func, select

from cart.models import BUSY, Cart, CartState, Entry, EntryState
from cart.services import carts
from cart.services.reading import open_member
from cart.sources import find_source
from cart.table import Member
from core.db import db
from core.errors import Conflict, NotFound
from core.identity import Identity

__all__ = ["UNFINISHED", "describe", "get_ready", "iter_json", "iter_sums", "list_carts", "require_readable"]

UNFINISHED: Final = tuple(str(state) for state in BUSY)
ERRORS: Final = 100  # files that an answer lists
BATCH: Final = 2000  # entries that are read at a time


def list_carts(identity: Identity, *, page: int, limit: int) -> tuple[list[dict[str, Any]], int]:
    """The caller's own carts, newest first, and how many there are."""
    found = carts.list_carts(identity, page=page, limit=limit)
    mine = select(func.count()).select_from(Cart)
    total = db.session.scalars(mine.where(Cart.owner_id == identity.user_id, Cart.living.is_not(None))).one()
    return [_summary(cart) for cart in found], total


def describe(identity: Identity, uid: str) -> dict[str, Any]:
    """The state of a cart as it is now, whatever this transaction saw before.

    :raises NotFound: there is none.
    """
    db.session.rollback()
    cart = carts.get_cart(identity, uid)
    query = select(Entry.source_id, Entry.path, Entry.error)
    failed = query.where(Entry.cart_id == cart.id, Entry.state == EntryState.ERROR).order_by(Entry.position)
    errors = [
        {"id": identifier, "path": path, "reason": reason}
        for identifier, path, reason in db.session.execute(failed.limit(ERRORS))
    ]
    return _summary(cart) | {"errors": errors}


def _summary(cart: Cart) -> dict[str, Any]:
    return {
        "uid": cart.uid,
        "state": cart.state,
        "message": cart.message,
        "label": cart.label,
        "bundle": cart.bundle,
        "files": {"done": cart.files_done, "failed": cart.files_failed, "total": cart.files},
        "bytes": {"done": cart.bytes_done, "total": cart.bytes},
        "created": _time(cart.created_at),
        "updated": _time(cart.updated_at),
        "ready": _time(cart.ready_at),
        "used": _time(cart.used_at),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def get_ready(identity: Identity, uid: str) -> Cart:
    """The cart, if its files can be had, and the caller may still read what they come from.

    :raises NotFound: there is none; :raises Conflict: it is not ready.
    """
    cart = carts.get_cart(identity, uid)
    if cart.state != CartState.READY:
        raise Conflict("The cart is not ready.", code="not_ready")
    require_readable(cart, identity)
    return cart


def require_readable(cart: Cart, identity: Identity) -> None:
    """:raises NotFound: the caller may not read something any more that the cart has files of."""
    containers: Sequence[Sequence[str]] = json.loads(cart.containers)
    for name, container in containers:
        source = find_source(name)
        if source is None or not source.may_read(container, identity):
            raise NotFound(f"{container} is not available any more.")


def _iter_entries(query: Any, cart_id: int) -> Iterator[Any]:
    """Rows of a query for entries, in order, some at a time: the transaction ends with the request."""
    last = -1
    while True:
        part = query.where(Entry.cart_id == cart_id, Entry.position > last).order_by(Entry.position)
        rows = db.session.execute(part.limit(BATCH)).all()
        db.session.rollback()
        yield from rows
        if len(rows) < BATCH:
            return
        last = rows[-1].position


def iter_json(cart_id: int) -> Iterator[str]:
    """A line of JSON for each file."""
    columns = select(
        Entry.position, Entry.path, Entry.source, Entry.source_id, Entry.hashtype, Entry.hashsum, Entry.size,
        Entry.mtime, Entry.digest,
    )  # fmt: skip
    for row in _iter_entries(columns, cart_id):
        line: Mapping[str, Any] = {
            "path": row.path,
            "source": row.source,
            "id": row.source_id,
            "size": row.size,
            "mtime": row.mtime,
            "hashtype": row.hashtype if row.hashsum else None,
            "hashsum": row.hashsum or None,
            "verified": bool(row.hashsum),
            "sha256": row.digest,
        }
        yield json.dumps(line) + "\n"


def iter_sums(cart_id: int) -> Iterator[str]:
    """Lines for ``sha256sum -c``. Files of which nobody knows the SHA-256 are read now.

    :raises NotFound: such a file is not there any more, or has changed.
    """
    columns = select(
        Entry.position, Entry.path, Entry.source, Entry.source_id, Entry.hashtype, Entry.hashsum, Entry.size,
        Entry.mtime, Entry.digest,
    )  # fmt: skip
    for row in _iter_entries(columns, cart_id):
        digest = row.digest or (row.hashsum if row.hashtype == "sha256" else "") or _read_sum(row)
        path = row.path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        # sha256sum begins a line with a backslash when the name in it is escaped.
        yield f"{'' if path == row.path else chr(92)}{digest}  {path}\n"


def _read_sum(row: Any) -> str:
    place = f"{row.source}\0{row.source_id}".encode()
    with open_member(Member(b"", row.size or 0, row.mtime or 0, place=place), 0) as file:
        return hashlib.file_digest(cast(io.RawIOBase, file), "sha256").hexdigest()
