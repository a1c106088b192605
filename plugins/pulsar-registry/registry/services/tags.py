"""Tags: names that move from one revision to another."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import aliased

from core.db import db, now
from core.errors import BadRequest, Forbidden, NotFound
from core.events import emit
from core.identity import Identity
from core.users.models import User
from registry.errors import TagMoved
from registry.events import RegistryEvents
from registry.models import Package, Revision, Tag
from registry.names import is_tag
from registry.services import search
from registry.services.packages import get_package, require_owner
from registry.services.references import LATEST, find_tagged
from registry.services.revisions import find_revision, get_revision_id, is_complete

__all__ = ["check_expected", "delete_tag", "get_tag", "list_tags", "point_tag", "set_tag"]

Creator, Updater = aliased(User), aliased(User)


def check_expected(package_id: int | None, tag: str, expected: str | None) -> None:
    """Compare before a swap; for an answer that still holds at the commit, with the package locked.

    :param package_id: None for a package that is not there yet.
    :param expected: top hash of the revision that ``tag`` must name; None: there must be no such tag.
    :raises TagMoved: if it is otherwise.
    """
    query = select(Revision.digest).join(Tag, Tag.revision_id == Revision.id)
    found = db.session.scalar(query.where(Tag.package_id == package_id, Tag.name == tag))
    if found != expected:
        raise TagMoved(tag, found)


def point_tag(
    package: Package, tag: str, revision: Revision, words: dict[str, int], *, handle: str, by: int | None
) -> None:
    """Let ``tag`` name ``revision``; the package must be locked.

    :param words: by which the package is found from now on; nothing: by those it had.
    :param handle: ``owner/name`` of the package; :param by: the user who does it.
    """
    moment = now()
    found = db.session.get(Tag, (package.id, tag))
    if found is None:
        found = Tag(package_id=package.id, name=tag, created_by=by, created_at=moment)
        db.session.add(found)
    found.revision_id, found.updated_by, found.updated_at = revision.id, by, moment
    if words:
        search.index(package.id, words)
    emit(RegistryEvents.TAG_CHANGED, target=f"package:{handle}", tag=tag, hash=revision.digest)
    db.session.flush()


def set_tag(identity: Identity, owner: str, name: str, tag: str, digest: str) -> None:
    """Let ``tag`` name the revision ``digest``, whatever it named before.

    :raises NotFound: no such package or revision; :raises Forbidden: the caller may not push either.
    """
    if not is_tag(tag):
        raise BadRequest("Invalid tag")
    words = _find_words(identity, owner, name, digest) if tag == LATEST else {}
    seen = get_package(identity, owner, name, lock=True)
    if not seen.may_push:
        raise Forbidden("Only the package owner can modify tags")
    revision = db.session.get_one(Revision, get_revision_id(seen.package.id, digest))
    point_tag(seen.package, tag, revision, words, handle=f"{owner}/{name}", by=identity.user_id)


def _find_words(identity: Identity, owner: str, name: str, digest: str) -> dict[str, int]:
    """By what the package is to be found; nothing if that stays as it is.

    Looked for before anything is locked, since a tree may be large.
    """
    seen = get_package(identity, owner, name)
    revision = find_revision(seen.package.id, digest)
    if revision is None or not seen.may_push or find_tagged(seen.package.id, LATEST) == revision:
        return {}
    return search.find_words(seen.package.name, revision)


def get_tag(identity: Identity, owner: str, name: str, tag: str, *, complete: bool = False) -> dict[str, Any]:
    """What ``tag`` names, who made and moved it, and how open the package is.

    :param complete: also say whether the revision has everything it needs.
    """
    seen = get_package(identity, owner, name)
    row = db.session.execute(
        select(Tag, Revision, Creator.username, Updater.username)
        .join(Revision, Revision.id == Tag.revision_id)
        .outerjoin(Creator, Creator.id == Tag.created_by)
        .outerjoin(Updater, Updater.id == Tag.updated_by)
        .where(Tag.package_id == seen.package.id, Tag.name == tag.replace("\x00", ""))
    ).one_or_none()
    if row is None:
        raise NotFound(f"Tag {tag!r} does not exist")
    found, revision, creator, updater = row
    answer = {"complete": is_complete(revision)} if complete else {}
    return answer | {
        "hash": revision.digest,
        "is_public": seen.is_public,
        "is_team": seen.is_team,
        "created_by": creator,
        "created_at": found.created_at.timestamp(),
        "updated_by": updater,
        "updated_at": found.updated_at.timestamp(),
    }


def delete_tag(identity: Identity, owner: str, name: str, tag: str) -> None:
    """:raises NotFound: no such package or tag; :raises Forbidden: only the owner removes tags."""
    seen = get_package(identity, owner, name, lock=True)
    package = require_owner(seen, "Only the package owner can modify tags")
    found = db.session.get(Tag, (package.id, tag.replace("\x00", "")))
    if found is None:
        raise NotFound(f"Package {owner}/{name} tag {tag!r} does not exist")
    db.session.delete(found)
    emit(RegistryEvents.TAG_CHANGED, target=f"package:{owner}/{name}", tag=tag, hash=None)
    db.session.flush()


def list_tags(identity: Identity, owner: str, name: str) -> Sequence[Any]:
    """``(tag, top hash)``, by tag."""
    package = get_package(identity, owner, name).package
    query = select(Tag.name, Revision.digest).join(Revision, Revision.id == Tag.revision_id)
    return db.session.execute(query.where(Tag.package_id == package.id).order_by(Tag.name)).all()
