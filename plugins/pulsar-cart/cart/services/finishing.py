"""The end of staging, decided once."""

from sqlalchemy import delete, exists, select, update

from cart.events import CartEvents
from cart.models import BUSY, Cart, CartState, Entry, EntryState, File
from cart.services.space import target_of
from cart.wording import one_line
from core.db import change, db, now
from core.events import emit

__all__ = ["fail", "finish", "summary"]


def finish(cart_id: int) -> bool:
    """Make the cart ready, or failed, if no file of it is under way; in the present transaction.

    :returns: whether it was this call that did.
    """
    cart = db.session.get(Cart, cart_id)
    if cart is None:
        return False
    moment = now()
    under_way = exists().where(
        Entry.cart_id == cart_id, Entry.state.in_((EntryState.WAITING, EntryState.STAGING))
    )
    message = summary(cart_id)
    values = (
        {"state": CartState.ERROR, "message": message}
        if message
        else {"state": CartState.READY, "message": ""}
    )
    ended = (
        update(Cart)
        .where(Cart.id == cart_id, Cart.state.in_(BUSY), ~under_way)
        .values(**values, reserved=0, ready_at=None if message else moment, updated_at=moment, used_at=moment)
    )
    if not change(db.session, ended):
        return False
    _announce(cart, message)
    return True


def fail(cart_id: int, message: str) -> bool:
    """Make the cart failed, whatever its files are; in the present transaction.

    :returns: whether it was this call that did.
    """
    cart = db.session.get(Cart, cart_id)
    moment = now()
    ended = (
        update(Cart)
        .where(Cart.id == cart_id, Cart.state.in_(BUSY))
        .values(
            state=CartState.ERROR, message=one_line(message), reserved=0, updated_at=moment, used_at=moment
        )
    )
    if cart is None or not change(db.session, ended):
        return False
    _announce(cart, message)
    return True


def _announce(cart: Cart, message: str) -> None:
    fetching = delete(File).where(File.cart_id == cart.id, File.until.is_not(None))
    db.session.execute(fetching, execution_options={"synchronize_session": False})
    if message:
        emit(CartEvents.FAILED, target=target_of(cart), reason=one_line(message))
    else:
        emit(CartEvents.READY, target=target_of(cart), files=cart.files, bytes=cart.bytes)


def summary(cart_id: int) -> str:
    """What is wrong with the first file of the cart that failed, and with how many; empty if none did."""
    failed = (Entry.cart_id == cart_id, Entry.state == EntryState.ERROR)
    query = select(Entry.path, Entry.source_id, Entry.error).where(*failed).order_by(Entry.position).limit(1)
    first = db.session.execute(query).first()
    if first is None:
        return ""
    count, total = db.session.execute(select(Cart.files_failed, Cart.files).where(Cart.id == cart_id)).one()
    path, identifier = first.path[-100:], first.source_id[:100]
    return one_line(
        f"Failed to pull file({first.error}): {path} (id {identifier}); {count} of {total} files failed"
    )
