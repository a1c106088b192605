"""Invites, and registration with or without one."""

import re
import secrets
from datetime import timedelta
from typing import Any, Final

from flask import current_app
from sqlalchemy import ColumnElement, Select, select, true, update
from sqlalchemy.orm import selectinload

from core.db import change, db, now
from core.errors import BadRequest, NotFound
from core.events import CoreEvents, emit
from core.identity import Identity
from core.pages import fetch_page
from core.permissions import CorePermissions as P
from core.users.models import Invite, User
from core.users.services.accounts import (
    add_user,
    check_account,
    check_email,
    create_user,
    make_user,
    user_or_self,
)
from core.users.services.classes import lowest_class
from core.users.services.links import ask_for_verification

__all__ = ["get_invite", "list_invites", "register", "revoke_invite", "send_invite"]

CODE: Final = re.compile(r"[A-Za-z0-9_-]{24}", re.ASCII)


def register(username: str, password: str, email: str, code: object = None) -> User:
    """Make an account for whoever asks; where the site wants an invite, ``code`` is used up.

    :raises ValidationFailed: if the name is not allowed or taken, or the password or address is refused.
    :raises BadRequest: without a good code where one is needed.
    :raises Conflict: if somebody else takes the name in the same moment.
    """
    if not current_app.config["REQUIRE_INVITE_CODE"]:
        user = create_user(username, password, email)
        ask_for_verification(user)
        return user
    email = check_account(username, password, email)
    invite = _find_usable(code)
    user = make_user(username, password, email, lowest_class())
    user.inviter_id = invite.inviter_id
    _use(invite, user)
    ask_for_verification(user)
    return user


def _find_usable(code: object) -> Invite:
    if code is None:
        raise BadRequest("An invite code is required for registration.")
    if not isinstance(code, str) or len(code) != 24:
        raise BadRequest("Invite code must be a 24 character string.")
    query = select(Invite).where(Invite.code == code, _alive())
    invite = db.session.scalar(query) if CODE.fullmatch(code) else None
    if invite is None:
        raise BadRequest(f"{code} is not a valid invite code.")
    return invite


def _use(invite: Invite, user: User) -> None:
    """Store ``user``, and that the invite brought this one and can bring nobody else."""
    same = update(Invite).where(Invite.code == invite.code)
    # Many may have found it usable. One of them changes it, and is waited for by the others.
    if not change(db.session, same.where(_alive()).values(expired=True)):
        raise BadRequest(f"{invite.code} is not a valid invite code.")
    add_user(user)
    db.session.execute(same.values(invitee_id=user.id))
    emit(CoreEvents.INVITE_USED, target=_target(invite.code), invitee_id=user.id)


def get_invite(identity: Identity, code: str) -> Invite:
    """One invite, dead ones too.

    :raises NotFound: if there is none, or ``identity`` may not see it.
    """
    return _find(code, _of(identity, P.INVITES_VIEW_OTHERS))


def list_invites(
    identity: Identity,
    *,
    used: bool = False,
    include_dead: bool = False,
    user_id: int | None = None,
    page: int = 1,
    limit: int = 50,
) -> tuple[Any, int]:
    """One page of the invites that a user has sent, newest first, and how many there are in all.

    :param used: only those with which somebody registered; ``include_dead`` does not matter then.
    :param user_id: the user; by default the caller.
    """
    sender = user_or_self(identity, user_id, P.INVITES_VIEW_OTHERS)
    wanted = [Invite.inviter_id == sender]
    if used:
        wanted.append(Invite.invitee_id.is_not(None))
    elif not include_dead:
        wanted.append(_alive())
    query = _loaded().where(*wanted).order_by(Invite.sent_at.desc(), Invite.code)
    return fetch_page(query, page=page, limit=limit)


def send_invite(identity: Identity, email: str, *, from_ip: str) -> Invite:
    """Make an invite for the one with this address, at the cost of one of the caller's.

    :raises BadRequest: if there is none left, or nobody needs one here.
    :raises ValidationFailed: if the address is none.
    """
    if not current_app.config["REQUIRE_INVITE_CODE"]:
        raise BadRequest("An invite code is not required to register, so invites have been disabled.")
    email = check_email(email)
    left = (User.id == identity.user_id, User.invites > 0)
    if not change(db.session, update(User).where(*left).values(invites=User.invites - 1)):
        raise BadRequest("You do not have an invite to send.")
    code = secrets.token_urlsafe(18)  # 24 characters
    db.session.add(
        Invite(code=code, inviter_id=identity.user_id, email=email, sent_at=now(), from_ip=from_ip[:45])
    )
    emit(CoreEvents.INVITE_SENT, target=_target(code))
    db.session.flush()
    return _find(code, true())


def revoke_invite(identity: Identity, code: str) -> Invite:
    """End an invite that nobody has used; its sender has one more again.

    :raises NotFound: if there is none, or it is dead, or ``identity`` may not revoke it.
    """
    mine = _of(identity, P.INVITES_REVOKE_OTHERS)
    invite = _find(code, mine, _alive())
    alive = update(Invite).where(Invite.code == code, _alive())
    if not change(db.session, alive.values(expired=True)):
        raise NotFound.of("Invite", code)  # used or revoked in the same moment
    sender = update(User).where(User.id == invite.inviter_id)
    db.session.execute(sender.values(invites=User.invites + 1))
    emit(CoreEvents.INVITE_REVOKED, target=_target(code))
    return _find(code, mine)


def _alive() -> ColumnElement[bool]:
    oldest = now() - timedelta(seconds=current_app.config["INVITE_LIFETIME"])
    return Invite.expired.is_(False) & (Invite.sent_at >= oldest)


def _of(identity: Identity, permission: str) -> ColumnElement[bool]:
    """The invites of ``identity``; with ``permission`` those of everybody."""
    return true() if identity.can(permission) else Invite.inviter_id == identity.user_id


def _find(code: str, *wanted: ColumnElement[bool]) -> Invite:
    query = _loaded().where(Invite.code == code, *wanted).execution_options(populate_existing=True)
    invite = db.session.scalar(query) if CODE.fullmatch(code) else None
    if invite is None:
        raise NotFound.of("Invite", code)
    return invite


def _loaded() -> Select[Invite]:
    people = (selectinload(Invite.inviter), selectinload(Invite.invitee))
    return select(Invite).options(*(one.selectinload(User.secondary_classes) for one in people))


def _target(code: str) -> str:
    # Enough to tell one from another, and too little to register with.
    return f"invite:{code[:8]}"
