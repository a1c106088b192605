"""One pass over bytes, every digest the site keeps: SHA-256, BLAKE3 and CRC-32.

SHA-256 is a blob's identity, BLAKE3 finds rot at a tenth of the price where SHA-256 has no help from the
processor, CRC-32 is what a zip wants to know in advance. No framework, no database.
"""

import hashlib
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import blake3

__all__ = ["PIECE_BYTES", "Digests", "Hasher", "digest_of", "digest_of_bytes", "pieces"]

# A piece is hashed three times and written once while it lies near the processor. From files 256 KiB to 1 MiB
# cost the same and less or more costs extra; from gunicorn's sockets, which copy what is left over, 1 MiB a
# tenth less than 256 KiB.
PIECE_BYTES = 1024 * 1024


class Digests(NamedTuple):
    """What is known of bytes that were read to their end. A tuple, because making a dataclass costs as much
    as a third of the hashing of 4 KiB.

    :param sha256: lower-case hex, 64 characters; the identity.
    :param blake3: lower-case hex, 64 characters.
    :param crc32: as in zip and gzip, 0 to 2**32 - 1.
    :param size: bytes.
    """

    sha256: str
    blake3: str
    crc32: int
    size: int


class Hasher:
    """Takes bytes piece by piece, gives :class:`Digests`."""

    __slots__ = ("_blake3", "_crc32", "_sha256", "size")

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._blake3 = blake3.blake3()
        self._crc32 = 0
        self.size = 0

    def update(self, piece: bytes | memoryview) -> None:
        """Add ``piece``. All three release the interpreter's lock for pieces of this size."""
        self._sha256.update(piece)
        self._blake3.update(piece)
        self._crc32 = zlib.crc32(piece, self._crc32)
        self.size += len(piece)

    def digests(self) -> Digests:
        """The digests of everything added so far."""
        return Digests(self._sha256.hexdigest(), self._blake3.hexdigest(), self._crc32, self.size)


def digest_of(stream: BinaryIO) -> Digests:
    """Read ``stream`` to its end. Memory: one piece."""
    hasher = Hasher()
    for piece in pieces(stream):
        hasher.update(piece)
    return hasher.digests()


def digest_of_bytes(data: bytes) -> Digests:
    """The digests of what is in memory; for 4 KiB half the price of a :class:`Hasher`."""
    return Digests(
        hashlib.sha256(data).hexdigest(), blake3.blake3(data).hexdigest(), zlib.crc32(data), len(data)
    )


def pieces(stream: BinaryIO, size: int = PIECE_BYTES) -> Iterator[bytes | memoryview]:
    """Cut ``stream`` into pieces of at most ``size`` bytes, none of them empty.

    A piece may be a view of a buffer that is filled again for the next one: use it, do not keep it.
    """
    readinto = getattr(stream, "readinto", None)
    if readinto is None:
        while piece := stream.read(size):
            yield piece
        return
    view = memoryview(bytearray(size))
    while count := readinto(view):
        yield view[:count]
