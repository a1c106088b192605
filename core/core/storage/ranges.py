"""Byte ranges: what a ``Range`` header asks for, and a file that ends where a range does."""

import io
import re

__all__ = ["FilePart", "Unsatisfiable", "parse_range"]

_RANGE = re.compile(r"bytes[ \t]*=[ \t]*(?:([0-9]+)-([0-9]*)|-([0-9]+))[ \t]*", re.IGNORECASE)


class Unsatisfiable(ValueError):
    """The range lies wholly outside the bytes; HTTP answers 416."""


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Where the single range of ``header`` starts and, exclusively, stops in ``size`` bytes.

    None means "send everything": no header, an unknown unit, not a range (RFC 9110, 14.2: ignore it),
    several ranges (which a server may refuse to cut), or an empty blob, of which everything is the
    only part there is.

    :raises Unsatisfiable: if no byte of the blob is in the range.
    """
    match = _RANGE.fullmatch(header.strip()) if header and size else None
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        start, stop = max(0, size - _number(suffix)), size
    else:
        start, stop = _number(first), size if not last else _number(last) + 1
        if start >= stop and last:
            # "bytes=5-2" is no range at all; "bytes=5-" of three bytes is one that lies outside.
            return None
    if start >= size:
        raise Unsatisfiable
    return start, min(stop, size)


def _number(digits: str) -> int:
    """A number from a stranger: beyond 18 digits it only needs to be larger than any blob."""
    return int(digits) if len(digits) <= 18 else 10**18


class FilePart(io.RawIOBase):
    """The bytes ``start`` to ``stop`` of an open file, as a file that ends there. Closes the file.

    It has the file's descriptor, standing at ``start``, so a server may use ``sendfile``; such a server
    must take the length from ``Content-Length``, since the descriptor knows nothing of ``stop``.
    """

    def __init__(self, file: io.FileIO, start: int = 0, stop: int | None = None) -> None:
        self._file = file
        self._left = -1 if stop is None else max(0, stop - start)
        if start:
            file.seek(start)

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes. Straight from the file: what it inherits would copy them once more."""
        if self._left < 0:
            return self._file.read(size)
        piece = self._file.read(self._left if size is None or size < 0 else min(size, self._left))
        self._left -= len(piece)
        return piece

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if self._left >= 0:
            buffer = memoryview(buffer)[: self._left]
        count = self._file.readinto(buffer)
        if self._left >= 0:
            self._left -= count
        return count

    def seek(self, offset: int, whence: int = 0) -> int:
        """Note where a server that used the descriptor got to, in the descriptor's own terms."""
        return self._file.seek(offset, whence)

    def close(self) -> None:
        self._file.close()
        super().close()
