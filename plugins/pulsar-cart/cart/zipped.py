"""The files of a cart as a zip; see :mod:`cart.bundle`. No framework, no database."""

import time
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property, lru_cache
from struct import Struct
from typing import Final

from cart.bundle import Bundle, Entries, Entry, Part
from cart.table import ZIP_SIZE

__all__ = ["Zip"]

_LOCAL: Final = Struct("<IHHHHHIIIHH")
_CENTRAL: Final = Struct("<IHHHHHHIIIHHHHHII")
_END_OF_CENTRAL: Final = Struct("<IHHHHIIH")
_ZIP64_END: Final = Struct("<IQHHIIQQQQ")
_ZIP64_LOCATOR: Final = Struct("<IIQI")
_DESCRIPTOR: Final = Struct("<IIII")
_ZIP64_DESCRIPTOR: Final = Struct("<IIQQ")
_TIME: Final = Struct("<HHBi")  # extra field 0x5455: seconds since 1970, where DOS has local time
_SIZES: Final = Struct("<HHQQ")  # extra field 1: sizes over 4 GiB
_LOCAL_BYTES: Final = _LOCAL.size + _TIME.size
_CENTRAL_BYTES: Final = _CENTRAL.size + _TIME.size
_UNIX: Final = 3 << 8  # made by
_REGULAR: Final = 0o100644 << 16  # the mode of a file, where Unix keeps it
_LATE: Final = 1 << 3  # a descriptor behind the bytes says what the header does not
_UTF8: Final = 1 << 11
_MANY: Final = 2**16 - 1  # entries, exclusive; in a zip without ZIP64


class Zip(Bundle):
    """A zip of stored files (APPNOTE.TXT 6.3), ZIP64 where it must be.

    Behind a file whose CRC-32 is known beforehand stands nothing, behind any other a data descriptor. If all
    are known, ranges are as exact as in a tar; otherwise it can only be read from its beginning, and the
    entries need sums.
    """

    suffix = ".zip"

    def __init__(self, entries: Entries) -> None:
        super().__init__(entries)
        self._files = len(entries)
        self._count = 2 * self._files + 1
        self._big = array("Q", (one.number for one in entries.odd() if one.size >= ZIP_SIZE))
        late = (one for one in self._big if entries.late_before(one) < entries.late_before(one + 1))
        self._big_and_late = array("Q", late)
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
            late = self._entries.late_before(index) * _DESCRIPTOR.size
            late += bisect_left(self._big_and_late, index) * (_ZIP64_DESCRIPTOR.size - _DESCRIPTOR.size)
            heads = index * _LOCAL_BYTES + big * _SIZES.size
            return self._entries.sizes_before(index) + names + heads + late
        big_and_near = min(big, bisect_left(self._big, self._far))
        zip64 = big_and_near * 20 + (big - big_and_near) * 16 + max(0, index - self._far) * 12
        return self._directory + names + index * _CENTRAL_BYTES + zip64

    def _parts(self, first: int) -> Iterator[Part]:
        if first < self._files:
            for number, entry in enumerate(self._entries.iterate(first), first):
                yield Part(_zip_head(entry), number, entry.size)
                if entry.crc32 is None:  # it has passed when this is asked for
                    yield Part(_zip_descriptor(entry.size, self._entries.late_crc32(number)))
        index = max(0, first - self._files)
        offset = self._offset(index)
        for number, entry in enumerate(self._entries.iterate(index), index):
            crc32 = self._entries.late_crc32(number) if entry.crc32 is None else entry.crc32
            yield Part(_zip_central(entry, crc32, offset))
            offset += _LOCAL_BYTES + len(entry.prefix) + len(entry.path) + entry.size
            offset += _SIZES.size if entry.size >= ZIP_SIZE else 0
            offset += 0 if entry.crc32 is not None else len(_zip_descriptor(entry.size, crc32))
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
    said = 0 if entry.crc32 is None else entry.size
    size = ZIP_SIZE if is_big else said
    extra = _zip_time(entry.mtime) + (_SIZES.pack(1, 16, said, said) if is_big else b"")
    fields = (45 if is_big else 20, _flags(entry), 0, *_dos_time(entry.mtime), entry.crc32 or 0, size, size)
    return _LOCAL.pack(0x04034B50, *fields, len(name), len(extra)) + name + extra


def _zip_descriptor(size: int, crc32: int) -> bytes:
    """What follows the bytes of a file whose header could not say it; as wide as the sizes in the header."""
    descriptor = _ZIP64_DESCRIPTOR if size >= ZIP_SIZE else _DESCRIPTOR
    return descriptor.pack(0x08074B50, crc32, size, size)


def _zip_central(entry: Entry, crc32: int, offset: int) -> bytes:
    name, extra = entry.name, _zip_time(entry.mtime)
    size, version = entry.size, 20
    if size >= ZIP_SIZE or offset >= ZIP_SIZE:
        version = 45
        beyond = [size] * 2 * (size >= ZIP_SIZE) + [offset] * (offset >= ZIP_SIZE)
        extra += Struct(f"<HH{len(beyond)}Q").pack(1, 8 * len(beyond), *beyond)
        size, offset = min(size, ZIP_SIZE), min(offset, ZIP_SIZE)
    common = (version, _flags(entry), 0, *_dos_time(entry.mtime), crc32, size, size)
    rest = (len(name), len(extra), 0, 0, 0, _REGULAR, offset)
    return _CENTRAL.pack(0x02014B50, _UNIX | version, *common, *rest) + name + extra


def _flags(entry: Entry) -> int:
    is_ascii = entry.prefix.isascii() and entry.path.isascii()
    return (0 if is_ascii else _UTF8) | (_LATE if entry.crc32 is None else 0)


def _zip_time(mtime: int) -> bytes:
    """The time as Unix keeps it in a zip; what it cannot hold becomes its first or last second."""
    return _TIME.pack(0x5455, 5, 1, min(max(mtime, -(2**31)), 2**31 - 1))


@lru_cache(1024)
def _dos_time(mtime: int) -> tuple[int, int]:
    """Time and date of DOS in UTC, from 1980 to 2107, in steps of two seconds."""
    year, month, day, hour, minute, second, *_ = time.gmtime(min(max(mtime, 315532800), 4354819198))
    return hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day
