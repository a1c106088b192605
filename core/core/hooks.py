"""Core's own answers to its hooks."""

from collections.abc import Iterable

from core.hookspecs import hookimpl

__all__ = ["reserved_usernames"]


@hookimpl
def reserved_usernames() -> Iterable[str]:
    """A flag that was taken for a name, and who stands for the caller in ``/users/me``."""
    return ("0", "1", "me")
