"""Files of sources that are here already, and who is fetching which: one transfer for all carts."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple

from sqlalchemy import delete, exists, or_, select, update
from sqlalchemy.orm import Session

from cart.models import Entry, File
from core.db import db
from core.storage.models import Blob
from core.storage.rows import batches, find_among, usable, write_rows

__all__ = ["Known", "claim", "file_key", "find_known", "forget", "give_up", "remember", "renew"]


def file_key(source: str, identifier: str, hashtype: str, hashsum: str, version: str = "") -> str:
    """What a file is known by.

    :param version: what tells its states apart, where no hash does or nobody has looked at the hash.
    """
    parts = [source, identifier, hashtype if hashsum else "", hashsum, version]
    # As json.dumps() would write them, which takes five times as long.
    text = f"[{', '.join(map(encode_basestring_ascii, parts))}]"
    return hashlib.sha256(text.encode()).hexdigest()


class Known(NamedTuple):
    """A file that is here.

    :param digest: of its blob; None if it is local.
    :param size: B.
    :param mtime: s since 1970.
    """

    digest: str | None
    size: int
    mtime: int


def find_known(keys: Iterable[str]) -> dict[str, Known]:
    """Which of these files are here, or, if they are local, were verified."""
    whole = (
        select(File.key, File.digest, File.size, File.mtime)
        .outerjoin(Blob, Blob.digest == File.digest)
        .where(File.until.is_(None), or_(File.digest.is_(None), usable()))
    )
    found = find_among(db.session, whole, File.key, keys)
    return {key: Known(digest, size, mtime) for key, digest, size, mtime in found}


def claim(keys: Collection[str], cart_id: int, *, at: datetime, until: datetime) -> set[str]:
    """Which of these files the cart may fetch now; others are being fetched for another one.

    In the present transaction, which should end soon.
    """
    rows: list[Mapping[str, Any]] = [{"key": key} for key in sorted(keys)]
    same = {"size": 0, "mtime": 0, "cart_id": cart_id, "until": until}
    write_rows(db.session, File, rows, same=same)
    mine = set()
    for batch in batches(sorted(keys)):
        here = File.key.in_(batch)
        free = or_(File.until < at, File.cart_id == cart_id)
        # One that is not sound any more is fetched again, and its blob repaired by that.
        broken = File.until.is_(None) & exists().where(Blob.digest == File.digest, ~usable())
        db.session.execute(
            update(File).where(here, or_(free, broken)).values(cart_id=cart_id, until=until, digest=None),
            execution_options={"synchronize_session": False},
        )
        mine |= set(db.session.scalars(select(File.key).where(here, File.cart_id == cart_id)))
    return mine


def renew(session: Session, cart_id: int, until: datetime) -> None:
    """Keep what the cart is fetching."""
    session.execute(update(File).where(File.cart_id == cart_id).values(until=until))


def give_up(keys: Iterable[str], cart_id: int) -> None:
    """Let others fetch these."""
    for batch in batches(sorted(keys)):
        db.session.execute(
            delete(File).where(File.key.in_(batch), File.cart_id == cart_id, File.until.is_not(None)),
            execution_options={"synchronize_session": False},
        )


def remember(session: Session, files: Iterable[Mapping[str, Any]]) -> None:
    """Note that files are here: ``key``, ``digest`` (None for a local one), ``size``, ``mtime`` of each."""
    rows = sorted(files, key=lambda row: str(row["key"]))
    columns = ("digest", "size", "mtime", "cart_id", "until")
    write_rows(session, File, rows, columns, same={"cart_id": None, "until": None})


def forget(session: Session, digests: Iterable[str]) -> None:
    """Forget files whose bytes no cart has any more."""
    for batch in batches(sorted(digests)):
        session.execute(
            delete(File).where(File.digest.in_(batch), ~exists().where(Entry.digest == File.digest)),
            execution_options={"synchronize_session": False},
        )
