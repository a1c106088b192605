"""A cart as a bag (BagIt, RFC 8493): the files below ``data/``, with their SHA-256 beside them.

No framework, no database.
"""

import zlib
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache, reduce

from cart.bundle import Entries, Extra
from cart.pieces import Pieces, Read
from cart.sums import Sums
from cart.table import Table

__all__ = ["make_bag"]

_DECLARATION = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
_FOLDER = b"data/"


def make_bag(
    table: Table, read: Read, top: str, *, uid: str, ready_at: datetime, sums: Sums | None = None
) -> Entries:
    """The files of a bag.

    The manifest is never held: its length follows from the paths, a part of it is found by writing it again.

    :param read: as in :class:`cart.bundle.Entries`.
    :param uid: of the cart; becomes the external identifier.
    :param ready_at: when the cart became ready; dates the bag.
    :param sums: with digests; for a table that is not complete. The manifest comes after what it tells of.
    """
    mtime = int(ready_at.timestamp())
    info = (
        f"Bagging-Date: {ready_at:%Y-%m-%d}\n"
        f"External-Identifier: {uid}\n"
        f"Payload-Oxum: {table.total_bytes}.{len(table)}\n"
    )

    def manifest() -> Iterator[bytes]:
        for index, member in enumerate(table.members(0)):
            digest = member.sha256 if sums is None else member.sha256 or sums.sha256(index)
            yield digest.hex().encode() + _behind_digest(member.path)

    size = sum(64 + len(_behind_digest(member.path)) for member in table.members(0))
    before = (_extra(b"bag-info.txt", info.encode(), mtime), _extra(b"bagit.txt", _DECLARATION, mtime))
    after = (_made(b"manifest-sha256.txt", size, mtime, manifest),)
    return Entries(table, read, top, _FOLDER, before, after, sums)


def _behind_digest(path: bytes) -> bytes:
    """The rest of a line of the manifest, without the three characters that would break it or look so."""
    path = path.replace(b"%", b"%25").replace(b"\n", b"%0A").replace(b"\r", b"%0D")
    return b"  %b%b\n" % (_FOLDER, path)


def _extra(name: bytes, data: bytes, mtime: int) -> Extra:
    return _made(name, len(data), mtime, lambda: iter((data,)))


def _made(name: bytes, size: int, mtime: int, make: Callable[[], Iterator[bytes]]) -> Extra:
    def read(start: int, stop: int) -> Pieces:
        at = 0
        for piece in make():
            if wanted := piece[max(0, start - at) : max(0, stop - at)]:
                yield wanted
            at += len(piece)
            if at >= stop:
                return

    @cache
    def crc32() -> int:
        return reduce(lambda value, piece: zlib.crc32(piece, value), make(), 0)

    return Extra(name, size, mtime, crc32, read)
