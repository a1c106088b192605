"""Make a cart ready: ask the sources, reserve space, fetch, verify. Everything it knows is in the database.

A turn works for some seconds and says when to come back. It may be killed anywhere: the next one sees from
the rows what is left. Nothing waits here for a tape, or for a fault to pass: ``next_try`` is for that.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, cast

from sqlalchemy import ColumnElement, func, or_, select, update

from cart.models import BUSY, Cart, CartState, Entry, EntryState, File
from cart.services import changes, space
from cart.services.changes import Asked, Change
from cart.services.finishing import fail, finish
from cart.services.known import claim, find_known, give_up, renew
from cart.services.local import verify_files
from cart.services.slots import LEASE, Slots
from cart.services.transfers import Found, Pulled, Stopped, Transfers
from cart.sources import LocalSource, RemoteSource, Status, find_source
from core import storage
from core.db import db, now, own_transaction
from core.errors import NoSpace, NotFound

__all__ = ["Staging"]

TURN: Final = 4.0  # s; then others go first
BATCH: Final = 256  # files at a time; as many small ones are in memory
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
        self._slots: Slots | None = None

    def turn(self) -> float | None:
        """Work for some seconds.

        :returns: after how many seconds to come back; None when the cart is finished, or not wanted any more.
        """
        end = time.monotonic() + TURN
        try:
            while (pause := self._step()) == 0.0:
                if time.monotonic() > end:
                    return YIELD_PAUSE if self._has_rivals() else 0.0
        except Stopped:
            db.session.rollback()
            return None
        except NoSpace:
            db.session.rollback()
            fail(self.cart_id, space.NO_SPACE)
            self._checkpoint()
            return None
        return pause

    def _step(self) -> float | None:
        """One batch of work: 0.0 if there may be more, or the pause, or None."""
        cart = self._cart()
        if cart is None:
            return None
        if cart.state == CartState.WAITING:
            cart.state = CartState.STAGING
        self._progress(cart.files_done + cart.files_failed, cart.files)
        self._checkpoint()
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
        query = select(Entry).where(Entry.cart_id == self.cart_id, which, due).order_by(Entry.position)
        found = [Asked.of(entry) for entry in db.session.scalars(query.limit(BATCH))]
        db.session.rollback()
        return [one for one in found if one.source == found[0].source]

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
        remote = cast(RemoteSource, source)
        with Slots(self.holder) as slots:
            if not slots.count:
                return BUSY_PAUSE
            work = self._transfers(slots)
            found = [_looked_at(one, status) for one, status in work.look(remote, files)]
            found = self._request(remote, work, found)
        return self._record(found)

    def _request(self, source: RemoteSource, work: Transfers, found: Sequence[Change]) -> list[Change]:
        """Ask for those that are on tape; each once, however many carts want it."""
        tape = [one for one in found if one.on_tape]
        mine = self._claim([one.file for one in tape])
        wanted = {one.file.key: one.file for one in tape if one.file.key in mine}
        faults = {
            one.key: fault
            for one, fault in work.request(source, list(wanted.values()))
            if isinstance(fault, Exception)
        }
        return [
            changes.failed(one.file, faults[one.file.key], EntryState.WAITING)
            if one.on_tape and one.file.key in faults
            else one
            for one in found
        ]

    def _fetch(self, files: Sequence[Asked]) -> float:
        source = find_source(files[0].source)
        if source is None or source.kind != "remote":
            return self._record([changes.given_up(one, NO_SOURCE) for one in files])
        if known := find_known(one.key for one in files):
            return self._record([_as_known(one, known[one.key]) for one in files if one.key in known])
        mine = self._claim(files)
        self._record([changes.postponed(one) for one in files if one.key not in mine])
        # One file that is wanted at several paths is fetched once.
        wanted: dict[str, list[Asked]] = {}
        for one in files:
            if one.key in mine:
                wanted.setdefault(one.key, []).append(one)
        if wanted:
            with Slots(self.holder) as slots:
                if not slots.count:
                    return BUSY_PAUSE
                self._transfer(cast(RemoteSource, source), self._transfers(slots), wanted)
        return 0.0

    def _transfer(self, source: RemoteSource, work: Transfers, wanted: dict[str, list[Asked]]) -> None:
        """Fetch what can be had, and look again for what is on tape."""
        files = [same[0] for same in wanted.values()]
        tape = [one for one in files if one.on_tape]
        again = [one for one in tape if one.tries % ASK_AGAIN == 0]
        for _ in work.request(source, again):
            pass  # whether that helped is what the next look says
        found = [_polled(one, status) for one, status in work.look(source, tape)]
        small: list[tuple[Asked, bytes]] = []
        for one, outcome in work.pull(source, [one for one in files if not one.on_tape]):
            if isinstance(outcome, NoSpace):
                raise outcome
            if not isinstance(outcome, Pulled):
                found.append(changes.failed(one, outcome, EntryState.STAGING))
            elif outcome.digest is None:
                small.append((one, outcome.data))
            else:
                # Written down at once: it may have taken long, and shall not be fetched again.
                self._record(_everywhere([changes.staged(one, outcome.digest)], wanted))
        db.session.rollback()
        items = [(None, len(data), data) for _, data in small]
        stored = storage.store().put_many(items) if items else []
        found += [changes.staged(one, is_.sha256) for (one, _), is_ in zip(small, stored, strict=True)]
        self._record(_everywhere(found, wanted))

    def _transfers(self, slots: Slots) -> Transfers:
        self._slots = slots
        return Transfers(slots.count, self._beat)

    def _claim(self, files: Sequence[Asked]) -> set[str]:
        """The keys of those files that are ours to fetch."""
        if not files:
            return set()
        moment = now()
        mine = claim({one.key for one in files}, self.cart_id, at=moment, until=moment + LEASE)
        self._checkpoint()
        return mine

    def _record(self, found: Sequence[Change]) -> float:
        """Write down what became of files, all in one transaction."""
        if not found:
            return 0.0
        wanted = changes.write_down(self.cart_id, found)
        # Files on tape stay ours between two looks, the others are free for whoever is first.
        give_up((one.file.key for one in found if not one.digest and not one.on_tape), self.cart_id)
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
        if moment > self._renewed + RENEW:
            self._renewed = moment
            with own_transaction() as session:
                renew(session, self.cart_id, now() + LEASE)
                session.execute(update(Cart).where(Cart.id == self.cart_id).values(updated_at=now()))
            if self._slots is not None:
                self._slots.renew()
        self._checkpoint()


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


def _as_known(one: Asked, known: File) -> Change:
    """What is said of a file that was fetched for another cart meanwhile."""
    if known.size != one.size:
        return changes.given_up(one, f"has {one.size} bytes, and had {known.size} when it was fetched")
    return changes.staged(one, known.digest)


def _everywhere(found: Iterable[Change], wanted: Mapping[str, Sequence[Asked]]) -> list[Change]:
    """The same for the same file at other paths."""
    return [replace(change, file=one) for change in found for one in wanted[change.file.key]]
