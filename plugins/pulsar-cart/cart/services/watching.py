"""Carts that are left standing, whatever the reason."""

from datetime import timedelta

from flask import current_app
from sqlalchemy import exists, func, select

from cart.models import BUSY, Cart, Entry, EntryState
from cart.services.carts import begin_staging
from cart.services.finishing import fail
from core.db import db, now

__all__ = ["count_waiting", "watch"]


def watch(period: timedelta) -> dict[str, int]:
    """Have unfinished carts taken up again; fail those that make no progress though nothing is on tape.

    In the present transaction.
    """
    moment = now()
    limit = current_app.config["CART_STALL_TIMEOUT"]
    tape = exists().where(
        Entry.cart_id == Cart.id, Entry.state == EntryState.STAGING, Entry.on_tape.is_(True)
    )
    idle = select(Cart.id, Cart.owner_id, Cart.updated_at, tape).where(
        Cart.state.in_(BUSY), Cart.updated_at < moment - period
    )
    found = {"taken_up": 0, "given_up": 0}
    for cart_id, owner_id, updated_at, on_tape in db.session.execute(idle).all():
        if not on_tape and updated_at < moment - timedelta(seconds=limit):
            found["given_up"] += fail(cart_id, f"No progress for {limit} s")
        else:
            begin_staging(cart_id, owner_id)
            found["taken_up"] += 1
    return found


def count_waiting(period: timedelta) -> int:
    """How many carts wait for a worker for longer than ``period``."""
    late = (
        select(func.count())
        .select_from(Cart)
        .where(Cart.state == "waiting", Cart.created_at < now() - period)
    )
    return db.session.scalars(late).one()
