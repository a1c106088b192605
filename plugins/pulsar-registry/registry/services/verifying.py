"""Look whether everything that the registry has written down still fits together.

Trees and their top hashes, the objects they need, the chain of each log, the kept sums of bytes. Nothing is
mended and nothing locked for long, so it may run beside pushes.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import storage
from core.db import db, own_transaction
from core.errors import NotFound
from core.storage.models import Blob
from core.users.models import User
from registry.chain import Pushed
from registry.manifest import BadTree, check_tree, find_objects, top_hash
from registry.models import LogEntry, Package, PackageObject, Revision, Usage
from registry.services import quotas
from registry.services.collecting import iter_package_ids
from registry.services.packages import lock_package
from registry.stored import BadStoredTree, StoredTree

__all__ = ["Counts", "Finding", "verify"]

ANY_DEPTH: Final = 10**6  # what was pushed was checked then, by the limits of then


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be: where, and a few words on what."""

    where: str  # owner/name, owner/name and a top hash, or the name of an owner
    problem: str


@dataclass
class Counts:
    """How much was looked at."""

    packages: int = 0
    revisions: int = 0
    findings: int = 0


@dataclass(frozen=True, slots=True)
class _Object:
    size: int
    problem: str | None


def verify(counts: Counts, *, quick: bool = False) -> Iterator[Finding]:
    """Check every package; the findings as they come. Memory: one tree, and the objects of one package.

    :param quick: believe what is known of blobs instead of reading all of their bytes again.
    """
    damaged: dict[str, str] = {}
    if not quick:
        checked = storage.verify(storage.store().backend)
        damaged = {blob.digest: blob.problem for blob in checked if blob.problem}
    for finding in _find_all(counts, damaged):
        counts.findings += 1
        yield finding


def _find_all(counts: Counts, damaged: Mapping[str, str]) -> Iterator[Finding]:
    for package_id in iter_package_ids():
        with own_transaction() as session:
            handle = _handle(session, package_id)
            objects = {} if handle is None else _list_objects(session, package_id, damaged)
            revisions = _list_revisions(session, package_id)
        if handle is None:
            continue
        counts.packages += 1
        for revision_id, digest, tree in revisions:
            counts.revisions += 1
            found = [Finding(f"{handle} {digest}", what) for what in _check_revision(digest, tree, objects)]
            # A push may have given it another tree, and a deletion have taken it away, since it was listed.
            if found and _is_still(revision_id, tree):
                yield from found
        # All of it before the first is told: whoever reads slowly must not keep the package locked.
        for problem in list(_check_log(package_id)):
            yield Finding(handle, problem)
    yield from _check_sums()


def _handle(session: Session, package_id: int) -> str | None:
    query = select(User.username, Package.name).join(Package, Package.owner_id == User.id)
    row = session.execute(query.where(Package.id == package_id)).one_or_none()
    return row and f"{row[0]}/{row[1]}"


def _list_objects(session: Session, package_id: int, damaged: Mapping[str, str]) -> dict[str, _Object]:
    columns = (PackageObject.digest, Blob.size, Blob.condemned_at, Blob.damaged_at)
    query = select(*columns).outerjoin(Blob, Blob.digest == PackageObject.digest)
    found = {}
    for digest, size, condemned_at, damaged_at in session.execute(
        query.where(PackageObject.package_id == package_id)
    ):
        problem = damaged.get(digest)
        if size is None or condemned_at is not None:
            problem = "missing"
        elif damaged_at is not None:
            problem = problem or "damaged"
        found[digest] = _Object(size or 0, problem)
    return found


def _list_revisions(session: Session, package_id: int) -> list[Any]:
    query = select(Revision.id, Revision.digest, Revision.tree).where(Revision.package_id == package_id)
    return list(session.execute(query.order_by(Revision.id)))


def _is_still(revision_id: int, tree: str) -> bool:
    with own_transaction() as session:
        return session.scalar(select(Revision.tree).where(Revision.id == revision_id)) == tree


def _check_revision(digest: str, blob: str, objects: Mapping[str, _Object]) -> Iterator[str]:
    try:
        stored = StoredTree(storage.store().open(blob))
        contents = stored.load()
        check_tree(contents, max_depth=ANY_DEPTH)
    except NotFound:
        yield f"the tree {blob} is missing"
        return
    except (BadStoredTree, BadTree) as exc:
        yield f"the tree {blob} is damaged{f': {exc}' if str(exc) else ''}"
        return
    finally:
        db.session.rollback()  # nothing was changed; a long reading transaction would hold others up
    if (found := top_hash(contents)) != digest:
        yield f"the tree {blob} has the top hash {found}"
    needed = find_objects(contents).objects
    if set(needed) != stored.sizes.keys():
        yield f"the tree {blob} needs other objects than it lists"
    for name in needed:
        known = objects.get(name)
        if known is None:
            yield f"object {name} is not among those of the package"
        elif known.problem is not None:
            yield f"object {name}: {known.problem}"
        elif name in stored.sizes and stored.sizes[name] != known.size:
            yield f"object {name} has {known.size} bytes, not {stored.sizes[name]}"


def _check_log(package_id: int) -> Iterator[str]:
    with own_transaction() as session:
        package = lock_package(session, package_id)
        if package is None:
            return
        missing = dict.fromkeys(
            session.scalars(select(Revision.digest).where(Revision.package_id == package_id))
        )
        known, last = set(missing), None
        query = select(LogEntry).where(LogEntry.package_id == package_id).order_by(LogEntry.id)
        for entry in session.scalars(query.execution_options(yield_per=100)):
            if _hash_of(entry) != entry.entry:
                yield f"entry {entry.entry} of the log was changed"
            if entry.previous != last:
                yield f"entry {entry.entry} of the log does not follow the one before"
            if entry.digest not in known:
                yield f"entry {entry.entry} of the log names {entry.digest}, which is not there"
            missing.pop(entry.digest, None)
            last = entry.entry
        if package.log_head != last:
            yield f"the log ends with entry {last}, not with {package.log_head}"
        for digest in missing:
            yield f"no entry of the log names {digest}"


def _hash_of(entry: LogEntry) -> str | None:
    try:
        provenance = json.loads(entry.provenance)
    except ValueError:
        return None
    return Pushed(
        entry.digest, entry.author, entry.created_at, entry.message, provenance, entry.previous
    ).hash()


def _check_sums() -> Iterator[Finding]:
    with own_transaction() as session:
        owners = select(Package.owner_id).union(select(Usage.owner_id)).subquery()
        names = session.execute(select(User.id, User.username).join(owners, owners.c.owner_id == User.id))
        found = names.all()
    for owner_id, name in found:
        with own_transaction() as session:
            kept = quotas.lock_usage(session, owner_id).bytes
            counted = quotas.count_used(session, owner_id)
        if kept != counted:
            yield Finding(name, f"{kept} bytes are written down, {counted} are needed")
