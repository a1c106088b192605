"""The blob store: bytes in a back end, rows in the database, and the order in which both are written.

Bytes come before rows. :meth:`BlobStore.put` reads and hashes the stream with no transaction open, then,
in one short transaction of its own, locks the blob's row, makes the bytes visible and commits. So an upload
never holds a lock while it travels, several may run in one request, and what was stored is stored whatever
becomes of the request: until a row refers to it (see :mod:`core.storage.references`) it is merely *idle*,
and the sweep removes it after its grace.

The row's lock is what keeps an upload and the sweep apart: both change bytes only while they hold it. A crash
at any point leaves bytes without a row, or a row already marked as condemned; the next sweep ends both.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import BinaryIO

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.db import db, now, own_transaction
from core.errors import NotFound, Unavailable
from core.storage.backends import Backend, Expected, Source, Staged
from core.storage.digests import Digests
from core.storage.models import Blob, BlobProof
from core.storage.references import Reference, list_references
from core.storage.rows import batches, usable, write_rows

__all__ = ["BlobStore"]

# What put_many stages before it is written down, at most: bounds the memory where small blobs wait in it.
_MANY_BYTES = 64 * 2**20
# How much of its grace a blob may lose because being asked about did not count as use this time.
_TOUCH = timedelta(minutes=10)

Item = tuple[str | None, int | None, Source]


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
        staged = self.backend.stage(source, Expected(size, max_bytes, digest))
        self._keep([staged], user_id)
        return self.get(staged.digests.sha256)

    def put_many(self, items: Iterable[Item], *, user_id: int | None = None) -> list[Digests]:
        """Store many, mostly small, blobs; what comes back has their order.

        They are synced, written down and committed some thousands (or 64 MiB) at a time. An error ends
        it; what was committed by then stays, as if put one by one. The errors are those of :meth:`put`.

        :param items: ``(digest or None, size or None, bytes or a stream that ends where the blob ends)``,
            each asked for when the one before has been read.
        """
        _end_reading()
        done: list[Digests] = []
        staged: list[Staged] = []
        held = 0
        try:
            for digest, size, source in items:
                staged.append(self.backend.stage(source, Expected(size, None, digest)))
                done.append(staged[-1].digests)
                held += done[-1].size
                if len(staged) >= self.backend.many or held >= _MANY_BYTES:
                    self._keep(staged, user_id)
                    staged, held = [], 0
            self._keep(staged, user_id)
        except BaseException:
            _discard(staged)
            raise
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
        return {
            digest
            for batch in batches(sorted(set(digests)))
            for digest in db.session.scalars(query.where(Blob.digest.in_(batch)))
        }

    def known_to(self, digests: Iterable[str], user_id: int) -> set[str]:
        """Which of ``digests`` are here and were once sent in full by this user."""
        query = select(Blob.digest).join(BlobProof).where(usable(), BlobProof.user_id == user_id)
        return {
            digest
            for batch in batches(set(digests))
            for digest in db.session.scalars(query.where(Blob.digest.in_(batch)))
        }

    def touch(self, digests: Iterable[str]) -> None:
        """Start the grace of idle blobs anew, because somebody was told that they need not be sent."""
        at = now()
        stale = select(Blob.digest).where(Blob.idle_since < at - _TOUCH, usable())
        for batch in batches(sorted(set(digests))):
            # Mostly there is none; then this stays a reading transaction.
            if found := db.session.scalars(stale.where(Blob.digest.in_(batch))).all():
                _change(db.session, found, idle_since=at)

    def open(self, digest: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        """The bytes ``start`` to ``stop`` (exclusive) as a stream; the caller closes it.

        :raises NotFound: the bytes are not there.
        """
        return self.backend.open(digest, start, stop)

    def references(self, digest: str) -> list[Reference]:
        """Who needs the blob to stay, by table and column."""
        return list_references(db.session, digest)

    def _keep(self, staged: Sequence[Staged], user_id: int | None) -> None:
        """Write down what was staged and make it visible; discard it if that fails, or is not needed."""
        unique = {one.digests.sha256: one for one in staged}
        placed: Collection[str] = ()
        try:
            self.backend.settle(list(unique.values()))
            with own_transaction() as session:
                at = now()
                needed = self._lock_rows(session, [one.digests for one in unique.values()], at)
                if user_id is not None:
                    _record_proofs(session, unique, user_id, at)
                self.backend.place([unique[digest] for digest in needed])
                placed = needed
        finally:
            _discard(
                [
                    one
                    for one in staged
                    if one.digests.sha256 not in placed or unique[one.digests.sha256] is not one
                ]
            )

    def _lock_rows(self, session: Session, digests: Sequence[Digests], at: datetime) -> list[str]:
        """Lock the rows of ``digests``, made where there were none; those whose bytes have to be placed."""
        ordered = sorted(digests, key=lambda one: one.sha256)
        new = {"created_at": at, "idle_since": at, "verified_at": at}
        rows = [
            {"digest": one.sha256, "size": one.size, "blake3": one.blake3, "crc32": one.crc32, **new}
            for one in ordered
        ]
        write_rows(session, Blob, rows, update=("size", "blake3", "crc32"))
        needed, revived, known = [], [], []
        query = select(Blob.digest, Blob.size, Blob.created_at, usable())
        for batch in batches([one.sha256 for one in ordered]):
            for digest, size, created_at, sound in session.execute(query.where(Blob.digest.in_(batch))):
                if created_at == at:
                    needed.append(digest)
                elif sound and self.backend.size(digest) == size:
                    known.append(digest)
                else:
                    revived.append(digest)
        _change(session, known, idle_since=at)
        _change(session, revived, idle_since=at, verified_at=at, condemned_at=None, damaged_at=None)
        return needed + revived


def _change(session: Session, digests: Iterable[str], **values: datetime | None) -> None:
    for batch in batches(digests):
        session.execute(update(Blob).where(Blob.digest.in_(batch)).values(**values))


def _record_proofs(session: Session, digests: Iterable[str], user_id: int, at: datetime) -> None:
    write_rows(
        session,
        BlobProof,
        [{"user_id": user_id, "digest": digest, "created_at": at} for digest in sorted(digests)],
    )


def _discard(staged: Iterable[Staged]) -> None:
    for one in staged:
        one.discard()


def _end_reading() -> None:
    """Give the request's transaction back before a long stream: it has read and will read again.

    :raises RuntimeError: if it has written: those rows would be lost, or on SQLite lock us out.
    """
    session = db.session
    changed = session.new or session.deleted or any(session.is_modified(one) for one in session.dirty)
    if changed or (session.in_transaction() and session.connection().info.get("writing")):
        raise RuntimeError("bytes come before rows: store the blob before the first change to the database")
    session.rollback()
