"""What permissions there are, and who has them."""

from typing import Any

from sqlalchemy import select, union

from core.db import db
from core.errors import ValidationFailed
from core.identity import identity_of
from core.permissions import PermissionFamily, PermissionsEnum
from core.rights import is_basic
from core.site import current_site
from core.users.models import ClassPermission, SecondaryClassPermission, User, UserPermission

__all__ = [
    "describe_permissions",
    "effective_permissions",
    "is_known",
    "list_orphans",
    "list_permissions",
    "not_a_permission",
]


def is_known(name: str) -> bool:
    """Whether an enabled plugin declares ``name``, by itself or in a family."""
    return name in current_site().permissions


def not_a_permission(name: str) -> ValidationFailed:
    """The error for a name that cannot be given here."""
    sentence = f"{name} is not a valid permission"
    return ValidationFailed(
        f'Invalid data: {sentence} (key "permissions")', details={"permissions": [sentence]}
    )


def effective_permissions(user: User) -> list[str]:
    """What ``user`` may do at present, sorted: of a locked account what locking leaves."""
    return sorted(identity_of(user).granted)


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
