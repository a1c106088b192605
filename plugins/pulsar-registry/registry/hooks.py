"""What the registry answers when core asks its plugins."""

from collections.abc import Iterable

from core.hookspecs import hookimpl
from registry.services.pushes import RESERVED

__all__ = ["reserved_usernames"]


@hookimpl
def reserved_usernames() -> Iterable[str]:
    """Names that mean an audience, or nobody, in the handle of a package."""
    return RESERVED
