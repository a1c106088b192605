"""Make a cart ready: ask the sources, reserve space, fetch, verify. Everything it knows is in the database.

A turn works for some seconds and says when to come back. It may be killed anywhere: the next one sees from
the rows what is left. Nothing waits here for a tape, or for a fault to pass: ``next_try`` is for that.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Final, cast

from sqlalchemy import ColumnElement, func, or_, select, update

from cart.models import BUSY, Cart, CartState, Entry, EntryState
from cart.services import changes, space
from cart.services.changes import ASKED, Asked, Change
from cart.services.finishing import fail, finish
from cart.services.known import Known, claim, find_known, give_up, renew
from cart.services.local import verify_files
from cart.services.slots import LEASE, Slots
from cart.services.transfers import Found, Outcome, Pulled, Stopped, Transfers
from cart.sources import LocalSource, RemoteSource, Status, find_source
from core import storage
from core.db import db, now, own_transaction
from core.errors import NoSpace, NotFound

__all__ = ["Staging"]

TURN: Final = 4.0  # s; then others go first
BATCH: Final = 1024  # files that are looked up, or fetched, at a time
PART: Final = 256  # of them that are written down at a time; as many small ones are in memory
PART_TIME: Final = 2.0  # s after which fewer are
BUSY_PAUSE: Final = 0.25  # s until another look for a connection
YIELD_PAUSE: Final = 0.5  # s in which others, who look so often, find our connections
LOOK: Final = 1.0  # s between two looks at whether the cart is still wanted
RENEW: Final = 10.0  # s between two renewals of leases
ASK_AGAIN: Final = 50  # looks at a file on tape after which it is asked for once more
NO_SOURCE: Final = "the source is not there any more"


class Staging:
    """The work on one cart.

    :param holder: a name that no other worker has.
    :param checkpoint: commits what was done so far; raises if this worker has to stop.
    :param progress: is told how many files are done, of how many.
    """

    def __init__(
        self, cart_id: int, holder: str, checkpoint: Callable[[], None], progress: Callable[[int, int], None]
    ) -> None:
        self.cart_id = cart_id
        self.holder = holder
        self._checkpoint = checkpoint
        self._progress = progress
        self._looked = self._renewed = time.monotonic()
        self._end = self._looked + TURN
        self._slots = Slots(holder)
        self._work: Transfers | None = None
        self._claimed: set[str] = set()

    def turn(self) -> float | None:
        """Work for some seconds.

        :returns: after how many seconds to come back; None when the cart is finished, or not wanted any more.
        """
        try:
            with self._slots:
                return self._work_on()
        except Stopped:
            return None
        except NoSpace:
            fail(self.cart_id, space.NO_SPACE)
            self._checkpoint()
            return None

    def _work_on(self) -> float | None:
        try:
            while (pause := self._step()) == 0.0:
                if time.monotonic() > self._end:
                    return YIELD_PAUSE if self._has_rivals() else 0.0
            return pause
        finally:
            db.session.rollback()  # connections are given back by a transaction of their own

    def _step(self) -> float | None:
        """One batch of work: 0.0 if there may be more, or the pause, or None."""
        cart = self._cart()
        if cart is None:
            return None
        if cart.state == CartState.WAITING:
            cart.state = CartState.STAGING
            self._checkpoint()
        self._progress(cart.files_done + cart.files_failed, cart.files)
        if waiting := self._due(Entry.state == EntryState.WAITING):
            return self._begin(waiting)
        if self._is_any(Entry.state == EntryState.WAITING):
            return self._pause()  # what fits is known when all sizes are
        if self._needs_space():
            db.session.rollback()
            space.reserve(self.cart_id)
            return 0.0
        if staging := self._due(Entry.state == EntryState.STAGING):
            return self._fetch(staging)
        if self._is_any(Entry.state == EntryState.STAGING):
            return self._pause()
        finish(self.cart_id)
        self._checkpoint()
        return None

    def _cart(self) -> Cart | None:
        """The cart as it is now, if it still wants to be staged."""
        db.session.rollback()
        cart = db.session.get(Cart, self.cart_id)
        return cart if cart is not None and cart.state in BUSY else None

    def _due(self, which: ColumnElement[bool]) -> list[Asked]:
        """The next files of one source, of those that are due."""
        due = or_(Entry.next_try.is_(None), Entry.next_try <= now())
        query = select(*ASKED).where(Entry.cart_id == self.cart_id, which, due)
        rows = db.session.execute(query.order_by(Entry.position).limit(BATCH)).all()
        db.session.rollback()
        return [Asked.of(row) for row in rows if row.source == rows[0].source]

    def _is_any(self, which: ColumnElement[bool]) -> bool:
        query = select(Entry.position).where(Entry.cart_id == self.cart_id, which).limit(1)
        return db.session.scalar(query) is not None

    def _needs_space(self) -> bool:
        undecided = select(Cart.id).where(Cart.id == self.cart_id, Cart.reserved.is_(None))
        return db.session.scalar(undecided) is not None

    def _pause(self) -> float:
        """Seconds until the next file is due."""
        states = (EntryState.WAITING, EntryState.STAGING)
        first = db.session.scalar(
            select(func.min(Entry.next_try)).where(Entry.cart_id == self.cart_id, Entry.state.in_(states))
        )
        return max((first - now()).total_seconds() if first else 0.0, 0.05)

    def _has_rivals(self) -> bool:
        others = select(Cart.id).where(Cart.state.in_(BUSY), Cart.id != self.cart_id).limit(1)
        return db.session.scalar(others) is not None

    def _begin(self, files: Sequence[Asked]) -> float:
        """Find out what the files are, and verify those that are local."""
        source = find_source(files[0].source)
        if source is None or source.kind not in ("local", "remote"):
            reason = NO_SOURCE if source is None else "not available"
            return self._record([changes.given_up(one, reason) for one in files])
        if source.kind == "local":
            errors = verify_files(cast(LocalSource, source), files, self._beat)
            return self._record(
                [
                    changes.given_up(one, error) if error else changes.staged(one, None)
                    for one, error in zip(files, errors, strict=True)
                ]
            )
        # Another cart may have brought some of them since this one was made.
        if known := find_known(one.key for one in files if one.hashsum):
            return self._record([_as_known(one, known[one.key]) for one in files if one.key in known])
        return self._look(cast(RemoteSource, source), files) if self._slots.take() else BUSY_PAUSE

    def _look(self, source: RemoteSource, files: Sequence[Asked]) -> float:
        """Find out what there is, and ask for what is on tape."""
        tape: list[Change] = []
        with closing(self._transfers().look(source, files)) as outcomes:
            for part in _parts(outcomes):
                found = [_looked_at(one, status) for one, status in part]
                tape += [one for one in found if one.on_tape]
                self._record([one for one in found if not one.on_tape])
        return self._record(self._request(source, tape))

    def _request(self, source: RemoteSource, tape: Sequence[Change]) -> list[Change]:
        """Ask for files on tape; for each once, however many carts want it."""
        mine = self._claim([one.file for one in tape])
        wanted = {one.file.key: one.file for one in tape if one.file.key in mine}
        done = {one.key: found for one, found in self._transfers().request(source, list(wanted.values()))}
        return [
            changes.failed(one.file, fault, EntryState.WAITING)
            if isinstance(fault := done.get(one.file.key), Exception)
            else one
            for one in tape
            if one.file.key in done or one.file.key not in mine
        ]

    def _fetch(self, files: Sequence[Asked]) -> float:
        source = find_source(files[0].source)
        if source is None or source.kind != "remote":
            return self._record([changes.given_up(one, NO_SOURCE) for one in files])
        mine = self._claim(files)
        others = [one for one in files if one.key not in mine]
        known = find_known(one.key for one in others)
        self._record(
            [_as_known(one, known[one.key]) if one.key in known else changes.postponed(one) for one in others]
        )
        # One file that is wanted at several paths is fetched once.
        wanted: dict[str, list[Asked]] = {}
        for one in files:
            if one.key in mine:
                wanted.setdefault(one.key, []).append(one)
        if wanted:
            if not self._slots.take():
                return BUSY_PAUSE
            self._transfer(cast(RemoteSource, source), wanted)
        return 0.0

    def _transfer(self, source: RemoteSource, wanted: dict[str, list[Asked]]) -> None:
        """Fetch what can be had, and look again for what is on tape."""
        files = [same[0] for same in wanted.values()]
        tape = [one for one in files if one.on_tape]
        again = [one for one in tape if one.tries % ASK_AGAIN == 0]
        for _ in self._transfers().request(source, again):
            pass  # whether that helped is what the next look says
        found = [_polled(one, status) for one, status in self._transfers().look(source, tape)]
        self._record(_everywhere(found, wanted))
        disk = [one for one in files if not one.on_tape]
        with closing(self._transfers().pull(source, disk)) as outcomes:
            for part in _parts(outcomes):
                self._record(_everywhere(_stored(part), wanted))
        if self._claimed:  # there was no time for these; others may fetch them
            give_up(self._claimed, self.cart_id)
            self._checkpoint()

    def _transfers(self) -> Transfers:
        self._work = Transfers(self._slots.take(), self._beat)
        return self._work

    def _claim(self, files: Sequence[Asked]) -> set[str]:
        """The keys of those files that are ours to fetch."""
        if not files:
            return set()
        moment = now()
        mine = claim({one.key for one in files}, self.cart_id, at=moment, until=moment + LEASE)
        self._checkpoint()
        self._claimed = set(mine)
        return mine

    def _record(self, found: Sequence[Change]) -> float:
        """Write down what became of files, all in one transaction."""
        if not found:
            return 0.0
        wanted = changes.write_down(self.cart_id, found)
        # Files on tape stay ours between two looks, the others are free for whoever is first.
        ours = {one.file.key: one for one in found if one.file.key in self._claimed}
        give_up((key for key, one in ours.items() if not one.digest and not one.on_tape), self.cart_id)
        self._claimed -= ours.keys()
        self._checkpoint()
        if not wanted:
            space.release(one.digest for one in found if one.digest)
            raise Stopped
        return 0.0

    def _beat(self) -> None:
        """While something takes long: keep what is leased, and hear whether to go on.

        :raises Stopped: the cart was deleted, replaced or evicted.
        """
        moment = time.monotonic()
        if moment < self._looked + LOOK:
            return
        self._looked = moment
        with own_transaction() as session:
            wanted = session.scalar(select(Cart.id).where(Cart.id == self.cart_id, Cart.state.in_(BUSY)))
        if wanted is None:
            raise Stopped
        if self._work is not None and self._has_rivals():
            self._slots.keep(self._work.busy)
            if moment > self._end:
                self._work.wind_down()
        if moment > self._renewed + RENEW:
            self._renewed = moment
            with own_transaction() as session:
                renew(session, self.cart_id, now() + LEASE)
                session.execute(update(Cart).where(Cart.id == self.cart_id).values(updated_at=now()))
            self._slots.renew()
        self._checkpoint()


def _parts(outcomes: Iterator[Outcome]) -> Iterator[list[Outcome]]:
    """So many, or what came in some seconds; what was stored already, and a full disk, at once and alone."""
    part: list[Outcome] = []
    until = time.monotonic() + PART_TIME
    for outcome in outcomes:
        found = outcome[1]
        if isinstance(found, NoSpace) or (isinstance(found, Pulled) and found.digest):
            yield [outcome]
            continue
        part.append(outcome)
        if len(part) >= PART or time.monotonic() > until:
            yield part
            part.clear()  # two of them at a time would be twice the memory
            until = time.monotonic() + PART_TIME
    if part:
        yield part


def _stored(part: Sequence[Outcome]) -> Iterator[Change]:
    """Store what is in memory, and say what became of all.

    :raises NoSpace: there was not enough for one of them.
    """
    small = [found.data for _, found in part if isinstance(found, Pulled) and found.digest is None]
    digests = iter(storage.store().put_many((None, len(data), data) for data in small) if small else ())
    for one, found in part:
        if isinstance(found, NoSpace):
            raise found
        if isinstance(found, Pulled):
            yield changes.staged(one, found.digest or next(digests).sha256)
        else:
            yield changes.failed(one, found, EntryState.STAGING)


def _looked_at(one: Asked, found: Found | Exception) -> Change:
    """What a first look at a file says."""
    if not isinstance(found, Status):
        return changes.failed(one, found, EntryState.WAITING)
    if one.size is not None and one.size != found.size:
        return changes.given_up(one, f"has {found.size} bytes, not {one.size}")
    known = changes.on_tape if found.medium == "tape" else changes.ready_to_fetch
    return known(one, found.size, found.mtime)


def _polled(one: Asked, found: Found | Exception) -> Change:
    """What a look at a file on tape says."""
    if isinstance(found, Status) and found.medium == "disk":
        return changes.ready_to_fetch(one, found.size, found.mtime)
    if isinstance(found, NotFound):
        return changes.given_up(one, str(found))
    return changes.postponed(one)


def _as_known(one: Asked, known: Known) -> Change:
    """What is said of a file that was fetched for another cart meanwhile."""
    if one.size not in (None, known.size):
        return changes.given_up(one, f"has {one.size} bytes, and had {known.size} when it was fetched")
    return replace(changes.staged(one, known.digest), size=known.size, mtime=known.mtime)


def _everywhere(found: Iterable[Change], wanted: Mapping[str, Sequence[Asked]]) -> list[Change]:
    """The same for the same file at other paths."""
    return [replace(change, file=one) for change in found for one in wanted[change.file.key]]
