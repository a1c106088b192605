"""The rights that the registry asks for. What one may see or change of a package is sharing's business."""

from core.permissions import PermissionsEnum

__all__ = ["RegistryPermissions"]


class RegistryPermissions(PermissionsEnum):
    """Rights of the registry."""

    READ = "registry_read", "List and install packages that are one's own or shared.", True
    PUSH = "registry_push", "Create packages, push to them, tag them, share and delete one's own.", True
