"""Which names there can be, of what is not in a tree. No framework, no database."""

__all__ = ["is_tag"]


def is_tag(name: str) -> bool:
    """Whether a tag can have this name: 1 to 64 printable characters without a slash."""
    return 1 <= len(name) <= 64 and name.isprintable() and "/" not in name
