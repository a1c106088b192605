"""The files of a cart as one, composed while it is sent; any part as cheaply as the beginning. A tar first.

The same table and the same name give the same bytes, always: nothing is kept on disk for a download, and a
broken one goes on where it stopped. The length is known before a byte is read. No framework, no database.

A bundle is a row of *parts*. A part is a head made here (for a tar the headers of a member), then the bytes
of at most one file, then zeros. Where each part begins follows from running sums of the table, so finding a
part is a search by halves.
"""

from abc import ABC, abstractmethod
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import Final, NamedTuple

from cart.pieces import PIECE_BYTES, BrokenBundle, Piece, Pieces, Read
from cart.sums import Sums
from cart.table import BLOCK, USTAR_MTIME, USTAR_ROOM, USTAR_SIZE, Odd, Table, ustar_room

__all__ = ["Bundle", "Entries", "Extra", "Part", "Tar", "tar_bytes"]

_ZEROS: Final = bytes(12 * 2**10)  # the most that a part ends with: two blocks, then up to twenty


class Extra(NamedTuple):
    """A file that is made for the bundle.

    :param name: below the top folder.
    :param mtime: whole seconds since 1970.
    :param crc32: gives it; is asked when all files before this one have passed.
    :param read: gives its bytes ``start`` to ``stop`` (exclusive).
    """

    name: bytes
    size: int
    mtime: int
    crc32: Callable[[], int]
    read: Callable[[int, int], Pieces]


class Entry(NamedTuple):
    """One file of a bundle; its name there is ``prefix + path``.

    :param crc32: None if it is known only when the bytes have passed.
    """

    prefix: bytes
    path: bytes
    size: int
    mtime: int
    crc32: int | None

    @property
    def name(self) -> bytes:
        return self.prefix + self.path


class Entries:
    """The files of a bundle in byte order of their names: those of a table, and extra ones around them.

    :param read: gives the bytes ``start`` to ``stop`` (exclusive) of a member of the table, by its index.
        It ends the bundle with whatever it raises. What it opens stays open until it is called again.
    :param top: the first segment of every name.
    :param folder: what comes between it and the paths of the table, with its slash.
    :param before: extra files whose names are smaller than ``folder``; in order.
    :param after: those whose names are greater.
    :param sums: finds the checksums that the table does not have; who needs none of them leaves it out.
        Then the bundle can only be read from its beginning.
    """

    def __init__(
        self,
        table: Table,
        read: Read,
        top: str,
        folder: bytes = b"",
        before: Sequence[Extra] = (),
        after: Sequence[Extra] = (),
        sums: Sums | None = None,
    ) -> None:
        self._table = table
        self._members = len(table)
        self._read = read if sums is None else sums.passing(read)
        self._sums = sums
        self._top = top.encode() + b"/"
        self._prefix = self._top + folder
        self._before = len(before)
        self._extras = (*before, *after)
        self._extra_sizes = _sums(one.size for one in self._extras)
        self._extra_blocks = _sums(one.size + -one.size % BLOCK for one in self._extras)
        self._extra_names = _sums(len(self._top) + len(one.name) for one in self._extras)

    def __len__(self) -> int:
        return self._members + len(self._extras)

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

    def late_before(self, index: int) -> int:
        """How many files are before one whose CRC-32 is known only when they have passed."""
        return 0 if self._sums is None else self._sums.late_before(self._count(index)[0])

    def late_crc32(self, index: int) -> int:
        """The CRC-32 of such a file.

        :raises ValueError: it has not passed.
        """
        if self._sums is None:
            raise ValueError("nobody computes checksums")
        return self._sums.crc32(index - self._before)

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
            yield Entry(self._top, one.name, one.size, one.mtime, one.crc32())
        prefix = self._prefix
        for path, size, mtime, crc32, sha256, _ in self._table.members(member):
            yield Entry(prefix, path, size, mtime, crc32 if sha256 else None)
        for one in self._extras[max(extra, self._before) :]:
            yield Entry(self._top, one.name, one.size, one.mtime, one.crc32())

    def read(self, index: int, start: int, stop: int) -> Iterable[Piece]:
        """The bytes ``start`` to ``stop`` of one file, as far as there are such."""
        member = index - self._before
        if 0 <= member < self._members:
            return self._read(member, start, stop)
        return self._extras[self._count(index)[1]].read(start, stop)

    def _count(self, index: int) -> tuple[int, int]:
        """How many members of the table, and how many extra files, are before ``index``."""
        member = min(max(index - self._before, 0), self._members)
        return member, index - member

    def _odd_extras(self, first: int, stop: int) -> Iterator[Odd]:
        for number in range(first, stop):
            one = self._extras[number]
            room = ustar_room(one.name) - len(self._top) if self._top.isascii() else -1
            index = number if number < self._before else number + self._members
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
        """The bytes ``start`` to ``stop`` (exclusive; by default the end); small pieces are joined.

        One file is open at a time, none when the generator is closed or has ended. Memory: two pieces.

        :raises BrokenBundle: a file has fewer or more bytes than promised; and whatever reading it raises.
            Then what was sent must not look complete.
        """
        stop = self.total if stop is None else stop
        if start >= stop:
            return
        number = bisect_right(range(self._count), start, key=self._offset) - 1
        at = self._offset(number)
        held: list[bytes] = []  # small pieces, which are sent together
        size = 0
        for head, entry, count, zeros in self._parts(number):
            content = at + len(head)
            end = content + count
            following = end + zeros
            first, last = 0, count
            if at < start or following > stop:
                head = head[max(0, start - at) : max(0, stop - at)]
                first, last = max(0, start - content), min(count, stop - content)
                zeros = max(0, min(stop, following) - max(start, end))
            held.append(head)
            size += len(head)
            left = max(0, last - first)
            for piece in self._entries.read(entry, first, last) if left else ():
                left -= len(piece)
                if left < 0:
                    break
                if size and (not isinstance(piece, bytes) or size + len(piece) > PIECE_BYTES):
                    yield b"".join(held)
                    held, size = [], 0
                if isinstance(piece, bytes):
                    held.append(piece)
                    size += len(piece)
                else:
                    yield piece
            if left:
                said, name = "fewer" if left > 0 else "more", next(self._entries.iterate(entry)).name
                raise BrokenBundle(f"{name!r} has {said} bytes than were promised")
            held.append(_ZEROS[:zeros])
            size += zeros
            at = following
            if at >= stop:
                break
        yield b"".join(held)

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
_PADDING: Final = [bytes(100 - count) for count in range(101)]  # behind a name of so many bytes
_CONSTANT_SUM: Final = sum(_MODE_AND_OWNER) + sum(_MIDDLE) + 8 * ord(" ")


class Tar(Bundle):
    """An uncompressed POSIX tar (pax) in UTF-8, of regular files alone.

    Records of pax stand only before members whose name, size or time a plain header cannot hold.

    :ivar files_bytes: where the files end; zeros follow. What a file takes of it depends on no other file.
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
        self.files_bytes = self._offset(len(entries))
        self.total = tar_bytes(self.files_bytes)

    def _offset(self, number: int) -> int:
        if number == self._count:
            return self.total
        pax = self._pax_before[bisect_left(self._pax_at, number)] if self._pax_at else 0
        return BLOCK * number + self._entries.blocks_before(number) + pax

    def _parts(self, first: int) -> Iterator[Part]:
        for number, entry in enumerate(self._entries.iterate(first), first):
            yield Part(_tar_head(entry), number, entry.size, -entry.size % BLOCK)
        yield Part(b"", zeros=self.total - self._offset(self._count - 1))


def tar_bytes(files_bytes: int) -> int:
    """Bytes of a tar, its end included, in which the files take so many."""
    end = files_bytes + 2 * BLOCK
    return end + -end % _RECORD


def _tar_head(entry: Entry) -> bytes:
    prefix, path, size, mtime, _ = entry
    name = prefix + path
    is_plain = size < USTAR_SIZE and 0 <= mtime < USTAR_MTIME
    if is_plain and len(name) <= 100 and name.isascii():
        return _header(name, b"", size, mtime)
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
    head = b"%b%b%b%b%06o\x00 %b%b%b" % (
        name,
        _PADDING[len(name)],
        _MODE_AND_OWNER,
        numbers,
        checksum,
        kind,
        _MIDDLE,
        prefix,
    )
    return head.ljust(BLOCK, b"\x00")


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
