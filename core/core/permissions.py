"""Permissions: how a plugin names the rights it knows, and core's own."""

from enum import StrEnum
from typing import Self

__all__ = ["GOD_MODE", "CorePermissions", "PermissionsEnum"]


class PermissionsEnum(StrEnum):
    """Rights of one plugin. A member is its name, a sentence, and who has it from the beginning::

        class RegistryPermissions(PermissionsEnum):
            PUSH = "registry_push", "Create packages and push revisions.", True

    The name starts with the plugin's and is at most 64 characters of lower snake case. ``for_users``
    gives the right to class 1 (``User``) when the plugin is first enabled, so that ordinary people can
    use it without an administrator's homework.
    """

    description: str
    for_users: bool

    def __new__(cls, name: str, description: str, for_users: bool = False) -> Self:
        member = str.__new__(cls, name)
        member._value_ = name
        member.description = description
        member.for_users = for_users
        return member


class CorePermissions(PermissionsEnum):
    """Rights that core itself asks for."""

    USERS_VIEW = "users_view", "See other users' names and classes.", True
    JOBS_VIEW_OTHERS = "jobs_view_others", "See the jobs of other users and of the site."
    JOBS_CANCEL_OTHERS = "jobs_cancel_others", "Cancel jobs of other users and of the site that one may see."
    SITE_VIEW_PLUGINS = "site_view_plugins", "See which plugins are loaded and what is wrong with them."
    SITE_GOD_MODE = "site_god_mode", "Do anything."


GOD_MODE = CorePermissions.SITE_GOD_MODE
