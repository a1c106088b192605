"""What operators do with all carts: list them, remove old ones, mend them, clear up."""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from flask import current_app
from sqlalchemy import delete, exists, or_, select

from cart.models import Cart, Entry, File
from cart.services import carts, space
from core import storage
from core.db import change, db, now, own_transaction
from core.errors import NotFound

__all__ = ["Cleared", "clear_up", "find_newest", "iter_all", "list_old", "parse_age", "remove"]

_AGE: Final = re.compile(r"\s*([0-9]{1,9})\s+([a-z]+?)s?\s+ago\s*", re.ASCII | re.IGNORECASE)
UNITS: Final = ("microsecond", "millisecond", "second", "minute", "hour", "day", "week")
BATCH: Final = 1000  # entries at a time


def parse_age(text: str) -> timedelta:
    """``7 days ago``.

    :raises ValueError: if it is nothing of that kind.
    """
    match = _AGE.fullmatch(text)
    if match is None or match[2].lower() not in UNITS:
        raise ValueError(f"{text!r} is not NUMBER UNIT ago, with a unit from microseconds to weeks")
    try:
        return timedelta(**{f"{match[2].lower()}s": int(match[1])})
    except OverflowError:
        raise ValueError(f"{text!r} is before all time") from None


def list_old(age: timedelta) -> list[Cart]:
    """Living carts to which nothing happened for ``age``, the oldest first; none that is downloaded."""
    moment = now()
    try:
        before = moment - age
    except OverflowError:
        return []
    idle = or_(Cart.reading_until.is_(None), Cart.reading_until < moment)
    old = select(Cart).where(Cart.living.is_not(None), Cart.updated_at < before, idle)
    return list(db.session.scalars(old.order_by(Cart.updated_at, Cart.id)))


def remove(cart_id: int) -> None:
    """Delete a cart and free its space. Commits.

    :raises NotFound: it is gone already.
    """
    carts.remove_cart(cart_id)
    db.session.commit()


def find_newest(uid: str) -> Cart:
    """The newest living cart of that uid, whoever has it.

    :raises NotFound: there is none.
    """
    found = db.session.scalars(
        select(Cart).where(Cart.uid == uid, Cart.living.is_not(None)).order_by(Cart.id.desc()).limit(1)
    ).first()
    if found is None:
        raise NotFound(f"No cart with uid {uid} found")
    return found


def iter_all() -> Iterator[tuple[dict[str, str], Iterator[dict[str, str]]]]:
    """Every living cart, newest first, with its files; in the words of the original service, all as text."""
    newest = select(Cart).where(Cart.living.is_not(None)).order_by(Cart.id.desc())
    for cart in db.session.scalars(newest).all():
        yield _cart(cart), _files(cart.id)


def _cart(cart: Cart) -> dict[str, str]:
    return _texts(
        id=cart.id,
        cart_uid=cart.uid,
        bundle_path=cart.uid,
        bundle=cart.bundle,
        creation_date=cart.created_at,
        updated_date=cart.updated_at,
        deleted_date=cart.deleted_at,
        status=cart.state,
        error=cart.message,
    )


def _files(cart_id: int) -> Iterator[dict[str, str]]:
    last = -1
    while True:
        part = select(Entry).where(Entry.cart_id == cart_id, Entry.position > last).order_by(Entry.position)
        rows = db.session.scalars(part.limit(BATCH)).all()
        for row in rows:
            yield _texts(
                id=row.position,
                cart=cart_id,
                file_name=row.source_id,
                bundle_path=row.path,
                hash_type=row.hashtype,
                hash_value=row.hashsum,
                status=row.state,
                error=row.error,
            )
            last = row.position
        db.session.expire_all()
        if len(rows) < BATCH:
            return


def _texts(**values: Any) -> dict[str, str]:
    return {
        name: value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)
        for name, value in values.items()
    }


@dataclass(frozen=True, slots=True)
class Cleared:
    """What :func:`clear_up` found.

    :param files: fetched files that no cart had any more; ``leases``: of workers that are gone.
    :param swept: bytes that the sweep of the whole store removed.
    """

    files: int
    leases: int
    swept: int
    parts: int

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)


def clear_up() -> Cleared:
    """Remove fetched files that no cart has, leases that ran out, and what interrupted transfers left."""
    with own_transaction() as session:
        unused = select(File.digest).where(
            File.digest.is_not(None), ~exists().where(Entry.digest == File.digest)
        )
        digests = [digest for digest in session.scalars(unused.distinct()) if digest is not None]
        leases = change(session, delete(File).where(File.until < now()))
    space.release(digests)
    grace = timedelta(seconds=current_app.config["STORAGE_SWEEP_GRACE"])
    report = storage.sweep(storage.store().backend, grace=grace)
    return Cleared(len(digests), leases, report.bytes, report.temporary)
