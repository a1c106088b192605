"""Run a transaction's writing again when another one got in between."""

from collections.abc import Callable
from typing import Final, TypeVar

from sqlalchemy.exc import DBAPIError, IntegrityError

from core.db import db
from core.errors import Unavailable

__all__ = ["Overtaken", "retrying"]

T = TypeVar("T")
ATTEMPTS: Final = 5
# PostgreSQL: serialization failure and deadlock; MariaDB: lock wait timeout, deadlock and changed record.
AGAIN: Final = {"40001", "40P01", 1205, 1213, 1020}


class Overtaken(Unavailable):
    """Others were faster, again and again. Try again."""


def retrying(write: Callable[[], T]) -> T:
    """``write()``, again after a rollback if a constraint, a deadlock or :class:`Overtaken` ended it.

    Nothing may have been written before in the transaction. What was decided by reading must be read
    again in ``write``: the other transaction may have changed it.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            result = write()
            db.session.flush()
        except (DBAPIError, Overtaken) as exc:
            if not _is_race(exc):
                raise
            db.session.rollback()
        else:
            return result
    return write()


def _is_race(exc: DBAPIError | Overtaken) -> bool:
    if isinstance(exc, IntegrityError | Overtaken):
        return True
    reason = getattr(exc.orig, "sqlstate", None) or next(iter(getattr(exc.orig, "args", ())), None)
    return reason in AGAIN
