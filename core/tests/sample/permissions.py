"""One permission."""

from core.permissions import PermissionsEnum


class P(PermissionsEnum):
    LOOK = "sample_look", "Look."
    ONE = "sample_permission", "What the keys of the kit are restricted to."
    TWO = "sample_2_permission", "The same."
    THREE = "sample_3_permission", "The same."
