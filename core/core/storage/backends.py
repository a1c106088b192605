"""What a place for bytes must be able to do, and the checks that are the same for every place.

Bytes get in by three steps, so that nothing is ever visible half-written and no lock is held while
they travel:

1. ``stage``: the stream is read, hashed and kept under a random temporary name;
2. ``settle``: what was staged survives a power cut (one or many at a time);
3. ``place``: it becomes visible under its digest, at once and whole.

The caller holds the lock on the blob's row around ``place`` and ``delete`` (see :mod:`core.storage.store`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from core.errors import BadRequest, TooLarge
from core.storage.digests import Digests, Hasher, pieces

__all__ = ["Backend", "Expected", "Found", "Staged", "key_of", "receive"]

Source = BinaryIO | bytes  # bytes for what is small and at hand already


@dataclass(frozen=True, slots=True)
class Expected:
    """What the sender says of the bytes; None where he says nothing.

    :param size: bytes, exactly.
    :param max_bytes: the most that is accepted when the size is not known.
    :param sha256: lower-case hex.
    """

    size: int | None = None
    max_bytes: int | None = None
    sha256: str | None = None

    def check_so_far(self, size: int) -> None:
        """:raises BadRequest: ``wrong_size``; :raises TooLarge: as soon as there are too many bytes."""
        if self.size is not None and size > self.size:
            raise BadRequest(f"More than the {self.size} bytes that were announced.", code="wrong_size")
        if self.max_bytes is not None and size > self.max_bytes:
            raise TooLarge(f"More than {self.max_bytes} bytes.")

    def check(self, digests: Digests) -> None:
        """:raises BadRequest: ``wrong_size`` or ``wrong_digest``; :raises TooLarge: over the limit."""
        self.check_so_far(digests.size)
        if self.size is not None and digests.size != self.size:
            raise BadRequest(
                f"{digests.size} bytes came, {self.size} were announced.",
                code="wrong_size",
                details={"expected": self.size, "received": digests.size},
            )
        if self.sha256 is not None and digests.sha256 != self.sha256:
            raise BadRequest(
                "The bytes do not have the digest that was announced.",
                code="wrong_digest",
                details={"expected": self.sha256, "received": digests.sha256},
            )


class Staged(ABC):
    """Bytes that are here and hashed, not yet visible. Ends by being placed or by :meth:`discard`."""

    digests: Digests

    @abstractmethod
    def discard(self) -> None:
        """Forget the bytes. Calling it again, or after they were placed, does nothing. Never raises."""


@dataclass(frozen=True, slots=True)
class Found:
    """A blob as the back end sees it."""

    digest: str
    size: int
    modified_at: datetime


class Backend(Protocol):
    """A place for bytes. Everything raises ``Unavailable`` when the place cannot be reached or used."""

    many: int  # blobs that are settled and placed together at most: bounds the time under the rows' locks

    def stage(self, source: Source, expected: Expected) -> Staged:
        """Read ``source`` to its end. Memory: a constant, whatever the size.

        :raises BadRequest: ``wrong_size`` or ``wrong_digest``; nothing is kept.
        :raises TooLarge: more than ``expected.max_bytes``; nothing is kept.
        :raises NoSpace: the place is full, or would be; nothing is kept.
        """
        ...

    def settle(self, staged: Sequence[Staged]) -> None:
        """Return when everything in ``staged`` would survive a power cut."""
        ...

    def place(self, staged: Sequence[Staged]) -> None:
        """Make everything in ``staged`` visible under its digest; what was there is replaced by the same."""
        ...

    def open(self, digest: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        """The bytes from ``start`` up to, not including, ``stop``. The caller closes it.

        :raises NotFound: no such bytes here.
        """
        ...

    def size(self, digest: str) -> int | None:
        """Bytes kept under ``digest``; None if there are none."""
        ...

    def delete(self, digests: Sequence[str]) -> None:
        """Remove these; a missing one is fine."""
        ...

    def download_url(self, digest: str, *, name: str, media_type: str, life: int) -> str | None:
        """An address that serves the blob without the app for ``life`` seconds, if the place has such."""
        ...

    def local_path(self, digest: str) -> Path | None:
        """The file, for who reads in place; None where there are no files. It need not exist."""
        ...

    def iter_found(self) -> Iterator[Found]:
        """Everything that is here, in no order. Nothing temporary."""
        ...

    def free_bytes(self) -> int | None:
        """What still fits; None if the place does not say."""
        ...

    def check(self) -> None:
        """:raises Unavailable: if nothing could be stored now; :raises NoSpace: if nothing fits."""
        ...

    def sweep_temporary(self, before: datetime, *, dry_run: bool = False) -> int:
        """Remove what interrupted uploads last touched before ``before``; how many there were."""
        ...


def key_of(digest: str) -> str:
    """``sha256/<first 2>/<other 62>``: what a file is called comes from its bytes alone.

    256 folders: at a million blobs a folder holds four thousand, which every file system in use likes.
    """
    return f"sha256/{digest[:2]}/{digest[2:]}"


def receive(source: Source, expected: Expected, write: Callable[[bytes | memoryview], object]) -> Digests:
    """Hand ``source`` piece by piece to ``write``, hashing on the way, and hold it against ``expected``.

    :raises BadRequest: ``wrong_size``, ``wrong_digest``; :raises TooLarge: over the limit. Too many bytes
        are noticed when they come, not at the end.
    """
    hasher = Hasher()
    for piece in _pieces(source):
        expected.check_so_far(hasher.size + len(piece))
        hasher.update(piece)
        write(piece)
    digests = hasher.digests()
    expected.check(digests)
    return digests


def _pieces(source: Source) -> Iterable[bytes | memoryview]:
    if isinstance(source, bytes):
        return (source,) if source else ()
    return pieces(source)
