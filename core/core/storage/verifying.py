"""Read blobs again and compare: finds bytes that changed, shrank or went away behind our back."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import blake3
from sqlalchemy import Select, and_, or_, select, update
from sqlalchemy.orm import Session

from core.db import now, own_transaction
from core.errors import NotFound
from core.storage.backends import Backend, Place, bytes_here
from core.storage.digests import PIECE_BYTES, Digests, digest_of, pieces
from core.storage.models import Blob
from core.storage.reading import open_place
from core.storage.rows import is_kept, make_place, place_columns, usable

__all__ = ["Checked", "scrub", "verify"]

_BATCH = 100  # blobs between two commits; a verification that is stopped goes on from there


@dataclass(frozen=True, slots=True)
class Checked:
    """One blob that was read. ``problem`` is None, or a few words that say what is wrong with it."""

    digest: str
    size: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class _Record:
    digest: str
    blake3: str
    verified_at: datetime | None
    place: Place

    @property
    def size(self) -> int:
        return self.place.size


def verify(
    backend: Backend, *, older_than: timedelta | None = None, at: datetime | None = None
) -> Iterator[Checked]:
    """Check every blob against its row, in the order of digests; commit results as they come.

    BLAKE3 is compared first, being the cheapest to compute; only where it differs SHA-256 has the last word.
    What fails is marked as damaged, what is sound again loses the mark.

    :param older_than: leave out what was found sound more recently than this.
    :raises Unavailable: if the back end as a whole cannot be reached; no blob is blamed for that.
    """
    at = at or now()
    before = None if older_than is None else at - older_than
    last = ""
    while records := _list_records(last, before):
        last = records[-1].digest
        yield from _check_all(backend, records, at)


def scrub(backend: Backend, most_bytes: int, *, at: datetime | None = None) -> Iterator[Checked]:
    """Check the blobs that were not read for longest, ``most_bytes`` of them (the last may be larger).

    Blobs that are known to be damaged are left out: they would be the first every time.
    """
    at = at or now()
    for due in (Blob.verified_at.is_(None), Blob.verified_at < at):
        query = _records().where(due, usable()).order_by(Blob.verified_at).limit(_BATCH)
        while most_bytes > 0 and (records := _read_records(query)):
            wanted = []
            for record in records:
                if most_bytes > 0:
                    wanted.append(record)
                    most_bytes -= record.size
            yield from _check_all(backend, wanted, at)


def _list_records(last: str, before: datetime | None) -> Sequence[_Record]:
    query = _records().where(Blob.digest > last, is_kept()).order_by(Blob.digest).limit(_BATCH)
    if before is not None:
        query = query.where(or_(Blob.verified_at.is_(None), Blob.verified_at < before))
    return _read_records(query)


def _records() -> Select[Any]:
    return select(Blob.blake3, Blob.verified_at, *place_columns()).outerjoin(Blob.pack)


def _read_records(query: Select[Any]) -> Sequence[_Record]:
    with own_transaction() as session:
        return [
            _Record(columns[0], blake3, verified_at, make_place(*columns))
            for blake3, verified_at, *columns in session.execute(query)
        ]


def _check_all(backend: Backend, records: Sequence[_Record], at: datetime) -> Iterator[Checked]:
    # As they lie in their packs.
    ordered = sorted(records, key=lambda record: (record.place.name, record.place.start))
    size_of = cache(backend.size)  # one question for all that are in one pack
    checked = [(record, _check(backend, record, size_of)) for record in ordered]
    checked.sort(key=lambda one: one[0].digest)
    yield from _note(checked, at)


def _check(backend: Backend, record: _Record, size_of: Callable[[str], int | None]) -> str | None:
    """What is wrong with the bytes of ``record``."""
    size = bytes_here(record.place, size_of)
    if size is None:
        return "missing"
    if size != record.size:
        return f"{size} bytes instead of {record.size}"
    try:
        with open_place(backend, record.place) as stream:
            hasher = blake3.blake3()
            for piece in pieces(stream, min(PIECE_BYTES, record.size or 1)):
                hasher.update(piece)
            if hasher.hexdigest() == record.blake3:
                return None
        with open_place(backend, record.place) as stream:
            return None if _is_sound(digest_of(stream), record) else "changed"
    except NotFound:
        return "missing"
    except OSError:
        return "unreadable"


def _is_sound(digests: Digests, record: _Record) -> bool:
    """Whether SHA-256 overrules a wrong BLAKE3, and if so put that right in the row."""
    if digests.sha256 != record.digest:
        return False
    with own_transaction() as session:
        right = update(Blob).where(Blob.digest == record.digest)
        session.execute(right.values(blake3=digests.blake3, crc32=digests.crc32))
    return True


def _note(checked: Sequence[tuple[_Record, str | None]], at: datetime) -> Iterator[Checked]:
    """Write the results down; a blob that was removed or sent again meanwhile is left alone."""
    sound = [record.digest for record, problem in checked if problem is None]
    with own_transaction() as session:
        session.execute(update(Blob).where(Blob.digest.in_(sound)).values(verified_at=at, damaged_at=None))
        noted = {record.digest for record, problem in checked if problem and _mark(session, record, at)}
    for record, problem in checked:
        if problem is None or record.digest in noted:
            yield Checked(record.digest, record.size, problem)


def _mark(session: Session, record: _Record, at: datetime) -> bool:
    """Mark the blob as damaged, unless its row changed since it was read."""
    unchanged = and_(
        Blob.digest == record.digest,
        is_kept(),
        Blob.verified_at.is_not_distinct_from(record.verified_at),
    )
    if session.scalar(select(Blob.digest).where(unchanged).with_for_update()) is None:
        return False
    session.execute(update(Blob).where(Blob.digest == record.digest).values(damaged_at=at))
    return True
