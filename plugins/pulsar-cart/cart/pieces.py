"""What downloads consist of: bytes, and stretches of open files that the kernel can send by itself.

No framework, no database.
"""

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Final

__all__ = ["PIECE_BYTES", "BrokenBundle", "Piece", "Pieces", "Read", "Stretch", "as_bytes"]

# What is read or handed to the server at once. Less costs calls. More than 128 KiB costs more than it saves:
# the C library then asks the kernel for fresh memory each time, which was half of the CPU.
PIECE_BYTES: Final = 120 * 2**10


class BrokenBundle(Exception):
    """A file is not as long as was promised, so that the bundle cannot be completed."""


class Stretch:
    """Bytes of an open file; good until the next piece is asked for. Its length is what it promises.

    :param descriptor: of the file, whose own position does not matter.
    :param start: where they begin.
    """

    __slots__ = ("descriptor", "size", "start")

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self.descriptor = descriptor
        self.start = start
        self.size = size

    def __len__(self) -> int:
        return self.size


Piece = bytes | Stretch
Pieces = Generator[Piece, None, None]
Read = Callable[[int, int, int], Iterable[Piece]]  # of a file, by its number: bytes from, up to


def as_bytes(pieces: Iterable[Piece]) -> Iterator[bytes]:
    """All of it as bytes, at most :data:`PIECE_BYTES` of a file at once.

    :raises BrokenBundle: a file has become shorter.
    """
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        start, left = piece.start, piece.size
        while left:
            data = os.pread(piece.descriptor, min(left, PIECE_BYTES), start)
            if not data:
                raise BrokenBundle("a file has fewer bytes than were promised")
            yield data
            start, left = start + len(data), left - len(data)
