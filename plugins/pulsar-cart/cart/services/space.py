"""Who gets space, and who has to make room for it.

Before the first byte a cart reserves what it will need. The decision is made under the lock of one row, so
that two carts which fit one by one but not together never both begin.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from flask import current_app
from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from cart.events import CartEvents
from cart.models import BUSY, Cart, CartState, Entry, EntryState, File, Slot
from cart.services.known import forget
from core import storage
from core.db import db, now, own_transaction
from core.errors import NoSpace
from core.events import emit
from core.storage.models import Blob
from core.storage.rows import write_rows

__all__ = [
    "NO_SPACE",
    "drop_entries",
    "list_fetched",
    "release",
    "reserve",
    "retire",
    "target_of",
    "used_bytes",
]

NO_SPACE: Final = "Not enough space to download file"
VOLUME: Final = 0  # number of the slot that guards decisions about space
_QUIET: Final = {"synchronize_session": False}


def reserve(cart_id: int) -> None:
    """Reserve what the cart still has to fetch, and evict others for it if need be. Commits by itself.

    :raises NoSpace: there is not enough, and if nothing could make it enough, nothing was evicted.
    """
    need = _need(cart_id)
    while True:
        with own_transaction() as session:
            if _reserved(session, cart_id, need):
                return
            victim = _victim(session, cart_id, need)
            digests = retire(session, victim, evicted=True)
        release(digests)


def _need(cart_id: int) -> int:
    """Bytes that are to be fetched, a file that is wanted at two paths counted once."""
    columns = (Entry.source, Entry.source_id, Entry.hashtype, Entry.hashsum, Entry.size)
    wanted = select(*columns).where(Entry.cart_id == cart_id, Entry.state == EntryState.STAGING)
    with own_transaction() as session:
        return sum({tuple(row[:4]): row[4] or 0 for row in session.execute(wanted)}.values())


def _reserved(session: Session, cart_id: int, need: int) -> bool:
    """Lock the volume; reserve if there is room now. True as well if the cart wants nothing any more."""
    write_rows(session, Slot, [{"number": VOLUME, "holder": "", "until": None}])
    session.execute(select(Slot.number).where(Slot.number == VOLUME).with_for_update())
    cart = session.scalar(select(Cart).where(Cart.id == cart_id).with_for_update())
    if cart is None or cart.state not in BUSY:
        return True
    if need > _room(session, cart_id):
        return False
    cart.reserved = need
    return True


def _room(session: Session, cart_id: int, kept: int | None = None) -> int:
    """Bytes that nobody has or has reserved.

    :param kept: what would be left of the fetched files; None for all that are here.
    """
    used = used_bytes(session)
    gone = 0 if kept is None else used - kept
    free = storage.store().backend.free_bytes()
    rooms = []
    if free is not None:
        rooms.append(free - current_app.config["STORAGE_RESERVE_BYTES"] + gone)
    if limit := current_app.config["CART_CACHE_BYTES"]:
        rooms.append(limit - used + gone)
    others = select(func.coalesce(func.sum(Cart.reserved), 0)).where(Cart.state.in_(BUSY), Cart.id != cart_id)
    return min(rooms, default=2**62) - int(session.scalars(others).one() or 0)


def used_bytes(session: Session, *carts: ColumnElement[bool]) -> int:
    """Bytes of the fetched files of carts of which all this holds; one that several have counts once."""
    fetched = select(Entry.digest).join(File, File.digest == Entry.digest)
    if carts:
        fetched = fetched.join(Cart, Cart.id == Entry.cart_id).where(*carts)
    total = select(func.coalesce(func.sum(Blob.size), 0)).where(Blob.digest.in_(fetched))
    return int(session.scalars(total).one())


def _evictable() -> ColumnElement[bool]:
    moment = now()
    buffer = timedelta(seconds=current_app.config["CART_LRU_BUFFER_TIME"])
    return and_(
        Cart.state.in_((CartState.READY, CartState.ERROR)),
        Cart.used_at <= moment - buffer,
        or_(Cart.reading_until.is_(None), Cart.reading_until < moment),
    )


def _victim(session: Session, cart_id: int, need: int) -> Cart:
    """The cart that was not used for longest, of those that hold anything that was fetched.

    :raises NoSpace: evicting all of them would not be enough.
    """
    evictable = and_(_evictable(), Cart.id != cart_id)
    if not current_app.config["CART_LRU_PURGE"]:
        raise NoSpace(NO_SPACE)
    if need > _room(session, cart_id, used_bytes(session, ~evictable)):
        raise NoSpace(NO_SPACE)
    holds = select(Entry.cart_id).join(File, File.digest == Entry.digest)
    query = select(Cart).where(evictable, Cart.id.in_(holds)).order_by(Cart.used_at, Cart.id)
    found = session.scalars(query.limit(1).with_for_update()).first()
    if found is None:
        raise NoSpace(NO_SPACE)
    return found


def list_fetched(session: Session, cart_id: int) -> Sequence[str]:
    """Digests of what was fetched for the cart, or would have been had it not been here, and of its table."""
    query = select(Entry.digest).join(File, File.digest == Entry.digest).where(Entry.cart_id == cart_id)
    table = session.scalar(select(Cart.table_digest).where(Cart.id == cart_id))
    return [digest for digest in (*session.scalars(query.distinct()), table) if digest is not None]


def retire(session: Session, cart: Cart, *, evicted: bool = False) -> Sequence[str]:
    """Delete the cart; what it held has to be released after the commit.

    :returns: the digests to release.
    """
    digests = list_fetched(session, cart.id)
    drop_entries(session, cart.id)
    cart.living, cart.state, cart.reserved = None, CartState.DELETED, 0
    cart.deleted_at = cart.updated_at = now()
    event = CartEvents.EVICTED if evicted else CartEvents.DELETED
    emit(event, target=target_of(cart), session=None if session is db.session else session)
    session.flush()
    return digests


def target_of(cart: Cart) -> str:
    """How events name the cart; a long uid only by its beginning, for an event has room for no more."""
    return f"cart:{cart.uid}"[:128]


def drop_entries(session: Session, cart_id: int) -> None:
    """Delete the files of a cart and its table, and give up what it was fetching."""
    session.execute(update(Cart).where(Cart.id == cart_id).values(table_digest=None))
    session.execute(delete(Entry).where(Entry.cart_id == cart_id), execution_options=_QUIET)
    fetching = delete(File).where(File.cart_id == cart_id, File.until.is_not(None))
    session.execute(fetching, execution_options=_QUIET)


def release(digests: Iterable[str]) -> None:
    """Free the space of what no cart has any more. Has transactions of its own.

    :raises Unavailable: the storage refuses.
    """
    found = list(digests)
    if found:
        with own_transaction() as session:
            forget(session, found)
        storage.release(storage.store().backend, found)
