"""Remove what nobody refers to any more.

One sweep, in transactions of its own, a few hundred blobs at a time, beside uploads and other sweeps:

1. note since when a blob has been idle, and that another is not idle any more;
2. condemn what has been idle longer than the grace: from that commit on it counts as absent, so an uploader
   is asked for its bytes, and an upload takes the condemnation back under the row's lock;
3. adopt bytes that have no row and are older than the grace, as condemned rows: inserting the row takes the
   lock that an upload of the same bytes would need;
4. remove the condemned: lock the row, look once more for references, delete the row (the database refuses if
   anything it knows of refers to it), delete the bytes, commit.

The bytes go before the commit, under the lock: after it an upload could have placed them again. A crash in
between leaves a condemned row, which the next sweep finishes. Of a blob in a pack only the row goes; then
:mod:`core.storage.repacking` looks after the packs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, and_, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.db import now, own_transaction
from core.storage.backends import Backend, bytes_here
from core.storage.models import Blob
from core.storage.references import Referrer, is_referred_to, list_referrers
from core.storage.repacking import remove_idle, remove_unknown, repack
from core.storage.rows import BATCH, batches, is_kept, write_rows

__all__ = ["SweepReport", "sweep"]

# An upload writes its temporary file all the time; what nobody touched for a day is left over.
TEMPORARY_LIFE = timedelta(days=1)

_QUIET = {"synchronize_session": False}  # these sessions hold no objects that could go stale


@dataclass
class SweepReport:
    """What was removed, or would be.

    :param blobs: blobs nobody referred to; ``bytes``: their size together.
    :param orphans: of these, bytes that no row knew of.
    :param temporary: remains of interrupted uploads, packs that no row knew of among them.
    :param packs: packs in which nothing was left.
    :param moved: blobs that were moved out of packs in which little was left.
    """

    blobs: int = 0
    bytes: int = 0
    orphans: int = 0
    temporary: int = 0
    packs: int = 0
    moved: int = 0

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)


def sweep(
    backend: Backend, *, grace: timedelta, dry_run: bool = False, at: datetime | None = None
) -> SweepReport:
    """Remove blobs that have been idle for ``grace``, and the remains of interrupted uploads.

    Any number may run at once, and beside uploads. Commits as it goes.

    :param at: the present time, for those who test time.
    """
    at = at or now()
    cutoff = at - grace
    left_over = at - max(grace, TEMPORARY_LIFE)
    with own_transaction() as session:
        referrers = list_referrers(session)
    report = SweepReport()
    report.temporary = backend.sweep_temporary(left_over, dry_run=dry_run)
    report.temporary += remove_unknown(backend, left_over, dry_run=dry_run)
    if dry_run:
        _count(backend, referrers, cutoff, at, report)
        return report
    _note_idle(referrers, at)
    _condemn(referrers, cutoff, at)
    for orphans, doubles in _list_strays(backend, cutoff):
        report.orphans += _adopt(orphans, at)
        _remove_doubles(backend, doubles)
    for size in remove_condemned(backend, referrers, at):
        report.blobs += 1
        report.bytes += size
    report.packs = remove_idle(backend, cutoff, at)
    report.moved = repack(backend, at)
    return report


def _note_idle(referrers: Sequence[Referrer], at: datetime) -> None:
    named = is_referred_to(referrers)
    for low, high in _stretches():
        here = and_(Blob.digest >= low, Blob.digest <= high)
        # An expression, so that rows are locked in the order of their keys, as uploads do, and not in that of
        # the index of the column: MariaDB would find them waiting for each other in a ring.
        new = func.coalesce(Blob.idle_since, None).is_(None)
        idle = update(Blob).where(here, new, ~named).values(idle_since=at)
        busy = update(Blob).where(here, Blob.idle_since.is_not(None), is_kept(), named)
        with own_transaction() as session:
            session.execute(idle, execution_options=_QUIET)
            session.execute(busy.values(idle_since=None), execution_options=_QUIET)


def _stretches(rows: int = 5000) -> Iterator[tuple[str, str]]:
    """First and last digest of every ``rows`` blobs: a change to all of them in bearable transactions."""
    last = ""
    while True:
        part = select(Blob.digest).where(Blob.digest > last).order_by(Blob.digest).limit(rows).subquery()
        with own_transaction() as session:
            low, high = session.execute(select(func.min(part.c.digest), func.max(part.c.digest))).one()
        if high is None:
            return
        yield low, high
        last = high


def _condemn(referrers: Sequence[Referrer], cutoff: datetime, at: datetime) -> None:
    due = and_(is_kept(), Blob.idle_since <= cutoff, ~is_referred_to(referrers))
    last = ""
    while True:
        with own_transaction() as session:
            found = session.scalars(_locked(due, last)).all()
            if not found:
                return
            last = found[-1]
            # Asked again: before we had the lock somebody may have referred to it, from now on nobody can.
            session.execute(
                update(Blob).where(Blob.digest.in_(found), due).values(condemned_at=at),
                execution_options=_QUIET,
            )


def _locked(condition: ColumnElement[bool], last: str) -> Select[str]:
    query = select(Blob.digest).where(condition, Blob.digest > last).order_by(Blob.digest).limit(BATCH)
    return query.with_for_update(skip_locked=True)


def _list_strays(backend: Backend, cutoff: datetime) -> Iterator[tuple[list[tuple[str, int]], list[str]]]:
    """Files that no row knows of, last written before ``cutoff``, in batches.

    First (digest, size) of those that have no row at all, then the digests of those whose row says that their
    bytes are in a pack, where they were put when these had been lost or condemned.
    """
    for batch in batches(found for found in backend.iter_found() if found.modified_at <= cutoff):
        query = select(Blob.digest, Blob.pack_id).where(Blob.digest.in_([one.name for one in batch]))
        with own_transaction() as session:
            rows = {digest: pack_id for digest, pack_id in session.execute(query)}
        orphans = sorted((one.name, one.size) for one in batch if one.name not in rows)
        doubles = sorted(digest for digest, pack_id in rows.items() if pack_id is not None)
        if orphans or doubles:
            yield orphans, doubles


def _remove_doubles(backend: Backend, digests: Sequence[str]) -> None:
    if digests:
        packed = select(Blob.digest).where(Blob.digest.in_(digests), Blob.pack_id.is_not(None))
        with own_transaction() as session:
            backend.delete(session.scalars(packed.order_by(Blob.digest).with_for_update()).all())


def _adopt(orphans: Iterable[tuple[str, int]], at: datetime) -> int:
    rows = [{"digest": digest, "size": size} for digest, size in orphans]
    same = {"blake3": "", "crc32": 0, "created_at": at, "condemned_at": at}
    with own_transaction() as session:
        write_rows(session, Blob, rows, same=same)
    return len(rows)


def remove_condemned(
    backend: Backend, referrers: Sequence[Referrer], at: datetime, *, among: Sequence[str] | None = None
) -> Iterator[int]:
    """Finish what was condemned, now or before a crash; the sizes of what was removed.

    :param among: at most a batch of digests, to leave all others alone.
    """
    due: ColumnElement[bool] = Blob.condemned_at.is_not(None)
    if among is not None:
        due = and_(due, Blob.digest.in_(among))
    last = ""
    while True:
        with own_transaction() as session:
            found = session.scalars(_locked(due, last)).all()
            if not found:
                return
            last = found[-1]
            sizes = _remove(session, backend, referrers, found, at)
        yield from sizes


def _remove(
    session: Session, backend: Backend, referrers: Sequence[Referrer], digests: Sequence[str], at: datetime
) -> list[int]:
    condemned = select(Blob.digest, Blob.size, Blob.pack_id).where(Blob.digest.in_(digests))
    rows = {row.digest: row for row in session.execute(condemned.where(~is_referred_to(referrers)))}
    removed = _delete_rows(session, list(rows))
    for digest in digests:
        if digest not in removed:
            _pardon(session, backend, digest, at)
    backend.delete(sorted(digest for digest in removed if rows[digest].pack_id is None))
    return [rows[digest].size for digest in removed]


def _delete_rows(session: Session, digests: Sequence[str]) -> set[str]:
    """Delete the rows nothing refers to; the database has the last word, one by one if need be."""
    try:
        with session.begin_nested():
            session.execute(delete(Blob).where(Blob.digest.in_(digests)), execution_options=_QUIET)
    except IntegrityError:
        if len(digests) <= 1:
            return set()
        return set().union(*(_delete_rows(session, [digest]) for digest in digests))
    return set(digests)


def _pardon(session: Session, backend: Backend, digest: str, at: datetime) -> None:
    """Somebody refers to it after all. Its bytes are still there, unless a sweep was killed in mid-step."""
    blob = session.get_one(Blob, digest)
    blob.condemned_at, blob.idle_since = None, at
    if bytes_here(blob.place, backend.size) != blob.size:
        blob.damaged_at = at


def _count(
    backend: Backend, referrers: Sequence[Referrer], cutoff: datetime, at: datetime, report: SweepReport
) -> None:
    idle_since = func.coalesce(Blob.idle_since, at)
    due = and_(~is_referred_to(referrers), idle_since <= cutoff)
    with own_transaction() as session:
        blobs, size = session.execute(
            select(func.count(), func.coalesce(func.sum(Blob.size), 0)).where(due)
        ).one()
    report.blobs, report.bytes = blobs, int(size)  # PostgreSQL and MariaDB make a Decimal of a sum
    for orphans, _ in _list_strays(backend, cutoff):
        report.orphans += len(orphans)
        report.blobs += len(orphans)
        report.bytes += sum(size for _, size in orphans)
