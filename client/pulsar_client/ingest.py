"""Files become blobs: read once, hashed on the way, copied into the local store."""

import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pulsar_client.blobs import Blob, Fingerprint
from pulsar_client.errors import BuildError, NotEnoughSpace, PulsarError
from pulsar_client.files import remove
from pulsar_client.store import Store, StrPath

WORKERS = 4  # threads that hash; SHA-256 and the disk both work without the interpreter's lock
SMALL_BYTES = 1 << 20  # B; up to here a file is held in memory, and not written if the blob is there
CHUNK_BYTES = 1 << 20  # B read at once; with 1 KiB the calls cost more than the hashing
BATCH_FILES = 1000  # files that are synced together
BATCH_BYTES = 64 << 20  # B; the same, so that one batch of large files does not keep the others waiting


class HashingFile:
    """A new temporary file that hashes what is written to it; enough of a file for pyarrow."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> int:
        """Append; returns the number of bytes, always all of them."""
        self._sha256.update(data)
        count = self._file.write(data)
        self.size += count
        return count

    def get_blob(self) -> Blob:
        """Digest and size of everything written so far."""
        return Blob(self._sha256.hexdigest(), self.size)

    def flush(self) -> None:
        self._file.flush()

    def tell(self) -> int:
        return self.size

    def close(self) -> None:
        self._file.close()

    @property
    def closed(self) -> bool:
        return self._file.closed

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


class Reading(NamedTuple):
    """What a file looked like while it was read, and when that began."""

    seen: Fingerprint
    began_ns: int  # since the epoch


@contextlib.contextmanager
def hold_still(path: str, file: BinaryIO) -> Iterator[Reading]:
    """Read a file of which nobody changes the bytes meanwhile.

    :raises BuildError: if it looks different afterwards.
    """
    began_ns = time.time_ns()
    seen = Fingerprint.of(os.fstat(file.fileno()))
    yield Reading(seen, began_ns)
    if Fingerprint.of(os.fstat(file.fileno())) != seen:
        raise BuildError(f"{path} changed while it was read; build again when it is finished.")


Ingested = tuple[Blob, Reading]


def ingest_files(store: Store, paths: Sequence[str], advance: Callable[[int], None]) -> list[Ingested]:
    """The blobs of ``paths``, in their order, each with how its file was read.

    What is not in the store yet is copied into it.

    Memory: WORKERS times BATCH_FILES descriptions, and one file of at most SMALL_BYTES, or one chunk, each.

    :param advance: told the number of bytes of each finished file, from several threads.
    """
    with ThreadPoolExecutor(WORKERS) as pool:
        jobs = [pool.submit(_ingest_batch, store, batch, advance) for batch in _list_batches(paths)]
        try:
            return [done for job in jobs for done in job.result()]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _list_batches(paths: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    total = 0
    for path in paths:
        size = _get_size(path)
        if batch and (len(batch) == BATCH_FILES or total + size > BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(path)
        total += size
    if batch:
        yield batch


def _get_size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise make_read_error(path, error) from error


def make_read_error(path: str, error: OSError) -> PulsarError:
    """What it means that ``path`` could not be turned into a blob."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return NotEnoughSpace(f"The disk is full: {path} could not be copied into the local store.")
    return BuildError(f"{path} cannot be read: {error.strerror or error}")


def _ingest_batch(store: Store, paths: list[str], advance: Callable[[int], None]) -> list[Ingested]:
    done: list[Ingested] = []
    written: dict[str, StrPath] = {}
    try:
        for path in paths:
            blob, reading, temporary = _ingest(store, path)
            done.append((blob, reading))
            if temporary is not None and written.setdefault(blob.digest, temporary) is not temporary:
                remove(temporary)  # The same bytes twice in one batch.
            advance(blob.size)
        store.keep_blobs([(temporary, digest) for digest, temporary in written.items()])
    except BaseException:
        for temporary in written.values():
            remove(temporary)
        raise
    return done


def _ingest(store: Store, path: str) -> tuple[Blob, Reading, StrPath | None]:
    temporary: StrPath | None = None
    try:
        with open(path, "rb", buffering=0) as file, hold_still(path, file) as reading:
            copy = _copy_small if reading.seen.size <= SMALL_BYTES else _copy_large
            blob, temporary = copy(store, file)
    except (OSError, BuildError) as error:
        if temporary is not None:
            remove(temporary)
        raise error if isinstance(error, BuildError) else make_read_error(path, error) from error
    return blob, reading, temporary


def _copy_small(store: Store, file: BinaryIO) -> tuple[Blob, StrPath | None]:
    data = file.read()
    blob = Blob(hashlib.sha256(data).hexdigest(), len(data))
    if store.find_blob_size(blob.digest) == blob.size:
        return blob, None
    return blob, store.write_temporary(data)


def _copy_large(store: Store, file: BinaryIO) -> tuple[Blob, StrPath | None]:
    temporary = store.make_temporary()
    try:
        with contextlib.closing(HashingFile(temporary)) as target:
            while chunk := file.read(CHUNK_BYTES):
                target.write(chunk)
        blob = target.get_blob()
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if store.find_blob_size(blob.digest) == blob.size:
        temporary.unlink()
        return blob, None
    return blob, temporary
