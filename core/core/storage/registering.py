"""The rows of blobs that were just brought: made, or found and locked."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from core.storage.backends import Backend, StagedPack, bytes_here
from core.storage.models import Blob, Pack
from core.storage.packing import Batch
from core.storage.proofs import keep_proofs, record_proofs
from core.storage.rows import batches, make_place, place_columns, usable, write_rows

__all__ = ["add_pack", "change_blobs", "register"]


@dataclass
class _Found:
    """Digests of blobs whose rows were there before, or whose bytes we have to place."""

    known: list[str] = field(default_factory=list)  # here and sound
    returned: list[str] = field(default_factory=list)  # was damaged, gone or condemned; is a file now
    packed: list[str] = field(default_factory=list)  # likewise; is in our pack now
    new: list[str] = field(default_factory=list)  # a file that had no row


def register(
    session: Session, backend: Backend, batch: Batch, user_id: int | None, at: datetime
) -> tuple[list[str], bool]:
    """Lock the rows of all blobs of ``batch``, made where there were none.

    Its pack, if there is one, must be in its place already.

    :param user_id: who has sent them all.

    :return: digests of the files that have to be placed now, and whether the pack is needed; it is not when
        everything in it was here before.
    """
    pack_id = None if batch.pack is None else add_pack(session, batch.pack, batch.pack_bytes, at)
    _write(session, batch, pack_id, at)
    in_pack = _count_in(session, pack_id)
    # Mostly everything in a pack is new, which one count tells.
    is_new = in_pack == len(batch.packed)
    found = _look(session, backend, batch, pack_id, [*batch.files, *(() if is_new else batch.packed)], at)
    back = {"idle_since": at, "verified_at": at, "condemned_at": None, "damaged_at": None}
    keep_proofs(session, (*found.returned, *found.packed), at)
    change_blobs(session, found.known, idle_since=at)
    change_blobs(session, found.returned, **back, pack_id=None, pack_start=None)
    change_blobs(session, found.packed, **back, pack_id=pack_id)
    _set_starts(session, {digest: batch.starts[digest] for digest in found.packed})
    is_needed = bool(in_pack or found.packed)
    if pack_id is not None and not is_needed:
        session.execute(delete(Pack).where(Pack.id == pack_id))
        pack_id = None
    if user_id is not None:
        # Of those that might be in the pack, it is those that were known which are not.
        digests = {*batch.files, *found.known}
        record_proofs(session, user_id, at, digests=digests, pack_id=pack_id)
    return found.new + found.returned, is_needed


def add_pack(session: Session, staged: StagedPack, size: int, at: datetime) -> int:
    """The id of a new row for ``staged``, which has ``size`` bytes."""
    pack = Pack(name=staged.name, size=size, created_at=at)
    session.add(pack)
    session.flush()
    return pack.id


def change_blobs(session: Session, digests: Iterable[str], **values: datetime | int | None) -> None:
    """Set the columns ``values`` of these blobs."""
    for batch in batches(digests):
        session.execute(update(Blob).where(Blob.digest.in_(batch)).values(**values))


def _write(session: Session, batch: Batch, pack_id: int | None, at: datetime) -> None:
    rows = [
        {
            "digest": one.sha256,
            "size": one.size,
            "blake3": one.blake3,
            "crc32": one.crc32,
            "pack_id": pack_id if one.sha256 in batch.starts else None,
            "pack_start": batch.starts.get(one.sha256),
        }
        for one in batch.digests()
    ]
    same = {"created_at": at, "idle_since": at, "verified_at": at}
    # What the sweep adopted has no digests but the one.
    write_rows(session, Blob, rows, update=("size", "blake3", "crc32"), same=same)


def _look(
    session: Session,
    backend: Backend,
    batch: Batch,
    pack_id: int | None,
    digests: Iterable[str],
    at: datetime,
) -> _Found:
    """What the rows of ``digests`` say, which are locked and may have been there for long."""
    found = _Found()
    size_of = cache(backend.size)
    query = select(Blob.created_at, Blob.pack_id, usable(), *place_columns()).outerjoin(Blob.pack)
    for part in batches(sorted(digests)):
        for created_at, inside, sound, *columns in session.execute(query.where(Blob.digest.in_(part))):
            digest, place = columns[0], make_place(*columns)
            is_packed = digest in batch.packed
            if is_packed and inside == pack_id:
                continue
            if not is_packed and created_at == at:
                found.new.append(digest)
            elif sound and bytes_here(place, size_of) == place.size:
                found.known.append(digest)
            else:
                (found.packed if is_packed else found.returned).append(digest)
    return found


def _count_in(session: Session, pack_id: int | None) -> int:
    if pack_id is None:
        return 0
    return session.scalars(select(func.count()).select_from(Blob).where(Blob.pack_id == pack_id)).one()


def _set_starts(session: Session, starts: Mapping[str, int]) -> None:
    if starts:
        # By the table: the ORM would take the key that is asked for from the values.
        columns = Blob.__table__.c
        change = update(Blob.__table__).where(columns.digest == bindparam("key"))  # type: ignore[arg-type]
        session.connection().execute(
            change.values(pack_start=bindparam("start")),
            [{"key": digest, "start": start} for digest, start in starts.items()],
        )
