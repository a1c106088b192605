"""Who has sent all bytes of a blob, so that telling him that it is here gives nothing away.

Whoever brought a pack has one row for it, since what lies in it is nothing but what he has sent: a row for
each of ten thousand small blobs would cost half as much as their own. A blob that leaves its pack takes rows
of its own along.
"""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.orm import Session

from core.storage.models import Blob, BlobProof, PackProof
from core.storage.rows import find_among, write_rows

__all__ = ["keep_proofs", "record_proofs", "was_sent_by"]


def was_sent_by(user_id: int | None) -> ColumnElement[bool]:
    """SQL: this user has sent all bytes of the blob of the row at hand."""
    return or_(
        exists().where(PackProof.pack_id == Blob.pack_id, PackProof.user_id == user_id),
        exists().where(BlobProof.user_id == user_id, BlobProof.digest == Blob.digest),
    )


def record_proofs(
    session: Session, user_id: int, at: datetime, *, digests: Iterable[str], pack_id: int | None
) -> None:
    """Note that this user has sent these blobs, and everything that lies in the pack."""
    same = {"user_id": user_id, "created_at": at}
    write_rows(session, BlobProof, [{"digest": digest} for digest in sorted(digests)], same=same)
    if pack_id is not None:
        write_rows(session, PackProof, [{"pack_id": pack_id}], same=same)


def keep_proofs(session: Session, digests: Iterable[str], at: datetime) -> None:
    """Give those who brought the packs in which these blobs lie rows for them. Call it before they leave."""
    query = select(PackProof.user_id, Blob.digest).join(Blob, Blob.pack_id == PackProof.pack_id)
    rows = sorted(find_among(session, query, Blob.digest, digests))
    write_rows(
        session,
        BlobProof,
        [{"user_id": user_id, "digest": digest} for user_id, digest in rows],
        same={"created_at": at},
    )
