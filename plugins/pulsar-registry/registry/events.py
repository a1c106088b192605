"""What happens in the registry, for the audit log, webhooks and listeners."""

from core.events import EventsEnum

__all__ = ["RegistryEvents"]


class RegistryEvents(EventsEnum):
    """Events of the registry. The target is the package: ``package:ann/flights``."""

    PACKAGE_CREATED = "registry.package.created", "A package was made, by its first push."
    PACKAGE_PUSHED = "registry.package.pushed", "A revision was pushed, perhaps one that was there already."
    PACKAGE_INSTALLED = (
        "registry.package.installed",
        "Somebody was given a revision and links to its objects.",
    )
    PACKAGE_DELETED = "registry.package.deleted", "A package was deleted with all its revisions."
    PACKAGE_PREVIEWED = (
        "registry.package.previewed",
        "Somebody looked at a revision, or its preview.",
    )
    ACCESS_CHANGED = "registry.access.changed", "A package was shared, or is shared no longer."
    INVITATION_SENT = "registry.invitation.sent", "A package was offered to an e-mail address."
    TAG_CHANGED = "registry.tag.changed", "A tag was made, moved or removed."
    VERSION_CREATED = "registry.version.created", "A revision got a version, for good."
