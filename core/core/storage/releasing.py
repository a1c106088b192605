"""Remove blobs at once, for who knows that nobody was told of them.

The grace of a sweep is there for people: whoever was told that his bytes are here need not send them again.
What the site itself has fetched nobody was told of. So when the last row that refers to such a blob is gone,
its space may be had at once; a blob that somebody has once sent is left to the sweep.
"""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import delete, exists, select, update

from core.db import now, own_transaction
from core.storage.backends import Backend
from core.storage.models import Blob, BlobProof, Pack
from core.storage.references import is_referred_to, list_referrers
from core.storage.rows import batches
from core.storage.sweeping import remove_condemned

__all__ = ["release"]

_QUIET = {"synchronize_session": False}  # these sessions hold no objects that could go stale


def release(backend: Backend, digests: Iterable[str], *, at: datetime | None = None) -> int:
    """Remove those of ``digests`` that nobody refers to and nobody has sent; how many bytes that were.

    In transactions of its own, beside uploads and sweeps. A pack goes with the last blob in it.

    :raises Unavailable: the place for bytes refuses; the next sweep finishes what was begun.
    """
    moment = at or now()
    with own_transaction() as session:
        referrers = list_referrers(session)
    freed = 0
    for batch in batches(sorted(set(digests))):
        was_sent = exists().where(BlobProof.digest == Blob.digest)
        idle = (Blob.digest.in_(batch), ~is_referred_to(referrers), ~was_sent)
        with own_transaction() as session:
            query = select(Blob.digest, Blob.pack_id).where(*idle).order_by(Blob.digest)
            found = session.execute(query.with_for_update(skip_locked=True)).all()
            # Asked again: before we had the lock somebody may have referred to it, from now on nobody can.
            here = Blob.digest.in_([digest for digest, _ in found])
            session.execute(
                update(Blob).where(here, *idle).values(condemned_at=moment), execution_options=_QUIET
            )
        chosen = [digest for digest, _ in found]
        freed += sum(remove_condemned(backend, referrers, moment, among=chosen))
        _remove_packs(backend, {pack_id for _, pack_id in found if pack_id is not None})
    return freed


def _remove_packs(backend: Backend, pack_ids: Iterable[int]) -> None:
    empty = select(Pack.id, Pack.name).where(
        Pack.id.in_(sorted(pack_ids)), ~exists().where(Blob.pack_id == Pack.id)
    )
    with own_transaction() as session:
        found = {pack_id: name for pack_id, name in session.execute(empty.with_for_update())}
        session.execute(delete(Pack).where(Pack.id.in_(found)), execution_options=_QUIET)
    # Without its row it is what an upload left that was killed; a crash here costs a day of its space.
    backend.delete(list(found.values()))
