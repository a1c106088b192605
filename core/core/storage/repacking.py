"""Remove packs in which nothing is left, and move the rest out of those in which little is.

A pack never changes and its name is never used again, so no lock is needed where bytes are read or written:

1. a pack without a row is what an upload left that was killed before its commit; it goes when it is a day
   old;
2. a pack that no blob's row names will never be named again; that is noted, and after the grace row and pack
   go, in this order, so that a crash in between leaves the case above;
3. where the sound blobs in a pack are less than half of it, they are copied into a new one, and then their
   rows changed in one transaction, each if it still names the old one. The old one is idle from then on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from sqlalchemy import bindparam, delete, exists, func, select, update

from core.db import own_transaction
from core.errors import NotFound
from core.storage.backends import Backend, Place
from core.storage.digests import digest_of_bytes
from core.storage.models import Blob, Pack
from core.storage.packing import PACK_BYTES
from core.storage.proofs import keep_proofs
from core.storage.reading import read_places
from core.storage.registering import add_pack
from core.storage.rows import BATCH, batches, make_place, place_columns, usable

__all__ = ["remove_idle", "remove_unknown", "repack"]

_QUIET = {"synchronize_session": False}  # these sessions hold no objects that could go stale


@dataclass(frozen=True, slots=True)
class _Blob:
    """A blob in a pack."""

    digest: str
    pack_id: int
    place: Place


def remove_unknown(backend: Backend, before: datetime, *, dry_run: bool) -> int:
    """Remove packs that have no row and were last written before ``before``; how many there were."""
    count = 0
    for batch in batches(found.name for found in backend.iter_packs() if found.modified_at < before):
        with own_transaction() as session:
            known = set(session.scalars(select(Pack.name).where(Pack.name.in_(batch))))
        unknown = [name for name in batch if name not in known]
        count += len(unknown)
        if not dry_run:
            backend.delete(unknown)
    return count


def remove_idle(backend: Backend, cutoff: datetime, at: datetime) -> int:
    """Note which packs no blob is in any more, and remove those of which that was noted before ``cutoff``."""
    with own_transaction() as session:
        empty = update(Pack).where(Pack.idle_since.is_(None), ~exists().where(Blob.pack_id == Pack.id))
        session.execute(empty.values(idle_since=at), execution_options=_QUIET)
    count = 0
    while True:
        with own_transaction() as session:
            due = select(Pack.id, Pack.name).where(Pack.idle_since <= cutoff).limit(BATCH)
            found = {pack_id: name for pack_id, name in session.execute(due)}
            if not found:
                return count
            session.execute(delete(Pack).where(Pack.id.in_(found)), execution_options=_QUIET)
        backend.delete(list(found.values()))
        count += len(found)


def repack(backend: Backend, at: datetime) -> int:
    """Move what is left out of packs of which it is less than half; how many blobs were moved."""
    left = _iter_left(backend, at)
    return sum(_move(backend, chain([first], left), at) for first in left)


def _iter_left(backend: Backend, at: datetime) -> Iterator[tuple[_Blob, bytes]]:
    """The sound blobs in packs of which they are less than half, with their bytes."""
    sparse = (
        select(Pack.id)
        .join(Blob, Blob.pack_id == Pack.id)
        .where(usable())
        .group_by(Pack.id, Pack.size)
        .having(2 * func.sum(Blob.size) < Pack.size)
        .order_by(Pack.id)
    )
    with own_transaction() as session:
        packs = session.scalars(sparse).all()
    for pack_id in packs:
        inside = select(*place_columns()).join(Blob.pack).where(Blob.pack_id == pack_id, usable())
        with own_transaction() as session:
            rows = session.execute(inside.order_by(Blob.pack_start)).all()
        yield from _read(backend, [_Blob(row[0], pack_id, make_place(*row)) for row in rows], at)


def _read(backend: Backend, blobs: list[_Blob], at: datetime) -> Iterator[tuple[_Blob, bytes]]:
    """The blobs of one pack with their bytes; those whose bytes are not right are marked as damaged."""
    contents = read_places(backend, [blob.place for blob in blobs])
    for blob in blobs:
        try:
            content = next(contents)
        except NotFound:
            return  # the pack is gone or cut; a verification says which blobs were in it
        if digest_of_bytes(content).sha256 == blob.digest:
            yield blob, content
            continue
        with own_transaction() as session:
            here = update(Blob).where(Blob.digest == blob.digest, Blob.pack_id == blob.pack_id)
            session.execute(here.values(damaged_at=at), execution_options=_QUIET)


def _move(backend: Backend, blobs: Iterator[tuple[_Blob, bytes]], at: datetime) -> int:
    """Fill one pack with ``blobs``, as far as they fit; how many are in it."""
    staged = backend.stage_pack()
    size, is_needed = 0, False
    rows = []
    try:
        for blob, content in blobs:
            rows.append({"key": blob.digest, "old": blob.pack_id, "start": size})
            staged.write(content)
            size += len(content)
            if size >= PACK_BYTES:
                break
        staged.finish()
        backend.settle([staged])
        backend.place([staged])
        rows.sort(key=lambda row: str(row["key"]))
        columns = Blob.__table__.c
        with own_transaction() as session:
            pack_id = add_pack(session, staged, size, at)
            keep_proofs(session, [str(row["key"]) for row in rows], at)
            change = (
                update(Blob.__table__)  # type: ignore[arg-type]
                .where(columns.digest == bindparam("key"), columns.pack_id == bindparam("old"))
                .values(pack_id=pack_id, pack_start=bindparam("start"))
            )
            session.connection().execute(change, rows)
            moved = session.scalars(select(func.count()).where(Blob.pack_id == pack_id)).one()
            if not moved:
                session.execute(delete(Pack).where(Pack.id == pack_id), execution_options=_QUIET)
            # From here on it stays: if the commit fails, nobody knows how much of it is stored.
            is_needed = moved > 0
    finally:
        if not is_needed:
            staged.discard()
    return moved
