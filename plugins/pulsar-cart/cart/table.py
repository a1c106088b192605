"""What is in a cart that is ready, as one file: enough to compose a bundle, or any part of it, at once.

A hundred thousand rows of a database take longer to read than a client should wait for the first byte. So
they are read once, when the cart is ready, and written down in the order of the bundle, with running sums
that tell where any member begins. No framework, no database.

    paths, one behind the other
    places, one behind the other
    a record for each member: SHA-256, CRC-32, mtime, where its place begins, bytes of it
    bytes of paths, of contents, of contents rounded up to 512, before each member and after the last
    the odd ones: number, room, bytes of path, mtime, size
    footer: mark, number of members, bytes of paths, bytes of places, number of odd ones, whether complete

Numbers are little-endian. With 100,000 members and short paths it has some 11 MB, of which 2.4 MB are held.
"""

import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from operator import sub
from struct import Struct
from typing import BinaryIO, Final, NamedTuple

__all__ = ["BadTable", "Member", "Odd", "Table", "ustar_room", "write_table"]

BLOCK: Final = 512  # bytes; all lengths in a tar are multiples of it
USTAR_MTIME: Final = 8**11  # s after 1970, exclusive; the field has eleven octal digits
USTAR_ROOM: Final = 156  # bytes before the last 100 of a name: a prefix of 155 and the slash behind it
USTAR_SIZE: Final = 8**11  # bytes, exclusive; likewise
ZIP_SIZE: Final = 2**32 - 1  # bytes, exclusive; in a zip without ZIP64

_MARK: Final = b"pulcart1"
_RECORD: Final = Struct("<32sIqQH")
_ODD: Final = Struct("<IhHqQ")
_FOOTER: Final = Struct("<8sQQQQ?")
_UNKNOWN: Final = bytes(32)
_WINDOW: Final = 256  # members that are looked up with one read; 1 MiB if all have the longest paths


class BadTable(ValueError):
    """The bytes are not those of a table."""


class Member(NamedTuple):
    """One file of a cart.

    :param path: in UTF-8, as :func:`cart.paths.clean_path` returns it.
    :param size: bytes.
    :param mtime: whole seconds since 1970; negative before.
    :param crc32: as in zip; means nothing if ``sha256`` is empty.
    :param sha256: 32 bytes, or empty if nobody has read the file yet.
    :param place: where the bytes are, in words of whoever reads them; empty for a blob of the site.
    """

    path: bytes
    size: int
    mtime: int
    crc32: int = 0
    sha256: bytes = b""
    place: bytes = b""


class Odd(NamedTuple):
    """A member that does not, or may not, fit the plain fields of an archive. Units are those of ``Member``.

    :param room: see :func:`ustar_room`.
    """

    number: int
    room: int
    path_bytes: int
    mtime: int
    size: int


def ustar_room(path: bytes) -> int:
    """How many bytes may stand before ``path``, the slash included, so that a ustar header holds it all.

    The header has 100 bytes for the end of a name and 155 for what is before one of its slashes. A path
    that never fits gives -1; so does one that is not ASCII, whose characters a ustar header does not define.
    """
    if not path.isascii():
        return -1
    if len(path) <= 100:
        return USTAR_ROOM
    cut = path.find(b"/", len(path) - 101)
    return -1 if cut < 0 else max(-1, USTAR_ROOM - 1 - cut)


def write_table(members: Iterable[Member], out: BinaryIO) -> None:
    """Write the table of ``members`` to ``out``, which nothing has to be before.

    :param members: in byte order of their paths. Memory: 80 bytes for each, and their places.
    :raises ValueError: if they are not in order, or a path comes twice.
    """
    paths, sizes, blocks = array("Q", [0]), array("Q", [0]), array("Q", [0])
    records, places, odd = bytearray(), bytearray(), bytearray()
    complete = True
    last = b""
    for index, one in enumerate(members):
        if one.path <= last:
            raise ValueError(f"the members are not in order: {one.path!r} after {last!r}")
        last = one.path
        out.write(one.path)
        paths.append(paths[-1] + len(one.path))
        sizes.append(sizes[-1] + one.size)
        blocks.append(blocks[-1] + one.size + -one.size % BLOCK)
        place = len(places), len(one.place)
        records += _RECORD.pack(one.sha256 or _UNKNOWN, one.crc32, one.mtime, *place)
        places += one.place
        complete &= bool(one.sha256)
        room = ustar_room(one.path)
        if room < USTAR_ROOM or one.size >= ZIP_SIZE or not 0 <= one.mtime < USTAR_MTIME:
            odd += _ODD.pack(index, room, len(one.path), one.mtime, one.size)
    out.write(places + records)
    for column in (paths, sizes, blocks):
        out.write(_little(column).tobytes())
    out.write(odd)
    out.write(_FOOTER.pack(_MARK, len(paths) - 1, paths[-1], len(places), len(odd) // _ODD.size, complete))


class Table:
    """Reads what :func:`write_table` wrote. Not for two threads at once.

    Memory: 24 bytes for each member, 24 for each odd one, and a window of some hundred members.

    :param read: gives the bytes ``start`` to ``stop`` (exclusive) of the table.
    :param size: bytes of the table.
    :raises BadTable: if it is none.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        footer = read(size - _FOOTER.size, size) if size >= _FOOTER.size else b""
        if not footer.startswith(_MARK):
            raise BadTable("this is not the table of a cart")
        _, count, path_bytes, place_bytes, odd, complete = _FOOTER.unpack(footer)
        self._count: int = count
        #: Whether all digests are known.
        self.complete: bool = complete
        self._places = path_bytes
        self._records = path_bytes + place_bytes
        start = self._records + self._count * _RECORD.size
        length = (self._count + 1) * 8
        if start + 3 * length + odd * _ODD.size + _FOOTER.size != size:
            raise BadTable("the table of the cart is not whole")
        columns = self._exactly(start, size - _FOOTER.size)
        self._paths, self._sizes, self._blocks = (
            _little(array("Q", columns[at : at + length])) for at in range(0, 3 * length, length)
        )
        self._odd = columns[3 * length :]
        self._first, self._window = 0, list[Member]()

    def __len__(self) -> int:
        return self._count

    @property
    def total_bytes(self) -> int:
        """Of all contents."""
        return self._sizes[-1]

    def paths_before(self, index: int) -> int:
        """Bytes of all paths before a member; with ``len(table)``, of all."""
        return self._paths[index]

    def sizes_before(self, index: int) -> int:
        """Bytes of all contents before a member."""
        return self._sizes[index]

    def blocks_before(self, index: int) -> int:
        """The same, each content rounded up to 512 bytes."""
        return self._blocks[index]

    def size(self, index: int) -> int:
        """Bytes of one content."""
        return self._sizes[index + 1] - self._sizes[index]

    def unread(self) -> Iterator[bool]:
        """Of each member, whether nobody has read it yet, so that its checksums are not known."""
        for first in range(0, self._count, 16 * _WINDOW):
            stop = min(first + 16 * _WINDOW, self._count)
            start = self._records + first * _RECORD.size
            records = self._exactly(start, start + (stop - first) * _RECORD.size)
            yield from (sha256 == _UNKNOWN for sha256, *_ in _RECORD.iter_unpack(records))

    def path_lengths(self) -> Iterator[int]:
        """Bytes of each path."""
        return map(sub, self._paths[1:], self._paths)

    def odd(self) -> Iterator[Odd]:
        """The odd ones, in order."""
        return map(Odd._make, _ODD.iter_unpack(self._odd))

    def member(self, index: int) -> Member:
        """One member. Cheap for those who ask in order: a window of them is read at once.

        :raises IndexError: if there is none.
        """
        if not 0 <= index < self._count:
            raise IndexError(index)
        if not self._first <= index < self._first + len(self._window):
            self._first, self._window = index, self._look(index)
        return self._window[index - self._first]

    def members(self, first: int) -> Iterator[Member]:
        """The members from ``first`` on."""
        while first < self._count:
            self._first, self._window = first, self._look(first)
            first += len(self._window)
            yield from self._window

    def _exactly(self, start: int, stop: int) -> bytes:
        data = self._read(start, stop)
        if len(data) != stop - start:
            raise BadTable("the table of the cart is not whole")
        return data

    def _look(self, first: int) -> list[Member]:
        stop = min(first + _WINDOW, self._count)
        records = self._exactly(self._records + first * _RECORD.size, self._records + stop * _RECORD.size)
        ends, sizes = self._paths[first : stop + 1], self._sizes[first : stop + 1]
        paths = self._exactly(ends[0], ends[-1])
        *_, places_start, _ = _RECORD.unpack_from(records)
        *_, last_start, last_bytes = _RECORD.unpack_from(records, len(records) - _RECORD.size)
        places = b""
        if last_start + last_bytes > places_start:
            places = self._exactly(self._places + places_start, self._places + last_start + last_bytes)
        found = []
        path = size = 0
        for record, path_end, size_end in zip(_RECORD.iter_unpack(records), ends[1:], sizes[1:], strict=True):
            sha256, crc32, mtime, start, length = record
            start -= places_start
            found.append(
                Member(
                    paths[path : path_end - ends[0]],
                    size_end - sizes[0] - size,
                    mtime,
                    crc32,
                    b"" if sha256 == _UNKNOWN else sha256,
                    places[start : start + length],
                )
            )
            path, size = path_end - ends[0], size_end - sizes[0]
        return found


def _little(numbers: "array[int]") -> "array[int]":
    """From or to the order of bytes in the file."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
