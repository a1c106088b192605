"""Notifications: telling, listing, marking as read."""

import json
import re
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError

from core.db import change, db, now
from core.errors import BadRequest, NotFound
from core.events import CoreEvents, emit
from core.identity import Identity
from core.notifications.models import Notification, NotificationType
from core.pages import fetch_page
from core.permissions import CorePermissions as P
from core.site import current_site
from core.users.services import user_or_self

__all__ = ["delete_read", "list_notifications", "list_unread", "mark", "mark_all", "notify"]

TYPE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
CONTENTS_MAX: Final = 16 * 2**10  # B of JSON; a notification points to things and does not hold them
SHOWN: Final = 25  # unread ones of each type in the overview
BATCH: Final = 500  # rows deleted in one transaction, so that others can write in between


def notify(user_id: int, type_: str, contents: Any) -> Notification:
    """Tell one user something. The request, job or command that calls this commits.

    :param type_: the kind of notification, in lower snake case; it begins with the name of a plugin and
        is made when it is first used.
    :param contents: whatever JSON can say, at most 16 KiB of it.
    :raises ValueError: if the type or the contents are not like that.
    :raises NotFound: if there is no such user.
    """
    prefixes = tuple(plugin.table_prefix for plugin in current_site().plugins.values())
    if not TYPE.fullmatch(type_) or not type_.startswith(prefixes):
        raise ValueError(f"{type_!r} is no type of notification: it begins with the name of a plugin")
    if len(json.dumps(contents, allow_nan=False, ensure_ascii=False).encode()) > CONTENTS_MAX:
        raise ValueError(f"a notification has at most {CONTENTS_MAX} bytes of contents")
    kind = _find_type(type_) or _add_type(type_)
    notification = Notification(user_id=user_id, type=kind, sent_at=now(), contents=contents, read=False)
    try:
        with db.session.begin_nested():
            db.session.add(notification)
    except IntegrityError:
        raise NotFound.of("User", user_id) from None
    emit(
        CoreEvents.NOTIFICATION_CREATED,
        target=f"notification:{notification.id}",
        user_id=user_id,
        type=type_,
    )
    return notification


def _find_type(name: str) -> NotificationType | None:
    return db.session.scalar(select(NotificationType).where(NotificationType.name == name))


def _add_type(name: str) -> NotificationType:
    made = NotificationType(name=name)
    try:
        with db.session.begin_nested():
            db.session.add(made)
    except IntegrityError:  # somebody else used it for the first time in the same moment
        found = _find_type(name)
        assert found is not None
        return found
    return made


def _get_type(name: str) -> NotificationType:
    found = _find_type(name) if TYPE.fullmatch(name) else None
    if found is None:
        raise BadRequest(f"{name} is not a notification type.")
    return found


def list_unread(identity: Identity, *, user_id: int | None = None) -> dict[str, list[Notification]]:
    """The newest 25 unread notifications of each type that there is, newest first.

    :param user_id: whose; by default the caller's.
    """
    user = user_or_self(identity, user_id, P.NOTIFICATIONS_VIEW_OTHERS)
    names = db.session.scalars(select(NotificationType.name).order_by(NotificationType.name))
    found: dict[str, list[Notification]] = {name: [] for name in names}
    rank = func.row_number().over(partition_by=Notification.type_id, order_by=Notification.id.desc())
    unread = select(Notification.id, rank.label("rank")).where(
        Notification.user_id == user, Notification.read.is_(False)
    )
    ranked = unread.subquery()
    newest = select(ranked.c.id).where(ranked.c.rank <= SHOWN)
    query = select(Notification).where(Notification.id.in_(newest)).order_by(Notification.id.desc())
    for notification in db.session.scalars(query):
        found.setdefault(notification.type.name, []).append(notification)
    return found


def list_notifications(
    identity: Identity,
    type_: str,
    *,
    include_read: bool = False,
    user_id: int | None = None,
    page: int = 1,
    limit: int = 50,
) -> tuple[list[Notification], int]:
    """One page of a user's notifications of one type, newest first, and how many there are in all.

    :raises BadRequest: if there is no such type.
    """
    user = user_or_self(identity, user_id, P.NOTIFICATIONS_VIEW_OTHERS)
    wanted = [Notification.user_id == user, Notification.type_id == _get_type(type_).id]
    if not include_read:
        wanted.append(Notification.read.is_(False))
    query = select(Notification).where(*wanted).order_by(Notification.id.desc())
    return fetch_page(query, page=page, limit=limit)


def mark_all(identity: Identity, type_: str | None = None, *, user_id: int | None = None) -> None:
    """Mark everything that a user was told, or everything of one type, as read.

    :raises BadRequest: if there is no such type.
    """
    user = user_or_self(identity, user_id, P.NOTIFICATIONS_MODIFY_OTHERS)
    unread = [Notification.user_id == user, Notification.read.is_(False)]
    if type_ is not None:
        unread.append(Notification.type_id == _get_type(type_).id)
    db.session.execute(update(Notification).where(*unread).values(read=True))


def mark(identity: Identity, notification_id: int, *, read: bool) -> None:
    """Mark one notification as read or unread.

    :raises NotFound: if there is none, or ``identity`` may not change it.
    """
    wanted = [Notification.id == notification_id]
    if not identity.can(P.NOTIFICATIONS_MODIFY_OTHERS):
        wanted.append(Notification.user_id == identity.user_id)
    statement = update(Notification).where(*wanted).values(read=read)
    if notification_id >= 2**63 or not change(db.session, statement):
        raise NotFound.of("Notification", notification_id)


def delete_read(before: datetime) -> int:
    """Delete some of the notifications that were sent before ``before`` and read; 0 when none is left."""
    old = select(Notification.id).where(Notification.read.is_(True), Notification.sent_at < before)
    ids = db.session.scalars(old.limit(BATCH)).all()
    if not ids:
        return 0
    gone = delete(Notification).where(Notification.id.in_(ids), Notification.read.is_(True))
    return change(db.session, gone.execution_options(synchronize_session=False))
