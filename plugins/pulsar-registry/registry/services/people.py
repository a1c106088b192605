"""The users of the site as administrators of a registry see and change them; core does the work."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from core import mail
from core.db import db
from core.errors import BadRequest, Conflict, Forbidden, NotFound
from core.identity import Identity
from core.permissions import GOD_MODE
from core.users import services as users
from core.users.models import ACCESS, SESSION, ApiKey, User
from core.users.services.guard import holds_god_mode
from registry.models import Package
from registry.services import audit

__all__ = ["Person", "count_uses", "create", "list_people", "mail_reset", "set_admin", "set_enabled"]


@dataclass(frozen=True, slots=True)
class Person:
    """A user, and when the user was here last."""

    user: User
    is_admin: bool
    last_login: datetime | None
    last_seen: datetime | None


def list_people() -> list[Person]:
    """Everybody, by name. Two statements, however many there are."""
    seen = select(ApiKey.user_id, func.max(ApiKey.last_used_at)).group_by(ApiKey.user_id)
    logins = select(ApiKey.user_id, func.max(ApiKey.created_at)).where(ApiKey.kind.in_((SESSION, ACCESS)))
    last_seen = {user_id: moment for user_id, moment in db.session.execute(seen)}
    last_login = {user_id: moment for user_id, moment in db.session.execute(logins.group_by(ApiKey.user_id))}
    everybody = db.session.execute(select(User, holds_god_mode()).order_by(User.username_key)).unique()
    return [
        Person(user, bool(is_admin), last_login.get(user.id), last_seen.get(user.id))
        for user, is_admin in everybody
    ]


def count_uses() -> dict[str, dict[str, int]]:
    """By user name: how many packages, installs, previews, pushes and deletions. No name: none of all."""
    owned = select(User.username, func.count()).join(Package, Package.owner_id == User.id)
    counts = audit.count_by_user()
    for name, packages in db.session.execute(owned.group_by(User.username)):
        counts.setdefault(name, {})["packages"] = packages
    return counts


def create(username: str, email: str) -> None:
    """Make an account, and mail its user a link to set the password.

    :raises Conflict: if the name is taken; :raises ValidationFailed: if it, or the address, cannot be.
    """
    if users.find_user(username) is not None:
        raise Conflict(f"User {username} already exists")
    user = users.create_user(username, users.make_password(), email)
    users.ask_for_reset(user.email)


def set_enabled(identity: Identity, username: str, *, enabled: bool) -> None:
    """Switch an account on, or off with all its tokens.

    :raises NotFound: if there is no such user; :raises Forbidden: if it is the caller.
    """
    user = _get(username)
    if user.id == identity.user_id and not enabled:
        raise Forbidden("Cannot disable your own account")
    users.change_user(user.id, {"enabled": enabled}, identity)


def set_admin(identity: Identity, username: str, *, admin: bool) -> None:
    """Make a user an administrator, or one who is none any more.

    :raises NotFound: if there is no such user; :raises Forbidden: if the caller would cease to be one.
    """
    user = _get(username)
    if user.id == identity.user_id and not admin:
        raise Forbidden("Cannot revoke your own admin rights")
    if bool(db.session.scalar(select(holds_god_mode()).where(User.id == user.id))) != admin:
        changes: dict[str, Any] = {"permissions": {str(GOD_MODE): admin}}
        users.change_user(user.id, changes, identity)


def mail_reset(username: str) -> None:
    """Mail a user a link to set the password.

    :raises NotFound: if there is no such user; :raises BadRequest: if the site cannot mail.
    """
    user = _get(username)
    if not mail.can_send():
        raise BadRequest("This site has no mail server. Use flask admin passwd.", code="no_mail")
    users.ask_for_reset(user.email)


def _get(username: str) -> User:
    user = users.find_user(username)
    if user is None:
        raise NotFound(f"User {username} does not exist")
    return user
