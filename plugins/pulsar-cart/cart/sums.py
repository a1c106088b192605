"""Checksums of files that nobody has read yet, computed while their bytes pass. No framework, no database."""

import hashlib
import zlib
from array import array
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Final

from cart.pieces import Piece, Pieces, Read, as_bytes
from cart.table import Table

__all__ = ["Sums"]

_DIGEST: Final = 32  # bytes of a SHA-256
_OF_NOTHING: Final = hashlib.sha256().digest()


class Sums:
    """What is found of the *late* members of a table: those whose checksums it does not have.

    They have to pass once and whole, in any order. Memory: 9 bytes for each member; 41 with digests.

    :param check: is called with the number of a late member when all of it has passed; raises if it changed
        on the way.
    :param digests: whether the SHA-256 is wanted, which costs more than all else that is done with a byte.
    """

    def __init__(
        self, table: Table, check: Callable[[int], None] = lambda _: None, *, digests: bool = False
    ) -> None:
        self._table = table
        self._check = check
        self._late = array("I", accumulate(table.unread(), initial=0))
        self._passed = bytearray(len(table))
        self._crc32 = array("I", [0]) * len(table)
        self._sha256 = bytearray(_DIGEST * len(table)) if digests else None

    def late_before(self, index: int) -> int:
        """How many late members are before one."""
        return self._late[index]

    def crc32(self, index: int) -> int:
        """Of a late member.

        :raises ValueError: it has not passed.
        """
        self._require(index)
        return self._crc32[index]

    def sha256(self, index: int) -> bytes:
        """Of a late member.

        :raises ValueError: it has not passed, or digests were not wanted.
        """
        if self._sha256 is None:
            raise ValueError("no digests were wanted")
        self._require(index)
        if not self._table.size(index):
            return _OF_NOTHING
        return bytes(self._sha256[index * _DIGEST : (index + 1) * _DIGEST])

    def passing(self, read: Read) -> Read:
        """``read``, with an eye on what passes."""

        def watched(index: int, start: int, stop: int) -> Iterable[Piece]:
            if self._late[index] == self._late[index + 1]:
                return read(index, start, stop)
            if start or stop != self._table.size(index):
                raise ValueError("a file whose checksums are not known is read as a whole")
            return self._pass(index, read(index, start, stop))

        return watched

    def _pass(self, index: int, source: Iterable[Piece]) -> Pieces:
        crc32, sha256 = 0, hashlib.sha256()
        for piece in as_bytes(source):
            crc32 = zlib.crc32(piece, crc32)
            if self._sha256 is not None:
                sha256.update(piece)
            yield piece
        self._check(index)
        self._crc32[index] = crc32
        if self._sha256 is not None:
            self._sha256[index * _DIGEST : (index + 1) * _DIGEST] = sha256.digest()
        self._passed[index] = True

    def _require(self, index: int) -> None:
        # Of an empty file there is nothing to read.
        if not self._passed[index] and self._table.size(index):
            raise ValueError("its bytes have not passed yet")
