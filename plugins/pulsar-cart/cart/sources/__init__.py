"""Where the files of carts come from.

A source is an object with the methods of :class:`Source`, given by the hook ``cart_sources``. It needs
nothing of this package, so that a plugin can be one without knowing the cart. Of its own the cart has two:
:mod:`cart.sources.archive` and :mod:`cart.sources.directory`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from core.identity import Identity
from core.site import current_site

__all__ = ["LocalSource", "NumberedSource", "RemoteSource", "Source", "Status", "find_source", "source_names"]


@dataclass(frozen=True, slots=True)
class Status:
    """What a source says of a file that has to be fetched.

    :param size: B.
    :param mtime: s since 1970, rounded down.
    :param medium: ``disk``: it can be had; ``tape``: it can be had later, once it was asked for.
    """

    size: int
    mtime: int
    medium: str


class Source(Protocol):
    """Somewhere files come from.

    ``kind`` says where the bytes are: ``stored`` (in the site's own store, named by their SHA-256), ``local``
    (files that can be read in place, see :class:`LocalSource`) or ``remote`` (see :class:`RemoteSource`).
    """

    kind: str

    def resolve(
        self, wanted: Sequence[Mapping[str, Any]], identity: Identity
    ) -> Iterable[Iterable[Mapping[str, Any]] | str]:
        """For each entry, as it was posted and with ``id`` as text if there is one, its files, or one line
        on why there are none. What is missing and what ``identity`` may not read look alike.

        A file is a mapping: ``id``; ``path`` below that of the entry, or empty; ``size`` (B), ``mtime``
        (s since 1970), ``digest`` (SHA-256 of the blob) and ``container``, where they apply.
        """
        ...

    def may_read(self, container: str, identity: Identity) -> bool:
        """Whether ``identity`` may still read what was called ``container``; asked at each download."""
        ...


class NumberedSource(Source, Protocol):
    """A source that knows files by the number of the upload, or of whatever else they belong to."""

    def transaction(self, number: int, identity: Identity) -> Iterable[Mapping[str, Any]] | None:
        """The files of that number; None where there is none, or none that ``identity`` may read.

        A file is a mapping: ``id``, which :meth:`resolve` takes in an entry; ``path``, like no other of them;
        ``hashtype`` and ``hashsum``.

        :param number: from 1, of at most 18 digits.
        """
        ...


class LocalSource(Source, Protocol):
    """A source of files on a disk of this machine. They are never copied.

    It may also have ``open(identifier)``, which gives the open file, unbuffered, and raises as ``local_path``
    does; a download asks for one file after the other, and each look at a folder costs it as much as a read.
    """

    def local_path(self, identifier: str) -> Path:
        """Where the file is.

        :raises NotFound: it is not there, or not inside what the source offers.
        """
        ...


class RemoteSource(Source, Protocol):
    """A source of files that have to be fetched first.

    All methods raise ``core.errors.NotFound`` for a file that there is none of, and any other error of
    ``core.errors`` for what may be better later.
    """

    def session(self) -> AbstractContextManager["RemoteSession"]:
        """Something to ask, for one thread."""
        ...


class RemoteSession(Protocol):
    """A connection to a remote source."""

    def status(self, identifier: str) -> Status:
        """What and where the file is."""
        ...

    def stage(self, identifier: str) -> None:
        """Ask for a file on tape to be brought to disk."""
        ...

    def open(self, identifier: str, size: int) -> AbstractContextManager[BinaryIO]:
        """The bytes; the stream ends where the file does, and raises if it ends before."""
        ...


def _all() -> dict[str, Source]:
    found: dict[str, Source] = {}
    for sources in cast(Iterator[Mapping[str, Source]], current_site().hooks.hook.cart_sources()):
        found |= sources
    return found


def find_source(name: str) -> Source | None:
    """The source of that name on this site."""
    return _all().get(name)


def source_names() -> list[str]:
    """The names of all sources of this site."""
    return sorted(_all())
