"""Every change of what somebody may do goes through here: one at a time, and an administrator remains."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy import ColumnElement, and_, exists, not_, or_, select

from core.db import db
from core.errors import AccountDisabled, BadRequest, Forbidden
from core.identity import Identity, identity_of
from core.permissions import GOD_MODE
from core.users.models import (
    LOWEST_CLASS,
    ClassPermission,
    SecondaryClassMember,
    SecondaryClassPermission,
    User,
    UserClass,
    UserPermission,
)

__all__ = ["changing_rights", "check_gain", "holds_god_mode"]


@contextmanager
def changing_rights(actor: Identity, permission: str) -> Iterator[Identity]:
    """Hold the lock on everybody's rights until the transaction ends, and hand on ``actor`` as of now.

    Two changes at once could each leave the other's administrator, and a class could change between the
    moments in which a user joins it and is told so. So they wait for each other.

    :param actor: who changes something.
    :param permission: what the actor needs. It is asked again: the request may have begun before a change.
    :raises BadRequest: if no administrator would be left who can sign in.
    """
    lock = select(UserClass.id).where(UserClass.id == LOWEST_CLASS)
    db.session.flush()
    # NO KEY UPDATE on PostgreSQL: new users refer to this row, and they need not wait.
    db.session.execute(lock.with_for_update(key_share=True))
    db.session.expire_all()
    fresh = _asked_again(actor) if actor.authenticated else actor
    fresh.require(permission)
    had = _has_administrator()
    yield fresh
    db.session.flush()
    if had and not _has_administrator():
        raise BadRequest(
            f"The last administrator cannot be locked, disabled or stripped of {GOD_MODE}.",
            code="last_administrator",
        )


def check_gain(actor: Identity, gained: Iterable[str]) -> None:
    """:raises Forbidden: if somebody would get a permission that ``actor`` does not hold."""
    if lacking := sorted(name for name in gained if not actor.can(name)):
        raise Forbidden(f"You cannot give permissions that you do not hold: {', '.join(lacking)}.")


def _asked_again(actor: Identity) -> Identity:
    user = db.session.get(User, actor.user_id)
    if user is None or not user.enabled:
        raise AccountDisabled
    return identity_of(user, scope=actor.scope, key_hash=actor.key_hash)


def _has_administrator() -> bool:
    """Whether anybody holds god mode in an account that is neither locked nor disabled."""
    found = exists().where(User.enabled, not_(User.locked), holds_god_mode())
    return bool(db.session.scalar(select(found)))


def holds_god_mode() -> ColumnElement[bool]:
    """SQL: the user holds god mode, by whatever road; the account may be locked or disabled."""
    own = select(UserPermission.user_id).where(UserPermission.permission == GOD_MODE)
    by_class = select(ClassPermission.user_class_id).where(ClassPermission.permission == GOD_MODE)
    by_secondary_class = (
        select(SecondaryClassMember.user_id)
        .join(
            SecondaryClassPermission,
            SecondaryClassPermission.secondary_class_id == SecondaryClassMember.secondary_class_id,
        )
        .where(SecondaryClassPermission.permission == GOD_MODE)
    )
    holds = or_(
        User.id.in_(own.where(UserPermission.granted)),
        User.user_class_id.in_(by_class),
        User.id.in_(by_secondary_class),
    )
    taken = User.id.in_(own.where(not_(UserPermission.granted)))
    return and_(holds, not_(taken))
