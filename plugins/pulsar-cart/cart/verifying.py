"""A stream that is what it should be, or fails at its end."""

import io
from collections.abc import Callable
from typing import Any, BinaryIO

from cart import hashes
from core.errors import Unavailable

__all__ = ["Mismatch", "Verified", "digest_of"]

PIECE = 2**20  # B


class Mismatch(Exception):
    """File hash does not match provided hash"""

    def __init__(self) -> None:
        super().__init__("File hash does not match provided hash")


class Verified(io.RawIOBase):
    """Hands ``source`` on, hashing on the way.

    :param hashsum: lower-case hex; empty: whatever the bytes are will do.
    :param check: called for each piece; raises to end it.
    :raises Mismatch: from the read that finds the end, if the digest is another one.
    """

    def __init__(
        self, source: BinaryIO, hashtype: str, hashsum: str, check: Callable[[], None] = lambda: None
    ) -> None:
        self._source: Any = source
        self._hash = hashes.start(hashtype) if hashsum else None
        self._expected = hashsum
        self._check = check

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._check()
        view = memoryview(buffer)
        count: int = self._source.readinto(view)
        if self._hash is not None:
            self._hash.update(view[:count])
            if not count and len(view) and self._hash.hexdigest() != self._expected:
                raise Mismatch
        return count

    def read_exactly(self, size: int) -> bytes:
        """All of it, in as few pieces as it comes in; ``read`` takes 8 KiB at a time.

        :raises Unavailable: if it does not have so many bytes.
        """
        data = b""
        while piece := self.read(size + 1 - len(data)):
            data += piece
        if len(data) != size:
            raise Unavailable(f"the source sent {'more' if len(data) > size else 'less'} than {size} bytes")
        return data


def digest_of(source: BinaryIO, hashtype: str, hashsum: str, check: Callable[[], None] = lambda: None) -> int:
    """Read ``source`` to its end; how many bytes there were.

    :raises Mismatch: if they do not have this digest.
    """
    stream = Verified(source, hashtype, hashsum, check)
    view = memoryview(bytearray(PIECE))
    size = 0
    while count := stream.readinto(view):
        size += count
    return size
