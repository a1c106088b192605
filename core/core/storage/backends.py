"""What a place for bytes must be able to do, and the checks that are the same for every place.

Bytes get in by three steps, so that nothing is ever visible half-written and no lock is held while
they travel:

1. ``stage``: the stream is read, hashed and kept under a random temporary name;
2. ``settle``: what was staged survives a power cut (one or many at a time);
3. ``place``: it becomes visible under its digest, at once and whole.

The caller holds the lock on the blob's row around ``place`` and ``delete`` (see :mod:`core.storage.store`).

Many small blobs get in together, as a *pack*: one file that is staged, settled and placed like any other,
under a name made by chance. Nothing asks for it before a row says what lies in it, so it is placed without
a lock.
"""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from core.errors import BadRequest, TooLarge
from core.storage.digests import Digests, Hasher, pieces

__all__ = [
    "Backend",
    "Expected",
    "Found",
    "Place",
    "Staged",
    "StagedBlob",
    "StagedPack",
    "bytes_here",
    "key_of",
    "new_pack_name",
    "receive",
]

PACK_NAME_LENGTH = 32  # hex digits; a digest has 64

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


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of a blob are: ``size`` of them, ``start`` bytes behind the beginning of a file.

    :param name: of the file: the digest of the blob, if it has one to itself, or the name of a pack.
    """

    name: str
    start: int
    size: int

    @property
    def is_packed(self) -> bool:
        """Whether other blobs are in the same file."""
        return len(self.name) == PACK_NAME_LENGTH


class Staged(ABC):
    """A file that is here and not yet visible. Ends by being placed or by :meth:`discard`.

    :param name: under which it is placed.
    """

    name: str

    @abstractmethod
    def discard(self) -> None:
        """Forget the bytes. Calling it again does nothing. Never raises."""


class StagedBlob(Staged):
    """The bytes of one blob. Once they are placed, ``discard`` does nothing."""

    def __init__(self, digests: Digests) -> None:
        self.digests = digests
        self.name = digests.sha256


class StagedPack(Staged):
    """Many small blobs, one behind the other. ``discard`` removes it even when it was placed."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Add ``data``.

        :raises NoSpace, Unavailable: it cannot be stored.
        """

    @abstractmethod
    def finish(self) -> None:
        """Nothing is added any more."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file as the back end sees it, under its name: a digest, or that of a pack."""

    name: str
    size: int
    modified_at: datetime


class Backend(Protocol):
    """A place for bytes. Everything raises ``Unavailable`` when the place cannot be reached or used.

    A name is a digest, or that of a pack.
    """

    many: int  # blobs that are settled and placed together at most: bounds the time under the rows' locks

    def stage(self, source: Source, expected: Expected) -> StagedBlob:
        """Read ``source`` to its end. Memory: a constant, whatever the size.

        :raises BadRequest: ``wrong_size`` or ``wrong_digest``; nothing is kept.
        :raises TooLarge: more than ``expected.max_bytes``; nothing is kept.
        :raises NoSpace: the place is full, or would be; nothing is kept.
        """
        ...

    def stage_pack(self) -> StagedPack:
        """Begin an empty pack. Memory: what is written to it at a time, or a constant."""
        ...

    def settle(self, staged: Sequence[Staged]) -> None:
        """Return when everything in ``staged`` would survive a power cut."""
        ...

    def place(self, staged: Sequence[Staged]) -> None:
        """Make everything in ``staged`` visible under its name; what was there is replaced by the same."""
        ...

    def open(self, name: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        """The bytes from ``start`` up to, not including, ``stop``. The caller closes it.

        :raises NotFound: no such bytes here.
        """
        ...

    def size(self, name: str) -> int | None:
        """Bytes kept under ``name``; None if there are none."""
        ...

    def delete(self, names: Sequence[str]) -> None:
        """Remove these; a missing one is fine."""
        ...

    def download_url(self, digest: str, *, name: str, media_type: str, life: int) -> str | None:
        """An address that serves the file of a blob without the app for ``life`` seconds, if there is one."""
        ...

    def local_path(self, digest: str) -> Path | None:
        """The file, for who reads in place; None where there are no files. It need not exist."""
        ...

    def iter_found(self) -> Iterator[Found]:
        """Every blob that has a file to itself, in no order. Nothing temporary."""
        ...

    def iter_packs(self) -> Iterator[Found]:
        """Every pack, in no order. Nothing temporary."""
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


def key_of(name: str) -> str:
    """``sha256/<first 2>/<other 62>`` or ``packs/<first 2>/<other 30>``: no word of a user is in it.

    256 folders: at a million blobs a folder holds four thousand, which every file system in use likes.
    """
    return f"{'packs' if len(name) == PACK_NAME_LENGTH else 'sha256'}/{name[:2]}/{name[2:]}"


def new_pack_name() -> str:
    """A name that no pack has or ever had."""
    return secrets.token_hex(PACK_NAME_LENGTH // 2)


def bytes_here(place: Place, size_of: Callable[[str], int | None]) -> int | None:
    """How many bytes are where ``place.size`` ought to be; None if the file is not there.

    :param size_of: the ``size`` of the back end.
    """
    size = size_of(place.name)
    if size is None or not place.is_packed:
        return size
    return min(max(0, size - place.start), place.size)


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
