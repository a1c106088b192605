"""The bytes of the members of a table, from the store or in place, while a bundle is sent.

It needs an app context, and takes a connection to the database for moments only: a download may take hours.
"""

import os
from collections.abc import Iterable
from typing import BinaryIO, Final, Self, cast

from cart.pieces import PIECE_BYTES, Piece, Pieces, Stretch
from cart.services.local import open_local
from cart.sources import LocalSource, find_source
from cart.table import Member, Table
from core import storage
from core.db import db
from core.errors import NotFound
from core.storage import Place

__all__ = ["Reader", "iter_pieces", "open_member"]

FEW: Final = 16 * 2**10  # B, below which a call of the kernel for them alone costs more than to copy them
AHEAD: Final = 256  # blobs that are looked for with one statement


class Reader:
    """Reads members in any order; cheapest in theirs. A context manager, and not for two threads at once.

    One file is open at a time, until another one is wanted: small blobs lie together in one.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._store = storage.store()
        self._sources: dict[str, LocalSource] = {}
        self._places: dict[int, Place] = {}
        self._file: BinaryIO | None = None
        self._pack = ""  # of what blobs the open file is, if it is one of many

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._pack = None, ""

    def read(self, index: int, start: int, stop: int) -> Iterable[Piece]:
        """The bytes ``start`` to ``stop`` (exclusive) of a member; good until the next call.

        :raises NotFound: it is not there any more, or has changed.
        """
        place = self._places.get(index)
        if place is None:
            member = self._table.member(index)
            if member.place:
                file = self._keep(self._open_local(member))
                return (stretch(file.fileno(), start, stop - start),)
            place = self._look(index)
        try:
            return self._read_place(place, start, stop)
        except NotFound:  # the sweep may have moved it after we asked where it is
            return self._read_place(self._look(index), start, stop)

    def check(self, index: int) -> None:
        """Look once more at a member that was read in place.

        :raises NotFound: it is not there any more, or has changed.
        """
        self._open_local(self._table.member(index)).close()

    def _read_place(self, place: Place, start: int, stop: int) -> Iterable[Piece]:
        if self._file is None or place.name != self._pack:
            file = self._keep(self._store.open_place(place, start, stop))
            if _descriptor(file) is None:
                return iter_pieces(file, stop - start)
            self._pack = place.name if place.is_packed else ""
        assert self._file is not None
        return (stretch(self._file.fileno(), place.start + start, stop - start),)

    def _keep(self, file: BinaryIO) -> BinaryIO:
        self.__exit__()
        self._file = file
        return file

    def _look(self, first: int) -> Place:
        """Where a blob is, and those that follow it up to the next local file."""
        digests = {}
        for index in range(first, min(first + AHEAD, len(self._table))):
            member = self._table.member(index)
            if member.place:
                break
            digests[index] = member.sha256.hex()
        found = self._store.find_places(digests.values())
        db.session.rollback()
        self._places = {index: found[digest] for index, digest in digests.items() if digest in found}
        if first not in self._places:
            raise NotFound("not available")
        return self._places[first]

    def _open_local(self, member: Member) -> BinaryIO:
        name, _, identifier = member.place.decode().partition("\0")
        source = self._sources.get(name)
        if source is None:
            source = self._sources[name] = _local_source(name)
        return open_local(source, identifier, member.size, member.mtime)


def open_member(member: Member, start: int) -> BinaryIO:
    """A member from ``start`` on; the caller closes it.

    :raises NotFound: it is not there any more, or has changed.
    """
    if member.place:
        name, _, identifier = member.place.decode().partition("\0")
        stream = open_local(_local_source(name), identifier, member.size, member.mtime)
        stream.seek(start)
    else:
        stream = storage.store().open(member.sha256.hex(), start, member.size)
        db.session.rollback()
    return stream


def iter_pieces(stream: BinaryIO, count: int) -> Pieces:
    """The next ``count`` bytes of a stream, which is closed then; fewer if it ends before."""
    with stream:
        descriptor = _descriptor(stream)
        if descriptor is not None:
            yield stretch(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR), count)
            return
        while count and (piece := stream.read(min(count, PIECE_BYTES))):
            yield piece
            count -= len(piece)


def stretch(descriptor: int, start: int, count: int) -> Piece:
    """Bytes of an open file; read now if they are few, so that those of several files are sent together."""
    return os.pread(descriptor, count, start) if count < FEW else Stretch(descriptor, start, count)


def _descriptor(stream: BinaryIO) -> int | None:
    """Of the file that a stream reads, if it is one of this machine."""
    try:
        return stream.fileno()
    except OSError:
        return None


def _local_source(name: str) -> LocalSource:
    source = find_source(name)
    if source is None:
        raise NotFound("not available")
    return cast(LocalSource, source)
