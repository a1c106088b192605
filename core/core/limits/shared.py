"""Counters in memory that the processes of one site share.

The memory is made with the app, before the web server forks, and has one size for ever: 65,536 counters in
2 MiB. A counter is a digest of what is counted, when its window ends, and how many came in it. It lies in
one of the eight slots of its bucket; who finds all eight taken takes the one whose window ends first. So a
counter may be forgotten too early when very many are counted at once, but nobody is ever counted for
somebody else.
"""

import mmap
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from struct import Struct
from typing import Final, NamedTuple

__all__ = ["DIGEST_BYTES", "Counter", "SharedCounters"]

DIGEST_BYTES: Final = 16
WAYS: Final = 8  # slots that a digest may lie in
BUCKETS: Final = 8192
LATE: Final = 1.0  # s that the clock may be set back without all windows being thought broken
PATIENCE: Final = 1.0  # s to wait for the lock; who has it has it for microseconds, unless he died
SPIN: Final = 5e-5  # s between two tries
_SLOT: Final = Struct("<16sdI4x")
_ENDS: Final = Struct("<16xd")
_WIDTH: Final = WAYS * _SLOT.size


class Counter(NamedTuple):
    """What is counted, and how often it may come in a window of how many seconds."""

    digest: bytes
    requests: int
    seconds: int


class SharedCounters:
    """Counts for one app, in the process that made it and in all that were forked from it."""

    def __init__(self, clock: Callable[[], float] = time.time, *, buckets: int = BUCKETS) -> None:
        """:param clock: seconds since 1970; :param buckets: a power of two."""
        self._clock = clock
        self._mask = buckets - 1
        self._table = mmap.mmap(-1, buckets * _WIDTH)
        # A semaphore, between threads too: unlike a lock of a file it is had without a call of the kernel,
        # and without giving the interpreter away, which would make it last as long as other threads like.
        self._lock = get_context("fork").Lock()

    def take(self, wanted: Sequence[Counter]) -> list[tuple[int, float]]:
        """Count one request with all of ``wanted``, or with none of them if one is full.

        :returns: for each how many came in its window, this one included, and when the window ends, in
            seconds since 1970. The first that is full ends the list, with one more than it allows.
        """
        if not self._lock.acquire(False):
            self._wait()
        try:
            moment = self._clock()
            places, counts = [], []
            for counter in wanted:
                at, used, ends = self._find(counter, moment)
                places.append(at)
                counts.append((used + 1, ends))
                if used >= counter.requests:
                    return counts
            for counter, at, (used, ends) in zip(wanted, places, counts, strict=True):
                _SLOT.pack_into(self._table, at, counter.digest, ends, used)
            return counts
        finally:
            with suppress(ValueError):  # somebody lost patience and released it for us
                self._lock.release()

    def _find(self, counter: Counter, moment: float) -> tuple[int, int, float]:
        """Where the counter is, how many came in its window, and when that ends; a new one if it is over."""
        digest, _, seconds = counter
        start = (int.from_bytes(digest[:4], "little") & self._mask) * _WIDTH
        at = self._table.find(digest, start, start + _WIDTH)
        if at >= 0 and not (at - start) % _SLOT.size:
            _, ends, used = _SLOT.unpack_from(self._table, at)
            # Also what a process left that was killed while it wrote cannot last longer than a window.
            if moment < ends <= moment + seconds + LATE:
                return at, used, ends
        else:
            slots = range(start, start + _WIDTH, _SLOT.size)
            at = min(slots, key=lambda slot: _ENDS.unpack_from(self._table, slot))
        # Written at once: the next counter of the same request may look in the same bucket.
        _SLOT.pack_into(self._table, at, digest, moment + seconds, 0)
        return at, 0, moment + seconds

    def _wait(self) -> None:
        """Wait for the lock. Whose holder was killed is taken over; its next release sets it right.

        If he was only stopped, some requests may be counted once for two; that is better than to wait.
        """
        patience = time.monotonic() + PATIENCE
        while not self._lock.acquire(False) and time.monotonic() < patience:
            time.sleep(SPIN)
