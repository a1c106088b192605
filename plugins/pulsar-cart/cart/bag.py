"""A cart as a bag (BagIt, RFC 8493): the files below ``data/``, with their SHA-256 beside them.

No framework, no database.
"""

import zlib
from collections.abc import Callable, Iterator
from datetime import datetime

from cart.bundle import Entries, Extra, Read
from cart.pieces import Pieces
from cart.table import Table

__all__ = ["make_bag"]

_DECLARATION = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
_FOLDER = b"data/"


def make_bag(table: Table, read: Read, top: str, *, uid: str, ready_at: datetime) -> Entries:
    """The files of a bag. The table must be complete.

    The manifest is never held: its length is found by writing it once, and a part of it by writing it again.

    :param read: as in :class:`cart.bundle.Entries`.
    :param uid: of the cart; becomes the external identifier.
    :param ready_at: when the cart became ready; dates the bag.
    """
    mtime = int(ready_at.timestamp())
    info = (
        f"Bagging-Date: {ready_at:%Y-%m-%d}\n"
        f"External-Identifier: {uid}\n"
        f"Payload-Oxum: {table.total_bytes}.{len(table)}\n"
    )

    def manifest() -> Iterator[bytes]:
        return _manifest(table)

    before = (
        _extra(b"bag-info.txt", lambda: iter((info.encode(),)), mtime),
        _extra(b"bagit.txt", lambda: iter((_DECLARATION,)), mtime),
    )
    after = (_extra(b"manifest-sha256.txt", manifest, mtime),)
    return Entries(table, read, top, _FOLDER, before, after)


def _manifest(table: Table) -> Iterator[bytes]:
    for member in table.members(0):
        # The three characters that would break a line, or be taken for such a one.
        path = member.path.replace(b"%", b"%25").replace(b"\n", b"%0A").replace(b"\r", b"%0D")
        yield b"%b  %b%b\n" % (member.sha256.hex().encode(), _FOLDER, path)


def _extra(name: bytes, make: Callable[[], Iterator[bytes]], mtime: int) -> Extra:
    size = crc32 = 0
    for piece in make():
        size += len(piece)
        crc32 = zlib.crc32(piece, crc32)

    def read(start: int, stop: int) -> Pieces:
        at = 0
        for piece in make():
            if wanted := piece[max(0, start - at) : max(0, stop - at)]:
                yield wanted
            at += len(piece)
            if at >= stop:
                return

    return Extra(name, size, mtime, crc32, read)
