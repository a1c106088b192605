"""The bytes of the members of a table, from the store or in place, while a bundle is sent.

It needs an app context, and takes a connection to the database for moments only: a download may take hours.
"""

import os
from collections.abc import Iterable
from typing import BinaryIO, Final, Self, cast

from cart.bundle import PIECE_BYTES, Pieces
from cart.services.local import open_local
from cart.sources import LocalSource, find_source
from cart.table import Member, Table
from core import storage
from core.db import db
from core.errors import NotFound
from core.storage import Place

__all__ = ["Reader", "iter_pieces", "open_member"]

AHEAD: Final = 256  # blobs that are looked for with one statement


class Reader:
    """Reads members in any order; cheapest in theirs. A context manager, and not for two threads at once.

    Small blobs lie together in a file, mostly in another order. It stays open while it is the one that is
    wanted; that is the only file that is ever open beside the one that is being read.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._store = storage.store()
        self._sources: dict[str, LocalSource] = {}
        self._places: dict[int, Place] = {}
        self._pack: BinaryIO | None = None
        self._pack_name = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pack, self._pack, self._pack_name = self._pack, None, ""
        if pack is not None:
            pack.close()

    def read(self, index: int, start: int, stop: int) -> Iterable[bytes]:
        """The bytes ``start`` to ``stop`` (exclusive) of a member.

        :raises NotFound: it is not there any more, or has changed.
        """
        place = self._places.get(index)
        if place is None:
            member = self._table.member(index)
            if member.place:
                return _read(self._open_local(member, start), stop - start)
            place = self._look(index)
        try:
            return self._read_place(place, start, stop)
        except NotFound:  # the sweep may have moved it after we asked where it is
            return self._read_place(self._look(index), start, stop)

    def _read_place(self, place: Place, start: int, stop: int) -> Iterable[bytes]:
        is_in_pack = place.is_packed and stop - start <= PIECE_BYTES
        if is_in_pack and (place.name == self._pack_name or self._open_pack(place)):
            assert self._pack is not None
            return (os.pread(self._pack.fileno(), stop - start, place.start + start),)
        return _read(self._store.open_place(place, start, stop), stop - start)

    def _open_pack(self, place: Place) -> bool:
        """Whether the file of ``place`` is one of this machine, which is open then."""
        self.__exit__()
        pack = self._store.open_place(Place(place.name, 0, place.start + place.size))
        try:
            pack.fileno()
        except OSError:  # bytes that come from somewhere else
            pack.close()
            return False
        self._pack, self._pack_name = pack, place.name
        return True

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

    def _open_local(self, member: Member, start: int) -> BinaryIO:
        name, _, identifier = member.place.decode().partition("\0")
        if name not in self._sources:
            self._sources[name] = _local_source(name)
        return _open_at(self._sources[name], identifier, member, start)


def open_member(member: Member, start: int) -> BinaryIO:
    """A member from ``start`` on; the caller closes it.

    :raises NotFound: it is not there any more, or has changed.
    """
    if member.place:
        name, _, identifier = member.place.decode().partition("\0")
        return _open_at(_local_source(name), identifier, member, start)
    stream = storage.store().open(member.sha256.hex(), start, member.size)
    db.session.rollback()
    return stream


def _local_source(name: str) -> LocalSource:
    source = find_source(name)
    if source is None:
        raise NotFound("not available")
    return cast(LocalSource, source)


def _open_at(source: LocalSource, identifier: str, member: Member, start: int) -> BinaryIO:
    stream = open_local(source, identifier, member.size, member.mtime)
    if start:
        stream.seek(start)
    return stream


def _read(stream: BinaryIO, count: int) -> Iterable[bytes]:
    """What :func:`iter_pieces` gives; at once, if it is one piece."""
    if count > PIECE_BYTES:
        return iter_pieces(stream, count)
    with stream:
        piece = stream.read(count)
        if len(piece) == count:
            return (piece,)
        return [piece, *iter_pieces(stream, count - len(piece))]


def iter_pieces(stream: BinaryIO, count: int) -> Pieces:
    """The next ``count`` bytes of a stream, which is closed then; fewer if it ends before."""
    with stream:
        while count and (piece := stream.read(min(count, PIECE_BYTES))):
            yield piece
            count -= len(piece)
