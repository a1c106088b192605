"""Sharing: who may read, write or manage one thing of a plugin. One table for all plugins.

A plugin states once who may see its rows, as a SQL predicate::

    query = select(Package).where(can(Level.READ, Package, identity))

and single look-ups, lists, counts and searches all use it. So a list never asks a question per row,
pages are full, and a count tells nothing of what the caller may not see.
"""

from collections.abc import Collection
from enum import IntEnum, StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    delete,
    or_,
    select,
    true,
)
from sqlalchemy.exc import IntegrityError

from core.db import change, db, now
from core.identity import Identity
from core.models import Grant

__all__ = [
    "Audience",
    "Grant",
    "Level",
    "can",
    "find_grant",
    "forget_audience",
    "list_grants",
    "reaching",
    "revoke",
    "revoke_all",
    "share",
]


class Level(IntEnum):
    """What a grant allows; each level includes those below it."""

    READ = 1
    WRITE = 2
    MANAGE = 3


class Audience(StrEnum):
    """Whom a grant is for."""

    USER = "user"
    USER_CLASS = "class"
    SECONDARY_CLASS = "secondary_class"
    LOGGED_IN = "everyone"  # whoever has an account here
    PUBLIC = "public"  # whoever can reach the site


NOBODY = 0  # subject of a grant to everyone or the public; NULLs would not be unique


def can(
    level: Level, model: Any, identity: Identity, *, without: Collection[Audience] = ()
) -> ColumnElement[bool]:
    """The rows of ``model`` with which ``identity`` may do what ``level`` says.

    :param model: a mapped class with the columns ``id`` and ``owner_id``.
    :param without: of the public and everyone, those whose grants do not count on this site.
    """
    if identity.is_god:
        return true()
    shared = select(Grant.object_id).where(
        Grant.kind == model.__tablename__, Grant.level >= level, reaching(identity, without=without)
    )
    seen: ColumnElement[bool] = model.id.in_(shared)
    return or_(model.owner_id == identity.user_id, seen) if identity.authenticated else seen


def reaching(identity: Identity, *, without: Collection[Audience] = ()) -> ColumnElement[bool]:
    """The grants whose audience ``identity`` belongs to."""
    open_to = [Audience.PUBLIC, Audience.LOGGED_IN] if identity.authenticated else [Audience.PUBLIC]
    audiences: list[ColumnElement[bool]] = [
        Grant.audience.in_([audience for audience in open_to if audience not in without])
    ]
    if identity.authenticated:
        subjects = {
            Audience.USER: (identity.user_id,),
            Audience.USER_CLASS: identity.user_class_ids,
            Audience.SECONDARY_CLASS: identity.secondary_class_ids,
        }
        audiences += [
            and_(Grant.audience == audience, Grant.subject_id.in_(ids))
            for audience, ids in subjects.items()
            if ids
        ]
    return or_(*audiences)


def share(
    thing: Any, audience: Audience, level: Level, *, subject_id: int = NOBODY, granted_by: int | None = None
) -> bool:
    """Let ``audience`` do what ``level`` says with ``thing``, a row with an ``id``.

    :param subject_id: the user or class, where the audience is one.
    :returns: False if exactly this was granted already.
    """
    grant = find_grant(thing, audience, subject_id)
    if grant is None:
        try:
            with db.session.begin_nested():
                db.session.add(
                    Grant(
                        kind=thing.__tablename__,
                        object_id=thing.id,
                        audience=audience,
                        subject_id=subject_id,
                        level=level,
                        granted_by=granted_by,
                        granted_at=now(),
                    )
                )
        except IntegrityError:  # somebody else granted something in the same moment
            grant = find_grant(thing, audience, subject_id)
    if grant is None:
        return True
    changed, grant.level = grant.level != level, level
    db.session.flush()
    return changed


def find_grant(thing: Any, audience: Audience, subject_id: int = NOBODY) -> Grant | None:
    """The grant of ``thing`` to exactly this audience, or None."""
    return db.session.scalar(
        _grants_of(thing).where(Grant.audience == audience, Grant.subject_id == subject_id)
    )


def list_grants(thing: Any) -> list[Grant]:
    """Every grant of ``thing``, oldest first."""
    return list(db.session.scalars(_grants_of(thing).order_by(Grant.id)))


def revoke(thing: Any, audience: Audience, subject_id: int = NOBODY) -> bool:
    """Take a grant back. False if there was none."""
    gone = delete(Grant).where(
        Grant.kind == thing.__tablename__,
        Grant.object_id == thing.id,
        Grant.audience == audience,
        Grant.subject_id == subject_id,
    )
    return change(db.session, gone) > 0


def revoke_all(thing: Any) -> None:
    """Take every grant back; for a thing that is about to be deleted."""
    db.session.execute(delete(Grant).where(Grant.kind == thing.__tablename__, Grant.object_id == thing.id))


def forget_audience(audience: Audience, subject_id: int) -> None:
    """Take back every grant to a user or class that is about to be deleted: its id may be given again."""
    gone = delete(Grant).where(Grant.audience == audience, Grant.subject_id == subject_id)
    db.session.execute(gone)


def _grants_of(thing: Any) -> Select[Grant]:
    return select(Grant).where(Grant.kind == thing.__tablename__, Grant.object_id == thing.id)
