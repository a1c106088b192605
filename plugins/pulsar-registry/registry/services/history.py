"""The log of a package: written by each push, never changed, each entry chained to the one before."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db import db, own_transaction
from core.identity import Identity
from registry.chain import Pushed, dump
from registry.models import LogEntry, Package, Revision, Tag, Version
from registry.services.packages import get_package

__all__ = ["append", "iter_log"]

READ_ENTRIES: Final = 100  # that are held at a time; each may have a message and a provenance of its own


def append(
    package: Package,
    identity: Identity,
    digest: str,
    moment: datetime,
    *,
    message: str,
    provenance: Mapping[str, Any],
) -> None:
    """Log that ``identity`` pushed the revision ``digest``; the package must be locked, and as it is now."""
    author = identity.username or "anonymous"
    pushed = Pushed(digest, author, moment, message, provenance, package.log_head)
    package.log_head = pushed.hash()
    db.session.add(
        LogEntry(
            package_id=package.id,
            digest=digest,
            author_id=identity.user_id,
            author=author,
            message=message,
            provenance=dump(provenance),
            previous=pushed.previous,
            entry=package.log_head,
            created_at=moment,
        )
    )


def iter_log(identity: Identity, owner: str, name: str) -> Iterator[bytes]:
    """Every push as a JSON object, oldest first, with the tags and versions that its revision has now.

    Reads on while it is asked for more, in short transactions of its own: needs the app context until then.

    :raises NotFound: at once, if there is no such package for ``identity``.
    """
    package = get_package(identity, owner, name).package
    package_id = package.id
    tags = _names(Tag.name, Tag, package_id)
    versions = _names(Version.version, Version, package_id)
    first = _read_entries(db.session, package_id, 0)

    def read_on() -> Iterator[bytes]:
        entries = first
        while entries:
            for entry in entries:
                yield _entry_text(entry, tags, versions)
            if len(entries) < READ_ENTRIES:
                return
            with own_transaction() as session:
                entries = _read_entries(session, package_id, entries[-1].id)

    return read_on()


def _read_entries(session: Session, package_id: int, after: int) -> Sequence[Any]:
    columns = (
        *(LogEntry.id, LogEntry.digest, LogEntry.author, LogEntry.created_at),
        *(LogEntry.message, LogEntry.provenance, LogEntry.previous, LogEntry.entry),
        Revision.id.label("number"),
    )
    pushed = (Revision.package_id == LogEntry.package_id) & (Revision.digest == LogEntry.digest)
    query = (
        select(*columns)
        .outerjoin(Revision, pushed)
        .where(LogEntry.package_id == package_id, LogEntry.id > after)
    )
    return session.execute(query.order_by(LogEntry.id).limit(READ_ENTRIES)).all()


def _entry_text(entry: Any, tags: Mapping[str, list[str]], versions: Mapping[str, list[str]]) -> bytes:
    head = {
        "hash": entry.digest,
        "number": entry.number,
        "created": entry.created_at.timestamp(),
        "author": entry.author,
        "tags": tags.get(entry.digest),
        "versions": versions.get(entry.digest),
        "message": entry.message,
        "previous": entry.previous,
        "entry": entry.entry,
    }
    return f'{json.dumps(head)[:-1]}, "provenance": {entry.provenance}}}'.encode()


def _names(column: Any, model: Any, package_id: int) -> dict[str, list[str]]:
    rows = db.session.execute(
        select(Revision.digest, column)
        .join(Revision, Revision.id == model.revision_id)
        .where(model.package_id == package_id)
        .order_by(column)
    )
    found: dict[str, list[str]] = {}
    for digest, name in rows:
        found.setdefault(digest, []).append(name)
    return found
