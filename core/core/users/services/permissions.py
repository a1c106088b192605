"""What permissions there are, and who has them."""

from typing import Any

from flask import current_app
from sqlalchemy import select, union

from core.db import db
from core.errors import ValidationFailed
from core.identity import identity_of
from core.permissions import PermissionFamily, PermissionsEnum
from core.site import current_site
from core.users.models import ClassPermission, SecondaryClassPermission, User, UserPermission

__all__ = [
    "basic_permissions",
    "describe_permissions",
    "effective_permissions",
    "is_basic",
    "is_known",
    "list_orphans",
    "list_permissions",
    "not_a_permission",
]


def is_known(name: str) -> bool:
    """Whether an enabled plugin declares ``name``, by itself or in a family."""
    return name in current_site().permissions


def is_basic(name: str) -> bool:
    """Whether ``users_moderate`` is enough to give and take ``name``."""
    family = current_site().permissions.family_of(name)
    return name in current_app.config["BASIC_PERMISSIONS"] or (family is not None and family.basic)


def not_a_permission(name: str) -> ValidationFailed:
    """The error for a name that cannot be given here."""
    sentence = f"{name} is not a valid permission"
    return ValidationFailed(
        f'Invalid data: {sentence} (key "permissions")', details={"permissions": [sentence]}
    )


def effective_permissions(user: User) -> list[str]:
    """What ``user`` may do at present, sorted: of a locked account what locking leaves."""
    return sorted(identity_of(user).granted)


def basic_permissions(user: User) -> list[str]:
    """Those of :func:`effective_permissions` that ``users_moderate`` is enough to take away."""
    return [name for name in effective_permissions(user) if is_basic(name)]


def list_permissions() -> list[str]:
    """Every permission that enabled plugins declare, families left out; sorted."""
    return sorted(current_site().permissions)


def describe_permissions() -> list[dict[str, Any]]:
    """Every permission, and every family under its pattern, with what is known of it."""
    known = current_site().permissions
    found = [_describe(name, permission) for name, permission in known.items()]
    found += [_describe(pattern, family) for pattern, family in known.families.items()]
    return sorted(found, key=lambda entry: str(entry["name"]))


def _describe(name: str, declared: PermissionsEnum | PermissionFamily) -> dict[str, Any]:
    family = isinstance(declared, PermissionFamily)
    return {
        "name": name,
        "plugin": current_site().permission_owners[name],
        "description": declared.description,
        "for_users": False if isinstance(declared, PermissionFamily) else declared.for_users,
        "basic": declared.basic if isinstance(declared, PermissionFamily) else is_basic(name),
        "family": family,
    }


def list_orphans() -> list[str]:
    """Permissions that somebody or some class was given, and that no enabled plugin declares; sorted."""
    stored = union(
        select(UserPermission.permission),
        select(ClassPermission.permission),
        select(SecondaryClassPermission.permission),
    )
    return sorted(name for name in db.session.scalars(stored) if not is_known(name))
