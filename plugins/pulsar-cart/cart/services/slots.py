"""Connections to remote sources: so many at a time, whichever process they are of."""

from datetime import datetime, timedelta
from typing import Final

from flask import current_app
from sqlalchemy import or_, select, update

from cart.models import Slot
from core.db import now, own_transaction
from core.storage.rows import write_rows

__all__ = ["LEASE", "Slots"]

LEASE: Final = timedelta(seconds=30)  # a worker that was killed keeps its connections for so long
_QUIET: Final = {"synchronize_session": False}


class Slots:
    """The connections that one worker has; a context manager that gives them back.

    :param holder: a name that no other worker has.
    """

    def __init__(self, holder: str) -> None:
        self.holder = holder[-64:]
        self.count = 0

    def __enter__(self) -> "Slots":
        most = current_app.config["CART_ARCHIVE_CONNECTIONS"]
        moment = now()
        with own_transaction() as session:
            known = set(session.scalars(select(Slot.number).where(Slot.number.between(1, most))))
        with own_transaction() as session:
            if len(known) < most:
                missing = [
                    {"number": n, "holder": "", "until": None} for n in range(1, most + 1) if n not in known
                ]
                write_rows(session, Slot, missing)
            free = select(Slot.number).where(
                Slot.number.between(1, most), or_(Slot.until.is_(None), Slot.until < moment)
            )
            numbers = session.scalars(free.with_for_update(skip_locked=True)).all()
            taken = update(Slot).where(Slot.number.in_(numbers))
            session.execute(taken.values(holder=self.holder, until=moment + LEASE), execution_options=_QUIET)
        self.count = len(numbers)
        return self

    def __exit__(self, *_: object) -> None:
        if self.count:
            self._set(None)

    def renew(self) -> None:
        """Keep them for another while."""
        self._set(now() + LEASE)

    def _set(self, until: datetime | None) -> None:
        with own_transaction() as session:
            mine = update(Slot).where(Slot.holder == self.holder, Slot.until.is_not(None))
            session.execute(mine.values(until=until), execution_options=_QUIET)
