"""Where a user's permissions come from: the class, secondary classes, and what is said of the user alone."""

from collections.abc import Mapping
from dataclasses import dataclass

from flask import current_app
from sqlalchemy import case, literal, select, union_all

from core.db import db
from core.permissions import GOD_MODE
from core.site import current_site
from core.users.models import (
    ClassPermission,
    SecondaryClassMember,
    SecondaryClassPermission,
    User,
    UserPermission,
)

__all__ = ["Rights", "granted_to", "is_basic", "locked_permissions", "rights_of"]


@dataclass(frozen=True, slots=True)
class Rights:
    """What is stored of one user's permissions. Nothing here asks whether the account is locked.

    :param by_class: what the class gives.
    :param by_secondary_class: what each secondary class of the user gives, by its id.
    :param own: what was granted to (True) or taken from (False) this user alone.
    """

    by_class: frozenset[str]
    by_secondary_class: Mapping[int, frozenset[str]]
    own: Mapping[str, bool]

    @property
    def by_classes(self) -> frozenset[str]:
        """What all classes of the user give together."""
        return self.by_class.union(*self.by_secondary_class.values())

    @property
    def stored(self) -> frozenset[str]:
        """The permissions that result, those of plugins that are not enabled included."""
        given = frozenset(name for name, granted in self.own.items() if granted)
        return (self.by_classes | given) - (self.own.keys() - given)

    @property
    def granted(self) -> frozenset[str]:
        """The permissions that result; one that no enabled plugin declares gives nothing."""
        known = current_site().permissions
        return frozenset(name for name in self.stored if name in known)


def rights_of(user: User) -> Rights:
    """What is stored of the permissions of ``user``, in one query."""
    member = SecondaryClassMember
    by_class = select(literal("class"), ClassPermission.user_class_id, ClassPermission.permission).where(
        ClassPermission.user_class_id == user.user_class_id
    )
    # An outer join: a class that gives nothing is one of the user's all the same.
    by_secondary_class = (
        select(literal("secondary"), member.secondary_class_id, SecondaryClassPermission.permission)
        .outerjoin(
            SecondaryClassPermission,
            SecondaryClassPermission.secondary_class_id == member.secondary_class_id,
        )
        .where(member.user_id == user.id)
    )
    granted = case((UserPermission.granted, 1), else_=0)
    own = select(literal("own"), granted, UserPermission.permission).where(UserPermission.user_id == user.id)
    from_class: set[str] = set()
    from_secondary: dict[int, set[str]] = {}
    alone: dict[str, bool] = {}
    for source, number, permission in db.session.execute(union_all(by_class, by_secondary_class, own)):
        if source == "class":
            from_class.add(permission)
        elif source == "own":
            alone[permission] = bool(number)
        else:
            from_secondary.setdefault(number, set()).update([permission] if permission else [])
    return Rights(
        by_class=frozenset(from_class),
        by_secondary_class={number: frozenset(names) for number, names in sorted(from_secondary.items())},
        own=alone,
    )


def granted_to(user: User) -> frozenset[str]:
    """What ``user`` may do while the account is not locked."""
    return rights_of(user).granted


def is_basic(name: str) -> bool:
    """Whether ``users_moderate`` is enough to give and take ``name``."""
    family = current_site().permissions.family_of(name)
    return name in current_app.config["BASIC_PERMISSIONS"] or (family is not None and family.basic)


def locked_permissions() -> frozenset[str]:
    """All that a locked account may do; never everything, whatever the configuration says."""
    return frozenset(current_app.config["LOCKED_ACCOUNT_PERMISSIONS"]) - {GOD_MODE}
