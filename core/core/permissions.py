"""Permissions: how a plugin names the rights it knows, and core's own."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

__all__ = ["GOD_MODE", "PERMISSION", "CorePermissions", "PermissionFamily", "Permissions", "PermissionsEnum"]

PERMISSION: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


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


@dataclass(frozen=True, slots=True)
class PermissionFamily:
    """Rights that come and go with what they are about, such as one for each project.

    A plugin declares it beside its enumeration::

        PROJECTS = PermissionFamily(r"annotate_project_[0-9]+", "Label the images of one project.")

    :param pattern: regular expression of a whole name. It starts as a name of the plugin does.
    :param basic: whether ``users_moderate`` is enough to give and take such a right.
    """

    pattern: str
    description: str
    basic: bool = False


class Permissions(dict[str, PermissionsEnum]):
    """The permissions that a site knows, by name. Names of a family are ``in`` it, but not listed."""

    def __init__(self) -> None:
        super().__init__()
        self.families: dict[str, PermissionFamily] = {}  # by pattern
        self._patterns: list[tuple[str, re.Pattern[str], PermissionFamily]] = []

    def add_family(self, family: PermissionFamily, prefix: str) -> None:
        """:param prefix: what every name of the plugin starts with. :raises re.error: for a bad pattern."""
        self._patterns.append((prefix, re.compile(family.pattern, re.ASCII), family))
        self.families[family.pattern] = family

    def family_of(self, name: str) -> PermissionFamily | None:
        """The family that ``name`` belongs to, if it is not a permission of its own."""
        if super().__contains__(name) or not PERMISSION.fullmatch(name):
            return None
        found = (
            family
            for prefix, pattern, family in self._patterns
            if name.startswith(prefix) and pattern.fullmatch(name)
        )
        return next(found, None)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and self.family_of(name) is not None)


class CorePermissions(PermissionsEnum):
    """Rights that core itself asks for."""

    USERS_VIEW = "users_view", "See other users' names and classes.", True
    USERS_CHANGE_PASSWORD = "users_change_password", "Change one's own password.", True
    USERS_EDIT_SETTINGS = "users_edit_settings", "Change one's own settings.", True
    USERS_MODERATE = "users_moderate", "See and change other users' accounts, and their basic permissions."
    USERS_MODERATE_ADVANCED = (
        "users_moderate_advanced",
        "See other users' permissions; change them, and their classes, within one's own.",
    )
    INVITES_SEND = "invites_send", "Invite others, as long as one has invites."
    INVITES_VIEW = "invites_view", "See one's own invites.", True
    INVITES_VIEW_OTHERS = "invites_view_others", "See everybody's invites, and where they were sent from."
    INVITES_REVOKE = "invites_revoke", "Revoke one's own invites.", True
    INVITES_REVOKE_OTHERS = "invites_revoke_others", "Revoke other users' invites."
    API_KEYS_VIEW = "api_keys_view", "See one's own API keys and sessions.", True
    API_KEYS_VIEW_OTHERS = "api_keys_view_others", "See other users' API keys and sessions."
    API_KEYS_REVOKE = "api_keys_revoke", "Revoke one's own API keys and sessions.", True
    API_KEYS_REVOKE_OTHERS = "api_keys_revoke_others", "Revoke other users' API keys and sessions."
    NOTIFICATIONS_VIEW = "notifications_view", "See one's own notifications.", True
    NOTIFICATIONS_VIEW_OTHERS = "notifications_view_others", "See other users' notifications."
    NOTIFICATIONS_MODIFY = "notifications_modify", "Mark one's own notifications as read.", True
    NOTIFICATIONS_MODIFY_OTHERS = "notifications_modify_others", "Mark other users' notifications as read."
    PERMISSIONS_MODIFY = "permissions_modify", "List all permissions; explain why somebody may, or may not."
    USERCLASSES_LIST = "userclasses_list", "See the classes of users."
    USERCLASSES_MODIFY = "userclasses_modify", "Make, change and delete classes within one's own permissions."
    JOBS_VIEW_OTHERS = "jobs_view_others", "See the jobs of other users and of the site."
    JOBS_CANCEL_OTHERS = "jobs_cancel_others", "Cancel jobs of other users and of the site that one may see."
    SITE_VIEW_PLUGINS = "site_view_plugins", "See which plugins are loaded and what is wrong with them."
    SITE_VIEW_AUDIT = "site_view_audit", "Read the audit log."
    SITE_NO_IP_HISTORY = "site_no_ip_history", "One's addresses are not written down."
    SITE_GOD_MODE = "site_god_mode", "Do anything."


GOD_MODE = CorePermissions.SITE_GOD_MODE
