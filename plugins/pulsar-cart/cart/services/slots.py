"""Connections to remote sources: so many at a time, whichever process they are of."""

from collections.abc import Sequence
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
        self._numbers: Sequence[int] = ()

    def __enter__(self) -> "Slots":
        return self

    def __exit__(self, *_: object) -> None:
        self.keep(0)

    def take(self) -> int:
        """How many there are: those taken before, or else all that are free now."""
        if not self._numbers:
            self._numbers = self._take()
        return len(self._numbers)

    def keep(self, count: int) -> None:
        """Give back all but so many."""
        self._set(self._numbers[count:], None)
        self._numbers = self._numbers[:count]

    def renew(self) -> None:
        """Keep them for another while."""
        self._set(self._numbers, now() + LEASE)

    def _take(self) -> Sequence[int]:
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
        return numbers

    def _set(self, numbers: Sequence[int], until: datetime | None) -> None:
        if numbers:
            with own_transaction() as session:
                mine = update(Slot).where(Slot.holder == self.holder, Slot.number.in_(numbers))
                session.execute(mine.values(until=until), execution_options=_QUIET)
