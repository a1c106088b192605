"""Ask a remote source about many files, or for them, over several connections at a time."""

import queue
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from flask import Flask, current_app

from cart.services import space
from cart.services.changes import Asked
from cart.sources import RemoteSession, RemoteSource, Status
from cart.verifying import Verified
from core import storage
from core.db import db
from core.errors import PulsarError, Unavailable

__all__ = ["Outcome", "Pulled", "Stopped", "Transfers"]

SMALL: Final = 64 * 2**10  # B; smaller files are kept in memory and stored together
AHEAD: Final = 128  # outcomes that wait to be looked at, at most
PAUSE: Final = 0.01  # s until another look at whether they were
TICK: Final = 0.5  # s between two looks at whether to go on


class Stopped(Exception):
    """The cart is not wanted any more, or this worker has to stop."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """The bytes of a file that are here: small ones still in memory, others under their digest."""

    digest: str | None
    data: bytes = b""


Found = Status | Pulled | None
Outcome = tuple[Asked, Found | Exception]
Outcomes = Generator[Outcome, None, None]
Work = Callable[[RemoteSession, Asked], Found]


class Transfers:
    """Does one kind of work on many files.

    :param connections: at a time.
    :param beat: called at least every half a second, and before each outcome; what it raises ends it.
    :ivar busy: how many connections are in use.

    What the methods give has to be closed if it is not read to its end.
    """

    def __init__(self, connections: int, beat: Callable[[], None]) -> None:
        self._connections = connections
        self._beat = beat
        self._stop = threading.Event()
        self._enough = threading.Event()
        self.busy = 0
        self._down: Exception | None = None

    def wind_down(self) -> None:
        """Begin with no further file; of those that are left there is no outcome."""
        self._enough.set()

    def look(self, source: RemoteSource, files: Sequence[Asked]) -> Outcomes:
        """What and where each file is."""
        return self._spread(source, files, lambda session, one: session.status(one.id))

    def request(self, source: RemoteSource, files: Sequence[Asked]) -> Outcomes:
        """Ask for files on tape."""
        return self._spread(source, files, lambda session, one: session.stage(one.id))

    def pull(self, source: RemoteSource, files: Sequence[Asked]) -> Outcomes:
        """Fetch files, verify them, and store the larger ones."""
        return self._spread(source, files, self._pull)

    def _pull(self, session: RemoteSession, one: Asked) -> Pulled:
        assert one.size is not None, "who pulls has looked before"
        with session.open(one.id, one.size) as body:
            stream = Verified(body, one.hashtype, one.hashsum, self._check)
            if one.size <= SMALL:
                return Pulled(None, stream.read_exactly(one.size))
            known = one.hashsum if one.hashtype == "sha256" and one.hashsum else None
            try:
                return Pulled(storage.store().put(cast(BinaryIO, stream), size=one.size, digest=known).digest)
            finally:
                db.session.rollback()

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def _spread(self, source: RemoteSource, files: Sequence[Asked], work: Work) -> Outcomes:
        """The outcomes, as they come."""
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        todo: queue.SimpleQueue[Asked] = queue.SimpleQueue()
        done: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
        for one in files:
            todo.put(one)
        threads = [
            threading.Thread(
                target=self._run, args=(app, source, work, todo, done), name=f"transfer-{number}", daemon=True
            )
            for number in range(min(self._connections, len(files)))
        ]
        self.busy = len(threads)
        for thread in threads:
            thread.start()
        try:
            while self.busy:
                self._beat()
                try:
                    outcome = done.get(timeout=TICK)
                except queue.Empty:
                    continue
                if outcome is None:
                    self.busy -= 1
                else:
                    yield outcome
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
            self._stop.clear()
            _drop(done)

    def _run(
        self,
        app: Flask,
        source: RemoteSource,
        work: Work,
        todo: "queue.SimpleQueue[Asked]",
        done: "queue.SimpleQueue[Outcome | None]",
    ) -> None:
        """What each thread does; at its end it says None."""
        try:
            with app.app_context(), source.session() as session:
                while not (self._stop.is_set() or self._enough.is_set()):
                    one = todo.get_nowait()
                    done.put((one, self._attempt(session, work, one)))
                    while done.qsize() > AHEAD and not self._stop.wait(PAUSE):
                        pass  # small files wait in memory until they are stored
        except queue.Empty:
            pass
        except Exception as exc:  # no connection could even be made: the files must not be waited for
            with suppress(queue.Empty):
                while True:
                    done.put((todo.get_nowait(), exc))
        finally:
            done.put(None)

    def _attempt(self, session: RemoteSession, work: Work, one: Asked) -> Found | Exception:
        if self._down is not None:
            return self._down  # nobody answers: to wait for that once is enough
        try:
            return work(session, one)
        except PulsarError as exc:
            if exc.code == "archive_down":
                self._down = exc
            return exc
        except Exception as exc:  # the thread must say what became of its file, whatever that was
            return exc


def _drop(done: "queue.SimpleQueue[Outcome | None]") -> None:
    """Free the space of what came when nobody wanted it any more."""
    digests = []
    while not done.empty():
        outcome = done.get()
        if outcome is not None and isinstance(outcome[1], Pulled) and outcome[1].digest:
            digests.append(outcome[1].digest)
    with suppress(Unavailable):  # then it is the sweep that does
        space.release(digests)
