"""What many blobs are until they are written down: some with a file to themselves, the small ones in a pack.

A file costs the file system more than its bytes when they are few: made, synced and renamed, ten thousand
files of 4 KiB took a quarter of all that a push cost, one file of 40 MiB takes next to nothing.
"""

from collections.abc import Iterator
from typing import BinaryIO

from core.storage.backends import Backend, Expected, Source, Staged, StagedBlob, StagedPack
from core.storage.digests import Digests, digest_of_bytes

__all__ = ["FEW", "PACK_BYTES", "SMALL_BYTES", "Batch", "Item"]

SMALL_BYTES = 64 * 2**10  # a larger blob has a file to itself
FEW = 16  # so have small ones that come with fewer others
PACK_BYTES = 64 * 2**20  # a pack that has so many is full
PACK_BLOBS = 10_000  # likewise; bounds the transaction in which their rows are written
_FLUSH = 2**20  # bytes that are written at once; more than fewer than FEW small blobs can have

Item = tuple[str | None, int | None, Source]


class Batch:
    """Blobs that are here and hashed, of which no row knows yet.

    :ivar files: those that have files of their own, by digest.
    :ivar packed: the others, by digest; ``starts``: how many bytes are before each of them in the pack.
    :ivar pack: which there is if ``packed`` is not empty, once the batch is finished.
    """

    def __init__(self, backend: Backend) -> None:
        self.files: dict[str, StagedBlob] = {}
        self.packed: dict[str, Digests] = {}
        self.starts: dict[str, int] = {}
        self.pack: StagedPack | None = None
        self.pack_bytes = 0
        self._backend = backend
        self._file_bytes = 0
        self._waiting: list[bytes] = []  # the last of the pack, one for each blob
        self._waiting_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether it is time to write down what is here."""
        return (
            len(self.files) >= self._backend.many
            or len(self.packed) >= PACK_BLOBS
            or self._file_bytes + self.pack_bytes >= PACK_BYTES
        )

    def add(self, item: Item) -> Digests:
        """Read one blob.

        :param item: ``(digest or None, size or None, bytes or a stream that ends where the blob ends)``.
        :raises BadRequest: ``wrong_size``, ``wrong_digest``; :raises NoSpace, Unavailable: as the back
            end says.
        """
        digest, size, source = item
        data = _small(source, size)
        if data is None:
            return self.add_file(self._backend.stage(source, Expected(size, None, digest)))
        digests = digest_of_bytes(data)
        if digest not in (None, digests.sha256) or size not in (None, digests.size):
            Expected(size, None, digest).check(digests)
        if digests.sha256 not in self.packed and digests.sha256 not in self.files:
            self._append(digests, data)
        return digests

    def add_file(self, staged: StagedBlob) -> Digests:
        """Take a blob that has a file to itself already."""
        if staged.name in self.files or staged.name in self.packed:
            staged.discard()
        else:
            self.files[staged.name] = staged
            self._file_bytes += staged.digests.size
        return staged.digests

    def finish(self) -> None:
        """Nothing is added any more."""
        if self.pack is None and len(self.packed) < FEW:
            few, self.packed, self.starts, self.pack_bytes = self._waiting, {}, {}, 0
            for data in few:
                self.add_file(self._backend.stage(data, Expected(len(data))))
        elif self.packed:
            self._flush().finish()

    def discard(self) -> None:
        """Forget everything. Never raises."""
        for one in self.staged():
            one.discard()

    def staged(self) -> Iterator[Staged]:
        """The files of all."""
        yield from self.files.values()
        if self.pack is not None:
            yield self.pack

    def digests(self) -> list[Digests]:
        """What is known of all, in the order of their digests."""
        found = [*(one.digests for one in self.files.values()), *self.packed.values()]
        return sorted(found, key=lambda one: one.sha256)

    def _append(self, digests: Digests, data: bytes) -> None:
        self.packed[digests.sha256] = digests
        self.starts[digests.sha256] = self.pack_bytes
        self.pack_bytes += digests.size
        self._waiting.append(data)
        self._waiting_bytes += digests.size
        if self._waiting_bytes >= _FLUSH:
            self._flush()

    def _flush(self) -> StagedPack:
        if self.pack is None:
            self.pack = self._backend.stage_pack()
        self.pack.write(b"".join(self._waiting))
        self._waiting, self._waiting_bytes = [], 0
        return self.pack


def _small(source: Source, size: int | None) -> bytes | None:
    """The bytes of a small blob; None if it may be larger, and nothing was read of it then."""
    if isinstance(source, bytes):
        return source if len(source) <= SMALL_BYTES else None
    return None if size is None or size > SMALL_BYTES else _read(source, size + 1)


def _read(stream: BinaryIO, most: int) -> bytes:
    data = b""
    while len(data) < most and (piece := stream.read(most - len(data))):
        data += piece
    return data
