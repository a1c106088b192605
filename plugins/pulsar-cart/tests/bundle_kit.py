"""Carts for tests of bundles: members with their bytes in memory, or with bytes that nobody could store."""

import hashlib
import io
import zlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from hypothesis import settings

from cart.bundle import Entries
from cart.pieces import Pieces
from cart.table import Member, Table, write_table

# A busy machine is slow at times, and a hundred examples find here what fifty do.
cheap = settings(deadline=None, max_examples=50)

MTIME = 1_600_000_000


def member(path: str, data: bytes, mtime: int = MTIME) -> Member:
    return Member(path.encode(), len(data), mtime, zlib.crc32(data), hashlib.sha256(data).digest())


def table_of(members: Iterable[Member]) -> Table:
    """A table as it is read from a file."""
    out = io.BytesIO()
    write_table(sorted(members), out)
    data = out.getvalue()
    return Table(lambda start, stop: data[start:stop], len(data))


def late(one: Member) -> Member:
    """The same, as one that nobody has read yet."""
    return one._replace(crc32=0, sha256=b"", place=b"there")


class Files:
    """Reads contents by the path of their member; counts what is open.

    :param unread: paths of those whose checksums are not known.
    """

    def __init__(
        self,
        contents: Mapping[str, bytes],
        mtimes: Mapping[str, int] | None = None,
        unread: Collection[str] = (),
    ) -> None:
        self.contents = {path.encode(): data for path, data in contents.items()}
        times = mtimes or {}
        members = {path: member(path, data, times.get(path, MTIME)) for path, data in contents.items()}
        self.table = table_of(late(one) if path in unread else one for path, one in members.items())
        self.opened = self.open = self.most_open = 0

    def read(self, index: int, start: int, stop: int) -> Pieces:
        data = self.contents[self.table.member(index).path]
        self.opened += 1
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            for at in range(start, stop, 1000):
                yield data[at : min(at + 1000, stop)]
        finally:
            self.open -= 1

    def entries(self, top: str = "data", **options: Any) -> Entries:
        return Entries(self.table, self.read, top, **options)


def zeros(index: int, start: int, stop: int) -> Pieces:
    """Contents of any size."""
    piece = bytes(2**20)
    while start < stop:
        yield piece[: stop - start]
        start += len(piece)
