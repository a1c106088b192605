"""Blobs in a folder of this machine.

    <root>/sha256/<2 hex>/<62 hex>    a blob, whole and synced, read-only
    <root>/packs/<2 hex>/<30 hex>     many small blobs, one behind the other; likewise
    <root>/tmp/<random>               an upload on its way; swept when nobody touches it any more

All are on one file system, so that a rename makes a blob visible at once. Folders are made when first
needed: an app that cannot write starts, and says so when somebody uploads.
"""

import ctypes
import errno
import logging
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, cast

from core.errors import NoSpace, NotFound, PulsarError, Unavailable
from core.storage.backends import (
    Expected,
    Found,
    Source,
    Staged,
    StagedBlob,
    StagedPack,
    key_of,
    new_pack_name,
    receive,
)
from core.storage.digests import Digests
from core.storage.ranges import FilePart

__all__ = ["Folder"]

log = logging.getLogger(__name__)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # EFBIG: over the limit of the process or file system
# From this many files on, syncfs(2) on the whole file system costs less than fdatasync on each, which also
# makes the disk empty its cache each time. Measured with 10,000 files of 4 KiB on ext4: 0.25 s of CPU and
# 10 s of waiting on a busy disk one by one, 0.3 s of waiting at once.
_MANY = 32
_THREADS = 8  # folders that are synced at the same time


def _find_syncfs() -> Callable[[int], int] | None:
    """Python's ``os`` has only ``sync``, which does not say when the disk failed."""
    try:
        return cast(Callable[[int], int], ctypes.CDLL(None, use_errno=True).syncfs)
    except (OSError, AttributeError):
        return None


_syncfs = _find_syncfs()


class Folder:
    """The back end that keeps blobs as files.

    :param root: the folder; made when first needed.
    :param reserve: bytes that stay free: an upload that would go below is refused before it starts,
        and one of unknown size when it gets there.
    """

    many = 5000

    def __init__(self, root: Path, reserve: int = 0) -> None:
        self.root = root
        self.reserve = reserve
        self._temporary = root / "tmp"
        self._prefix = f"{root}/"

    def stage(self, source: Source, expected: Expected) -> StagedBlob:
        self._check_space(len(source) if isinstance(source, bytes) else expected.size or 0)
        path, descriptor = self._new_file()
        try:
            try:
                digests = receive(source, expected, lambda piece: self._write(descriptor, piece))
            finally:
                os.close(descriptor)
        except BaseException:
            _remove(path)
            raise
        return _StagedFile(digests, path)

    def stage_pack(self) -> StagedPack:
        self._check_space(0)
        return _PackFile(*self._new_file(), self._write)

    def settle(self, staged: Sequence[Staged]) -> None:
        with _answering():
            if len(staged) >= _MANY and _syncfs is not None:
                _sync(str(self._temporary), _sync_file_system)
                return
            for one in staged:
                _sync(cast(_StagedFile | _PackFile, one).path, os.fdatasync)

    def place(self, staged: Sequence[Staged]) -> None:
        folders = set()
        with _answering():
            for one in staged:
                target = self._prefix + key_of(one.name)
                file = cast(_StagedFile | _PackFile, one)
                self._rename(file.path, target)
                file.placed(target)
                folders.add(os.path.dirname(target))
            _sync_folders(folders)

    def open(self, name: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        try:
            file = open(self._prefix + key_of(name), "rb", buffering=0)  # noqa: SIM115 - the caller closes
        except FileNotFoundError:
            raise NotFound.of("Blob", name) from None
        except OSError as exc:
            raise _answer(exc) from exc
        return cast(BinaryIO, FilePart(file, start, stop))

    def size(self, name: str) -> int | None:
        try:
            return os.stat(self._prefix + key_of(name)).st_size
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise _answer(exc) from exc

    def delete(self, names: Sequence[str]) -> None:
        with _answering():
            for name in names:
                with suppress(FileNotFoundError):
                    os.unlink(self._prefix + key_of(name))

    def download_url(self, digest: str, *, name: str, media_type: str, life: int) -> str | None:
        return None

    def local_path(self, digest: str) -> Path | None:
        return self.root / key_of(digest)

    def iter_found(self) -> Iterator[Found]:
        return self._iter_files("sha256", 64)

    def iter_packs(self) -> Iterator[Found]:
        return self._iter_files("packs", 32)

    def free_bytes(self) -> int | None:
        with _answering():
            for folder in (self.root, *self.root.parents):
                with suppress(FileNotFoundError):
                    status = os.statvfs(folder)
                    return status.f_bavail * status.f_frsize
        return None

    def check(self) -> None:
        self.stage(b"", Expected()).discard()

    def sweep_temporary(self, before: datetime, *, dry_run: bool = False) -> int:
        count = 0
        with _answering():
            for entry in _scan(self._temporary):
                with suppress(FileNotFoundError):
                    if _time(entry.stat()) < before:
                        count += 1
                        if not dry_run:
                            os.unlink(entry.path)
        return count

    def _iter_files(self, kind: str, length: int) -> Iterator[Found]:
        with _answering():
            for folder in _scan(self.root / kind):
                for entry in _scan(folder.path):
                    name = folder.name + entry.name
                    if len(name) == length:
                        with suppress(FileNotFoundError):
                            status = entry.stat()
                            yield Found(name, status.st_size, _time(status))

    def _check_space(self, size: int) -> None:
        free = self.free_bytes() if self.reserve else None
        if free is not None and free - size < self.reserve:
            raise NoSpace()

    def _new_file(self) -> tuple[str, int]:
        path = f"{self._prefix}tmp/{secrets.token_hex(16)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with _answering():
            try:
                # Nobody but the site reads a blob by its file, and nobody at all writes it again.
                return path, os.open(path, flags, 0o440)
            except FileNotFoundError:
                self._temporary.mkdir(parents=True, exist_ok=True)
                return path, os.open(path, flags, 0o440)

    def _write(self, descriptor: int, piece: bytes | memoryview) -> None:
        with _answering():
            written = os.write(descriptor, piece)
            while written < len(piece):  # a disk that fills up takes what still fits
                written += os.write(descriptor, piece[written:])
        self._check_space(0)

    def _rename(self, path: str, target: str) -> None:
        try:
            os.replace(path, target)
        except FileNotFoundError:
            folder = os.path.dirname(target)
            os.makedirs(folder, exist_ok=True)
            _sync(os.path.dirname(folder))
            _sync(str(self.root))
            os.replace(path, target)


class _StagedFile(StagedBlob):
    """A file in ``tmp/``."""

    def __init__(self, digests: Digests, path: str) -> None:
        super().__init__(digests)
        self.path = path

    def placed(self, target: str) -> None:
        """It is there for whoever has the digest."""

    def discard(self) -> None:
        _remove(self.path)


class _PackFile(StagedPack):
    """A file in ``tmp/`` that is being written, and then in ``packs/``."""

    def __init__(self, path: str, descriptor: int, write: Callable[[int, bytes | memoryview], None]) -> None:
        self.name = new_pack_name()
        self.path = path
        self._descriptor = descriptor
        self._write = write

    def write(self, data: bytes) -> None:
        self._write(self._descriptor, data)

    def finish(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def placed(self, target: str) -> None:
        """It is ours alone until a row names it."""
        self.path = target

    def discard(self) -> None:
        self.finish()
        _remove(self.path)


def _remove(path: str) -> None:
    """Remove a temporary file if it is still there; what cannot be removed now, the sweep finds later."""
    with suppress(OSError):
        os.unlink(path)


def _sync(path: str, how: Callable[[int], None] = os.fsync) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        how(descriptor)
    finally:
        os.close(descriptor)


def _sync_folders(folders: Collection[str]) -> None:
    """Sync them together: the file system writes its journal once for all who wait at the same time."""
    if len(folders) == 1:
        _sync(next(iter(folders)))
    else:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(_sync, folders))


def _sync_file_system(descriptor: int) -> None:
    assert _syncfs is not None
    if _syncfs(descriptor):
        raise OSError(ctypes.get_errno(), "syncfs failed")


def _scan(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except FileNotFoundError:
        return


def _time(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_mtime, UTC)


@contextmanager
def _answering() -> Iterator[None]:
    """Turn what the file system says into an error of the site, which names no path."""
    try:
        yield
    except OSError as exc:
        raise _answer(exc) from exc


def _answer(exc: OSError) -> PulsarError:
    log.error("the blob folder refused: %s", exc)
    if exc.errno in _FULL:
        return NoSpace()
    return Unavailable("Files cannot be stored or read at the moment.")
