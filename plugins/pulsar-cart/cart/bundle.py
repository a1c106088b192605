"""A tar or a zip of the files of a cart, composed while it is sent; any part as cheaply as the beginning.

The same table and the same name give the same bytes, always: nothing is kept on disk for a download, and a
broken one goes on where it stopped. The length is known before a byte is read. No framework, no database.

A bundle is a row of *parts*. A part is a head made here (for a tar the headers of a member), then the bytes
of at most one file, then zeros. Where each part begins follows from running sums of the table, so finding a
part is a search by halves.
"""

import time
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import cached_property, lru_cache
from itertools import accumulate, chain
from struct import Struct
from typing import Final, NamedTuple

from cart.table import BLOCK, USTAR_MTIME, USTAR_ROOM, USTAR_SIZE, ZIP_SIZE, Odd, Table, ustar_room

__all__ = ["PIECE_BYTES", "BrokenBundle", "Bundle", "Entries", "Extra", "Part", "Pieces", "Tar", "Zip"]

# What is handed to the server at once. Less costs calls, more costs memory and brings nothing.
PIECE_BYTES: Final = 256 * 2**10
_ZEROS: Final = bytes(12 * 2**10)  # the most that a part ends with: two blocks, then up to twenty

Pieces = Generator[bytes, None, None]


class BrokenBundle(Exception):
    """A file is not as long as was promised, so that the bundle cannot be completed."""


class Extra(NamedTuple):
    """A file that is made for the bundle.

    :param name: below the top folder.
    :param mtime: whole seconds since 1970.
    :param read: gives its bytes ``start`` to ``stop`` (exclusive).
    """

    name: bytes
    size: int
    mtime: int
    crc32: int
    read: Callable[[int, int], Pieces]


class Entry(NamedTuple):
    """One file of a bundle; its name there is ``prefix + path``."""

    prefix: bytes
    path: bytes
    size: int
    mtime: int
    crc32: int

    @property
    def name(self) -> bytes:
        return self.prefix + self.path


class Entries:
    """The files of a bundle in byte order of their names: those of a table, and extra ones around them.

    :param read: gives the bytes ``start`` to ``stop`` (exclusive) of a member of the table, by its index.
        It ends the bundle with whatever it raises. It is closed when nobody wants the rest.
    :param top: the first segment of every name.
    :param folder: what comes between it and the paths of the table, with its slash.
    :param before: extra files whose names are smaller than ``folder``; in order.
    :param after: those whose names are greater.
    """

    def __init__(
        self,
        table: Table,
        read: Callable[[int, int, int], Pieces],
        top: str,
        folder: bytes = b"",
        before: Sequence[Extra] = (),
        after: Sequence[Extra] = (),
    ) -> None:
        self._table = table
        self._read = read
        self._top = top.encode() + b"/"
        self._prefix = self._top + folder
        self._before = len(before)
        self._extras = (*before, *after)
        self._extra_sizes = _sums(one.size for one in self._extras)
        self._extra_blocks = _sums(one.size + -one.size % BLOCK for one in self._extras)
        self._extra_names = _sums(len(self._top) + len(one.name) for one in self._extras)

    def __len__(self) -> int:
        return len(self._table) + len(self._extras)

    def sizes_before(self, index: int) -> int:
        """Bytes of all files before one."""
        member, extra = self._count(index)
        return self._table.sizes_before(member) + self._extra_sizes[extra]

    def blocks_before(self, index: int) -> int:
        """The same, each rounded up to the blocks of a tar."""
        member, extra = self._count(index)
        return self._table.blocks_before(member) + self._extra_blocks[extra]

    def names_before(self, index: int) -> int:
        """Bytes of all names before one."""
        member, extra = self._count(index)
        return self._table.paths_before(member) + member * len(self._prefix) + self._extra_names[extra]

    @property
    def has_plain_names(self) -> bool:
        """Whether the name of a member that is not odd fits a ustar header; else none of them does."""
        return self._prefix.isascii() and len(self._prefix) <= USTAR_ROOM

    def name_lengths(self) -> Iterator[int]:
        """Bytes of each name."""
        extras = [len(self._top) + len(one.name) for one in self._extras]
        members = map(len(self._prefix).__add__, self._table.path_lengths())
        return chain(extras[: self._before], members, extras[self._before :])

    def odd(self) -> Iterator[Odd]:
        """Those that may not fit the plain fields of an archive, in order.

        ``path_bytes`` is the length of the whole name, ``room`` below zero if a ustar header cannot hold it.
        """
        yield from self._odd_extras(0, self._before)
        taken = len(self._prefix) if self._prefix.isascii() else USTAR_ROOM + 1
        for number, room, path_bytes, mtime, size in self._table.odd():
            name_bytes = path_bytes + len(self._prefix)
            yield Odd(number + self._before, room - taken, name_bytes, mtime, size)
        yield from self._odd_extras(self._before, len(self._extras))

    def iterate(self, first: int) -> Iterator[Entry]:
        """The files from ``first`` on."""
        member, extra = self._count(first)
        for one in self._extras[extra : self._before]:
            yield Entry(self._top, one.name, one.size, one.mtime, one.crc32)
        prefix = self._prefix
        for path, size, mtime, crc32, _, _ in self._table.members(member):
            yield Entry(prefix, path, size, mtime, crc32)
        for one in self._extras[max(extra, self._before) :]:
            yield Entry(self._top, one.name, one.size, one.mtime, one.crc32)

    def read(self, index: int, start: int, stop: int) -> Pieces:
        """Exactly the bytes ``start`` to ``stop`` of one file.

        :raises BrokenBundle: there are fewer, or more came.
        """
        left = stop - start
        member = index - self._before
        if 0 <= member < len(self._table):
            source = self._read(member, start, stop)
        else:
            source = self._extras[self._count(index)[1]].read(start, stop)
        with closing(source):
            for piece in source:
                left -= len(piece)
                if left < 0:
                    break
                yield piece
        if left:
            said = "fewer" if left > 0 else "more"
            raise BrokenBundle(f"{next(self.iterate(index)).name!r} has {said} bytes than were promised")

    def _count(self, index: int) -> tuple[int, int]:
        """How many members of the table, and how many extra files, are before ``index``."""
        member = min(max(index - self._before, 0), len(self._table))
        return member, index - member

    def _odd_extras(self, first: int, stop: int) -> Iterator[Odd]:
        for number in range(first, stop):
            one = self._extras[number]
            room = ustar_room(one.name) - len(self._top) if self._top.isascii() else -1
            index = number if number < self._before else number + len(self._table)
            yield Odd(index, room, len(self._top) + len(one.name), one.mtime, one.size)


class Part(NamedTuple):
    """What a bundle consists of: a head, the bytes of the file ``entry``, if any, and zeros."""

    head: bytes
    entry: int = -1
    size: int = 0
    zeros: int = 0


class Bundle(ABC):
    """An archive of :class:`Entries`. Not for two threads at once.

    :ivar total: bytes of the whole.
    """

    suffix: str
    total: int
    _count: int  # of parts; the last one ends at ``total``

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    def blocks(self, start: int = 0, stop: int | None = None) -> Pieces:
        """The bytes ``start`` to ``stop`` (exclusive; by default the end), in pieces of some 256 KiB.

        One file is open at a time, none when the generator is closed or has ended. Memory: two pieces.

        :raises BrokenBundle: a file has fewer or more bytes than promised; and whatever reading it raises.
            Then what was sent must not look complete.
        """
        held: list[bytes] = []
        size = 0
        with closing(self._pieces(start, self.total if stop is None else stop)) as pieces:
            for piece in pieces:
                held.append(piece)
                size += len(piece)
                if size >= PIECE_BYTES:
                    yield b"".join(held) if len(held) > 1 else piece
                    held, size = [], 0
        if held:
            yield b"".join(held)

    def _pieces(self, start: int, stop: int) -> Pieces:
        if start >= stop:
            return
        number = bisect_right(range(self._count), start, key=self._offset) - 1
        at = self._offset(number)
        for head, entry, size, zeros in self._parts(number):
            content = at + len(head)
            end = content + size
            following = end + zeros
            if start <= at and following <= stop:
                yield head
                if size:
                    yield from self._entries.read(entry, 0, size)
                if zeros:
                    yield _ZEROS[:zeros]
            else:
                yield head[max(0, start - at) : max(0, stop - at)]
                first, last = max(0, start - content), min(size, stop - content)
                if first < last:
                    yield from self._entries.read(entry, first, last)
                yield _ZEROS[: max(0, min(stop, following) - max(start, end))]
            at = following
            if at >= stop:
                return

    @abstractmethod
    def _offset(self, number: int) -> int:
        """Where a part begins; for ``_count``, the total."""

    @abstractmethod
    def _parts(self, first: int) -> Iterator[Part]:
        """The parts from ``first`` on; each begins at its offset."""


def _sums(numbers: Iterable[int]) -> "array[int]":
    """Running sums, from nothing to all."""
    return array("Q", accumulate(numbers, initial=0))


_RECORD: Final = 10240  # bytes; a tar is a multiple of it, as tapes had it and ``tar`` expects it
_ZERO: Final = b"0000000\x00"
_MODE_AND_OWNER: Final = b"0000644\x00" + _ZERO + _ZERO  # for everyone to read; root, without a name
_MIDDLE: Final = bytes(100) + b"ustar\x00" + b"00" + bytes(64) + _ZERO + _ZERO
_CONSTANT_SUM: Final = sum(_MODE_AND_OWNER) + sum(_MIDDLE) + 8 * ord(" ")


class Tar(Bundle):
    """An uncompressed POSIX tar (pax) in UTF-8, of regular files alone.

    Records of pax stand only before members whose name, size or time a plain header cannot hold.
    """

    suffix = ".tar"

    def __init__(self, entries: Entries) -> None:
        super().__init__(entries)
        self._count = len(entries) + 1
        odd = {
            one.number: _pax_bytes(one.path_bytes if one.room < 0 else 0, one.size, one.mtime)
            for one in entries.odd()
        }
        # Those that have an extended header, and bytes of these headers before each.
        self._pax_at: Sequence[int] = [number for number, count in odd.items() if count]
        counts = [odd[number] for number in self._pax_at]
        if not entries.has_plain_names:
            self._pax_at = range(len(entries))
            known = _PaxBytes()
            counts = [known[length] for length in entries.name_lengths()]
            for number, count in odd.items():
                counts[number] = count
        self._pax_before = _sums(counts)
        end = self._offset(len(entries)) + 2 * BLOCK
        self.total = end + -end % _RECORD

    def _offset(self, number: int) -> int:
        if number == self._count:
            return self.total
        pax = self._pax_before[bisect_left(self._pax_at, number)] if self._pax_at else 0
        return BLOCK * number + self._entries.blocks_before(number) + pax

    def _parts(self, first: int) -> Iterator[Part]:
        for number, entry in enumerate(self._entries.iterate(first), first):
            yield Part(_tar_head(entry), number, entry.size, -entry.size % BLOCK)
        yield Part(b"", zeros=self.total - self._offset(self._count - 1))


def _tar_head(entry: Entry) -> bytes:
    prefix, path, size, mtime, _ = entry
    name = prefix + path
    is_plain = size < USTAR_SIZE and 0 <= mtime < USTAR_MTIME
    if len(prefix) <= ustar_room(path) and prefix.isascii():
        pax = b"" if is_plain else _pax(b"", size, mtime)
        cut = -1 if len(name) <= 100 else name.find(b"/", len(name) - 101)
        prefix, name = name[: max(cut, 0)], name[cut + 1 :]
    else:
        pax = _pax(name, size, mtime)
        # For who does not know pax; a slash at the end would make it a folder.
        prefix, name = b"", name[:100].rstrip(b"/")
    if not is_plain:
        size, mtime = size if size < USTAR_SIZE else 0, mtime if 0 <= mtime < USTAR_MTIME else 0
    return pax + _header(name, prefix, size, mtime)


def _header(name: bytes, prefix: bytes, size: int, mtime: int, kind: bytes = b"0") -> bytes:
    """A ustar header, 512 bytes (POSIX.1-2017, pax, "ustar Header Block")."""
    numbers = b"%011o\x00%011o\x00" % (size, mtime)
    checksum = _CONSTANT_SUM + sum(name) + sum(prefix) + sum(numbers) + kind[0]
    return b"%b%b%b%06o\x00 %b%b%b" % (
        name.ljust(100, b"\x00"),
        _MODE_AND_OWNER,
        numbers,
        checksum,
        kind,
        _MIDDLE,
        prefix.ljust(155 + 12, b"\x00"),
    )


def _pax(name: bytes, size: int, mtime: int) -> bytes:
    """An extended header with what a plain one cannot hold."""
    records = _pax_records(name, size, mtime)
    return _header(b"././@PaxHeader", b"", len(records), 0, b"x") + records + bytes(-len(records) % BLOCK)


def _pax_records(name: bytes, size: int, mtime: int) -> bytes:
    """The records of what a plain header cannot hold; ``name`` is empty if it can hold that."""
    values = []
    if name:
        values.append(b" path=%s\n" % name)
    if size >= USTAR_SIZE:
        values.append(b" size=%d\n" % size)
    if not 0 <= mtime < USTAR_MTIME:
        values.append(b" mtime=%d\n" % mtime)
    return b"".join(b"%d%s" % (_record_bytes(len(value)), value) for value in values)


def _pax_bytes(name_bytes: int, size: int, mtime: int) -> int:
    """How many bytes :func:`_pax` has for a name of so many bytes; none without a record."""
    count = len(_pax_records(b"", size, mtime))
    if name_bytes:
        count += _record_bytes(name_bytes + len(" path=\n"))
    return BLOCK + count + -count % BLOCK if count else 0


class _PaxBytes(dict[int, int]):
    """The same for names alone, by their length."""

    def __missing__(self, name_bytes: int) -> int:
        self[name_bytes] = count = _pax_bytes(name_bytes, 0, 0)
        return count


def _record_bytes(rest: int) -> int:
    """Bytes of a record that begins with this very number, of which ``rest`` stand behind it."""
    return rest + len(str(rest + len(str(rest))))


_LOCAL: Final = Struct("<IHHHHHIIIHH")
_CENTRAL: Final = Struct("<IHHHHHHIIIHHHHHII")
_END_OF_CENTRAL: Final = Struct("<IHHHHIIH")
_ZIP64_END: Final = Struct("<IQHHIIQQQQ")
_ZIP64_LOCATOR: Final = Struct("<IIQI")
_TIME: Final = Struct("<HHBi")  # extra field 0x5455: seconds since 1970, where DOS has local time
_SIZES: Final = Struct("<HHQQ")  # extra field 1: sizes over 4 GiB
_LOCAL_BYTES: Final = _LOCAL.size + _TIME.size
_CENTRAL_BYTES: Final = _CENTRAL.size + _TIME.size
_UNIX: Final = 3 << 8  # made by
_REGULAR: Final = 0o100644 << 16  # the mode of a file, where Unix keeps it
_UTF8: Final = 1 << 11
_MANY: Final = 2**16 - 1  # entries, exclusive; in a zip without ZIP64


class Zip(Bundle):
    """A zip of stored files (APPNOTE.TXT 6.3), ZIP64 where it must be.

    Every CRC-32 is known beforehand, so nothing follows the bytes of a file and ranges are as exact as in a
    tar. The table must be complete.
    """

    suffix = ".zip"

    def __init__(self, entries: Entries) -> None:
        super().__init__(entries)
        self._files = len(entries)
        self._count = 2 * self._files + 1
        self._big = array("Q", (one.number for one in entries.odd() if one.size >= ZIP_SIZE))
        self._directory = self._offset(self._files)
        # From this file on, the beginning is beyond 4 GiB.
        self._far = bisect_left(range(self._files), ZIP_SIZE, key=self._offset)
        self.total = self._offset(self._count - 1) + len(self._end)

    def _offset(self, number: int) -> int:
        if number == self._count:
            return self.total
        index = number if number <= self._files else number - self._files
        names, big = self._entries.names_before(index), bisect_left(self._big, index)
        if number <= self._files:
            return self._entries.sizes_before(index) + names + index * _LOCAL_BYTES + big * _SIZES.size
        big_and_near = min(big, bisect_left(self._big, self._far))
        zip64 = big_and_near * 20 + (big - big_and_near) * 16 + max(0, index - self._far) * 12
        return self._directory + names + index * _CENTRAL_BYTES + zip64

    def _parts(self, first: int) -> Iterator[Part]:
        if first < self._files:
            for number, entry in enumerate(self._entries.iterate(first), first):
                yield Part(_zip_head(entry), number, entry.size)
        index = max(0, first - self._files)
        offset = self._offset(index)
        for entry in self._entries.iterate(index):
            yield Part(_zip_central(entry, offset))
            offset += _LOCAL_BYTES + len(entry.prefix) + len(entry.path) + entry.size
            offset += _SIZES.size if entry.size >= ZIP_SIZE else 0
        yield Part(self._end)

    @cached_property
    def _end(self) -> bytes:
        """What follows the central directory."""
        count, start, stop = self._files, self._directory, self._offset(self._count - 1)
        size = stop - start
        zip64 = b""
        if count >= _MANY or start >= ZIP_SIZE or size >= ZIP_SIZE:
            zip64 = _ZIP64_END.pack(
                0x06064B50, _ZIP64_END.size - 12, _UNIX | 45, 45, 0, 0, count, count, size, start
            ) + _ZIP64_LOCATOR.pack(0x07064B50, 0, stop, 1)
        few = min(count, _MANY)
        return zip64 + _END_OF_CENTRAL.pack(
            0x06054B50, 0, 0, few, few, min(size, ZIP_SIZE), min(start, ZIP_SIZE), 0
        )


def _zip_head(entry: Entry) -> bytes:
    name = entry.name
    is_big = entry.size >= ZIP_SIZE
    size = ZIP_SIZE if is_big else entry.size
    extra = _zip_time(entry.mtime) + (_SIZES.pack(1, 16, entry.size, entry.size) if is_big else b"")
    fields = (45 if is_big else 20, _flags(name), 0, *_dos_time(entry.mtime), entry.crc32, size, size)
    return _LOCAL.pack(0x04034B50, *fields, len(name), len(extra)) + name + extra


def _zip_central(entry: Entry, offset: int) -> bytes:
    name, extra = entry.name, _zip_time(entry.mtime)
    size, version = entry.size, 20
    if size >= ZIP_SIZE or offset >= ZIP_SIZE:
        version = 45
        beyond = [size] * 2 * (size >= ZIP_SIZE) + [offset] * (offset >= ZIP_SIZE)
        extra += Struct(f"<HH{len(beyond)}Q").pack(1, 8 * len(beyond), *beyond)
        size, offset = min(size, ZIP_SIZE), min(offset, ZIP_SIZE)
    common = (version, _flags(name), 0, *_dos_time(entry.mtime), entry.crc32, size, size)
    rest = (len(name), len(extra), 0, 0, 0, _REGULAR, offset)
    return _CENTRAL.pack(0x02014B50, _UNIX | version, *common, *rest) + name + extra


def _flags(name: bytes) -> int:
    return 0 if name.isascii() else _UTF8


def _zip_time(mtime: int) -> bytes:
    """The time as Unix keeps it in a zip; what it cannot hold becomes its first or last second."""
    return _TIME.pack(0x5455, 5, 1, min(max(mtime, -(2**31)), 2**31 - 1))


@lru_cache(1024)
def _dos_time(mtime: int) -> tuple[int, int]:
    """Time and date of DOS in UTC, from 1980 to 2107, in steps of two seconds."""
    year, month, day, hour, minute, second, *_ = time.gmtime(min(max(mtime, 315532800), 4354819198))
    return hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day
