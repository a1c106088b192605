"""The blob store: bytes in a back end, rows in the database, and the order in which both are written.

Bytes come before rows. :meth:`BlobStore.put` reads and hashes the stream with no transaction open, then,
in one short transaction of its own, locks the blob's row, makes the bytes visible and commits. So an upload
never holds a lock while it travels, several may run in one request, and what was stored is stored whatever
becomes of the request: until a row refers to it (see :mod:`core.storage.references`) it is merely *idle*,
and the sweep removes it after its grace.

The row's lock is what keeps an upload and the sweep apart: both change bytes only while they hold it. A crash
at any point leaves bytes without a row, or a row already marked as condemned; the next sweep ends both.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import select

from core.db import db, now, own_transaction
from core.errors import NotFound, Unavailable
from core.storage.backends import Backend, Expected, Place, Source, bytes_here
from core.storage.digests import Digests
from core.storage.models import Blob
from core.storage.packing import Batch, Item
from core.storage.proofs import was_sent_by
from core.storage.reading import open_place, read_places
from core.storage.references import Reference, list_references
from core.storage.registering import change_blobs, register
from core.storage.rows import find_among, make_place, place_columns, usable

__all__ = ["BlobStore"]

# How much of its grace a blob may lose because being asked about did not count as use this time.
_TOUCH = timedelta(minutes=10)


class BlobStore:
    """All bytes of the site. Needs an app context; ``core.storage.store()`` gives the app's own."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def put(
        self,
        source: Source,
        *,
        digest: str | None = None,
        size: int | None = None,
        max_bytes: int | None = None,
        user_id: int | None = None,
    ) -> Blob:
        """Store ``source`` and commit. Call it before the first row of your own is written.

        :param digest: the SHA-256 the bytes must have; None: whatever they have.
        :param size: bytes it must have.
        :param max_bytes: the most that is read when the size is not known.
        :param user_id: who sent the bytes, and may be told from now on that they are here.
        :raises BadRequest: ``wrong_digest``, ``wrong_size``; :raises TooLarge: over the limit;
            :raises NoSpace, Unavailable: as the back end says. Nothing is kept in any of these cases.
        :raises RuntimeError: if the session holds changes of yours.

        Memory: one piece for a folder, two parts for S3, whatever the size.
        """
        _end_reading()
        batch = Batch(self.backend)
        stored = batch.add_file(self.backend.stage(source, Expected(size, max_bytes, digest)))
        self._keep(batch, user_id)
        return self.get(stored.sha256)

    def put_many(self, items: Iterable[Item], *, user_id: int | None = None) -> list[Digests]:
        """Store many, mostly small, blobs; what comes back has their order.

        Small ones share a file (see :mod:`core.storage.packing`). All are synced, written down and committed
        some thousands (or 64 MiB) at a time. An error ends it; what was committed by then stays, as if put
        one by one. The errors are those of :meth:`put`.

        :param items: ``(digest or None, size or None, bytes or a stream that ends where the blob ends)``,
            each asked for when the one before has been read.
        """
        _end_reading()
        done: list[Digests] = []
        batch = Batch(self.backend)
        try:
            for item in items:
                done.append(batch.add(item))
                if batch.is_full:
                    full, batch = batch, Batch(self.backend)
                    self._keep(full, user_id)
        except BaseException:
            batch.discard()
            raise
        self._keep(batch, user_id)
        return done

    def find(self, digest: str) -> Blob | None:
        """The blob, if its bytes are here and sound."""
        blob = db.session.get(Blob, digest)
        return blob if blob is not None and blob.usable else None

    def get(self, digest: str) -> Blob:
        """The blob.

        :raises NotFound: it is not here, or is being removed.
        :raises Unavailable: its bytes were found damaged; sending them again repairs it.
        """
        blob = db.session.get(Blob, digest)
        if blob is None or blob.condemned_at is not None:
            raise NotFound.of("Blob", digest)
        if blob.damaged_at is not None:
            raise Unavailable("The stored bytes of this blob are damaged.", code="damaged")
        return blob

    def present(self, digests: Iterable[str], *, hold: bool = False) -> set[str]:
        """Which of ``digests`` are here and sound.

        :param hold: keep the sweep away from them until the transaction ends. Do so before writing rows that
            refer to them; a blob that is not returned then has to be sent (again).
        """
        query = select(Blob.digest).where(usable()).order_by(Blob.digest)
        if hold:
            query = query.with_for_update(read=True, key_share=True)
        return {digest for (digest,) in find_among(db.session, query, Blob.digest, digests)}

    def known_to(self, digests: Iterable[str], user_id: int) -> set[str]:
        """Which of ``digests`` are here and were once sent in full by this user."""
        query = select(Blob.digest).where(usable(), was_sent_by(user_id))
        return {digest for (digest,) in find_among(db.session, query, Blob.digest, digests)}

    def touch(self, digests: Iterable[str]) -> None:
        """Start the grace of idle blobs anew, because somebody was told that they need not be sent."""
        at = now()
        stale = select(Blob.digest).where(Blob.idle_since < at - _TOUCH, usable())
        # Mostly there is none; then this stays a reading transaction.
        found = [digest for (digest,) in find_among(db.session, stale, Blob.digest, digests)]
        change_blobs(db.session, found, idle_since=at)

    def open(self, digest: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        """The bytes ``start`` to ``stop`` (exclusive) as a stream; the caller closes it.

        :raises NotFound: the bytes are not there.
        """
        blob = db.session.get(Blob, digest)
        if blob is None:
            raise NotFound.of("Blob", digest)
        try:
            return open_place(self.backend, blob.place, start, stop)
        except NotFound:
            # The sweep may have moved it after we asked where it is.
            return open_place(self.backend, self._look_again(digest), start, stop)

    def find_places(self, digests: Iterable[str]) -> dict[str, Place]:
        """Where the bytes of these blobs are now, of those that are here; for :meth:`open_place`."""
        query = select(*place_columns()).outerjoin(Blob.pack)
        return {row[0]: make_place(*row) for row in find_among(db.session, query, Blob.digest, digests)}

    def open_place(self, place: Place, start: int = 0, stop: int | None = None) -> BinaryIO:
        """The bytes ``start`` to ``stop`` (exclusive) of a place; the caller closes it. Asks no database.

        :raises NotFound: its file is not there. The sweep may have moved the blob: look for it again.
        """
        return open_place(self.backend, place, start, stop)

    def read_many(self, digests: Sequence[str]) -> Iterator[bytes]:
        """The bytes of many small blobs, in this order: looked up now, read as they are asked for.

        Needs no app context while it reads. Neighbours in a pack are read together. Memory: some MiB.

        :raises NotFound: one is not there, or is not whole; from here, or from the iterator.
        """
        places = self.find_places(digests)
        if missing := next((digest for digest in digests if digest not in places), None):
            raise NotFound.of("Blob", missing)
        return read_places(self.backend, [places[digest] for digest in digests])

    def is_whole(self, blob: Blob) -> bool:
        """Whether as many bytes are there as there should be. Does not read them."""
        return bytes_here(blob.place, self.backend.size) == blob.size

    def local_path(self, blob: Blob) -> Path | None:
        """The file that holds this blob and nothing else, if there is one."""
        return None if blob.place.is_packed else self.backend.local_path(blob.digest)

    def download_url(self, blob: Blob, *, name: str, media_type: str, life: int) -> str | None:
        """An address that serves the blob without the app for ``life`` seconds, if there is one.

        Never for a small blob that shares its file: the address would open the whole file.
        """
        if blob.place.is_packed:
            return None
        return self.backend.download_url(blob.digest, name=name, media_type=media_type, life=life)

    def references(self, digest: str) -> list[Reference]:
        """Who needs the blob to stay, by table and column."""
        return list_references(db.session, digest)

    def _keep(self, batch: Batch, user_id: int | None) -> None:
        """Write a batch down and make it visible; discard what is not needed, or all if that fails."""
        placed: Collection[str] = ()
        is_packed = False
        try:
            batch.finish()
            self.backend.settle(list(batch.staged()))
            if batch.pack is not None:
                # Nobody knows its name, so no row has to be locked while it becomes visible.
                self.backend.place([batch.pack])
            with own_transaction() as session:
                needed, needs_pack = register(session, self.backend, batch, user_id, now())
                self.backend.place([batch.files[digest] for digest in needed])
                # From here on it stays: if the commit fails, nobody knows how much of it is stored.
                placed, is_packed = needed, needs_pack
        finally:
            for one in batch.files.values():
                if one.name not in placed:
                    one.discard()
            if batch.pack is not None and not is_packed:
                batch.pack.discard()

    def _look_again(self, digest: str) -> Place:
        """Where the blob is by now, whatever the present transaction still sees."""
        with own_transaction() as session:
            blob = session.get(Blob, digest)
            if blob is None:
                raise NotFound.of("Blob", digest)
            return blob.place


def _end_reading() -> None:
    """Give the request's transaction back before a long stream: it has read and will read again.

    :raises RuntimeError: if it has written: those rows would be lost, or on SQLite lock us out.
    """
    session = db.session
    changed = session.new or session.deleted or any(session.is_modified(one) for one in session.dirty)
    if changed or (session.in_transaction() and session.connection().info.get("writing")):
        raise RuntimeError("bytes come before rows: store the blob before the first change to the database")
    session.rollback()
