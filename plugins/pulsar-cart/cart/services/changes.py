"""What becomes of the files of a cart, and how it is written down: many at a time, in one statement."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from flask import current_app
from sqlalchemy import bindparam, case, null, update

from cart.models import BUSY, REASON_MAX, Cart, Entry, EntryState
from cart.services.known import file_key, remember
from cart.verifying import Mismatch
from core.db import db, now
from core.errors import NotFound, PulsarError

__all__ = [
    "ASKED",
    "Asked",
    "Change",
    "failed",
    "given_up",
    "on_tape",
    "postponed",
    "ready_to_fetch",
    "staged",
    "write_down",
]

TRIES: Final = 5  # at least, before a file is given up
PAUSE_MAX: Final = 30.0  # s between two attempts
TAPE_FIRST: Final = (
    1.0  # s until the first look at a file on tape; each pause is half longer than the one before
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A file as it was when it was looked at; rows are not for other threads."""

    position: int
    key: str
    source: str
    id: str
    hashtype: str
    hashsum: str
    size: int | None
    mtime: int | None
    on_tape: bool
    tries: int
    since: datetime | None

    @classmethod
    def of(cls, row: Any) -> "Asked":
        """Of a row of :data:`ASKED`."""
        position, source, identifier, hashtype, hashsum, size, mtime, *more = row
        version = "" if hashsum else f"{size} {mtime}"
        key = file_key(source, identifier, hashtype, hashsum, version)
        return cls(position, key, source, identifier, hashtype, hashsum, size, mtime, *more)


ASKED: Final = (
    Entry.position,
    Entry.source,
    Entry.source_id,
    Entry.hashtype,
    Entry.hashsum,
    Entry.size,
    Entry.mtime,
    Entry.on_tape,
    Entry.tries,
    Entry.since,
)


@dataclass(frozen=True, slots=True)
class Change:
    """What one file is from now on. The rest is as :class:`cart.models.Entry` has it."""

    file: Asked
    state: EntryState
    size: int | None
    mtime: int | None
    digest: str | None = None
    error: str = ""
    on_tape: bool = False
    tries: int = 0
    since: datetime | None = None
    next_try: datetime | None = None

    def row(self) -> dict[str, Any]:
        """Values for :func:`write_down`."""
        return {"at": self.file.position} | {f"new_{name}": getattr(self, name) for name in _COLUMNS}


_COLUMNS: Final = ("state", "size", "mtime", "digest", "error", "on_tape", "tries", "since", "next_try")


def staged(file: Asked, digest: str | None) -> Change:
    """It is here; a local one has no digest."""
    return Change(file, EntryState.STAGED, file.size, file.mtime, digest=digest)


def ready_to_fetch(file: Asked, size: int, mtime: int) -> Change:
    """Its source has it on disk."""
    return Change(file, EntryState.STAGING, size, mtime)


def on_tape(file: Asked, size: int, mtime: int) -> Change:
    """Its source has it on tape, and was or will be asked for it."""
    moment = now()
    next_try = moment + timedelta(seconds=TAPE_FIRST)
    return Change(
        file, EntryState.STAGING, size, mtime, on_tape=True, tries=1, since=moment, next_try=next_try
    )


def given_up(file: Asked, reason: str) -> Change:
    """It cannot be had."""
    return Change(file, EntryState.ERROR, file.size, file.mtime, error=reason[:REASON_MAX])


def postponed(file: Asked) -> Change:
    """It is not there yet: on tape, or on the way for another cart."""
    moment = now()
    since = file.since or moment
    limit = current_app.config["CART_TAPE_TIMEOUT"]
    if (moment - since).total_seconds() > limit:
        return given_up(file, f"did not come from tape within {limit} s")
    # Not to be there yet is no failed attempt.
    tries = file.tries + 1 if file.on_tape else file.tries
    pause = 1.5 ** min(file.tries, 40) if file.on_tape else (moment - since).total_seconds() / 2
    pause = min(max(pause, TAPE_FIRST), current_app.config["CART_POLL_MAX"])
    return Change(
        file,
        EntryState.STAGING,
        file.size,
        file.mtime,
        on_tape=file.on_tape,
        tries=tries,
        since=since,
        next_try=moment + timedelta(seconds=_by_chance(pause)),
    )


def failed(file: Asked, fault: object, state: EntryState) -> Change:
    """An attempt failed: there will be another, unless there were enough.

    :param state: what the file was, and stays meanwhile.
    """
    reason = str(fault) if isinstance(fault, PulsarError | Mismatch) else f"{type(fault).__name__}"
    moment = now()
    since = file.since if file.since and file.tries else moment
    tries = file.tries + 1
    enough = tries >= TRIES and (
        isinstance(fault, Mismatch)
        or (moment - since).total_seconds() >= current_app.config["CART_RETRY_TIME"]
    )
    if enough or isinstance(fault, NotFound):
        return given_up(file, reason)
    pause = min(2.0 ** min(tries - 1, 32), PAUSE_MAX)
    next_try = moment + timedelta(seconds=_by_chance(pause))
    return Change(file, state, file.size, file.mtime, tries=tries, since=since, next_try=next_try)


def _by_chance(seconds: float) -> float:
    """A quarter by chance, so that what failed together is not tried together."""
    return seconds * random.uniform(0.75, 1.25)  # noqa: S311 - nothing is secret here


def write_down(cart_id: int, changes: Sequence[Change]) -> bool:
    """Change files and counters in the present transaction.

    :returns: False if the cart is not staged any more.
    """
    here = [one for one in changes if one.state == EntryState.STAGED and one.digest]
    remember(db.session, _files(here))
    columns = Entry.__table__.c
    values: dict[str, Any] = {name: bindparam(f"new_{name}", type_=columns[name].type) for name in _COLUMNS}
    changed = update(Entry.__table__).where(  # type: ignore[arg-type]
        columns.cart_id == cart_id, columns.position == bindparam("at")
    )
    connection = db.session.connection()
    connection.execute(changed.values(values), [one.row() for one in changes])
    arrived = sum({one.file.key: one.size or 0 for one in here}.values())
    left = Cart.reserved - arrived
    counted = (
        update(Cart)
        .where(Cart.id == cart_id, Cart.state.in_(BUSY))
        .values(
            files_done=Cart.files_done + sum(one.state == EntryState.STAGED for one in changes),
            files_failed=Cart.files_failed + sum(one.state == EntryState.ERROR for one in changes),
            bytes=Cart.bytes + sum((one.size or 0) - (one.file.size or 0) for one in changes),
            bytes_done=Cart.bytes_done
            + sum(one.size or 0 for one in changes if one.state == EntryState.STAGED),
            reserved=case((Cart.reserved.is_(None), null()), (left < 0, 0), else_=left),
            updated_at=now(),
        )
    )
    return bool(connection.execute(counted).rowcount)


def _files(here: Iterable[Change]) -> Iterable[dict[str, Any]]:
    found = {
        one.file.key: {"key": one.file.key, "digest": one.digest, "size": one.size, "mtime": one.mtime or 0}
        for one in here
    }
    return found.values()
