"""Handles: how a package, or a part of one, is written on a command line: ``owner/name/sub/path``."""

import re
from dataclasses import dataclass
from urllib.parse import quote

from pulsar_client.errors import ConfigurationError, ManifestError
from pulsar_client.manifest import check_name

MAX_LENGTH = 64  # characters of an owner's and of a package's name

# Audiences that Quilt's own calls know; the others are the site's classes.
OPEN_TO_QUILT = frozenset({"user", "public", "team"})
CLASSES = ("class", "secondary_class")

_OWNER = re.compile(r"[a-z][a-z0-9_]*")
_NAME = re.compile(r"[a-zA-Z]\w*")


@dataclass(frozen=True, slots=True)
class Handle:
    """A package, and the path of a part of it (empty for all of it)."""

    owner: str
    name: str
    path: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        """``owner/name``, without the path."""
        return f"{self.owner}/{self.name}"

    def __str__(self) -> str:
        return "/".join((self.owner, self.name, *self.path))


def is_owner(text: str) -> bool:
    """Whether ``text`` may be the name of someone who owns packages."""
    return len(text) <= MAX_LENGTH and _OWNER.fullmatch(text) is not None


def is_package_name(text: str) -> bool:
    """Whether ``text`` may be the second half of a package's handle."""
    return len(text) <= MAX_LENGTH and _NAME.fullmatch(text) is not None


def parse_handle(text: str, *, with_path: bool = False) -> Handle:
    """The parts of ``owner/name``, or of ``owner/name/sub/path`` when ``with_path``.

    :raises ConfigurationError: if it is not one. The parts become names of folders in the local store, so
        nothing outside the patterns of the protocol gets through.
    """
    owner, _, rest = text.partition("/")
    name, *path = rest.split("/")
    if not is_owner(owner) or not is_package_name(name):
        raise ConfigurationError(
            f"{text!r} is not a package: write OWNER/NAME, the owner in lower case, the name "
            "of letters, digits and underscores, beginning with a letter."
        )
    if path and not with_path:
        raise ConfigurationError(f"{text!r} names a part of a package; here a whole package is needed.")
    try:
        for part in path:
            check_name(part)
    except ManifestError as error:
        raise ConfigurationError(f"{text!r} is not a path in a package: {error}") from error
    return Handle(owner, name, tuple(path))


def quote_part(text: str, what: str) -> str:
    """A name, say of a tag, as one part of the path of a URL.

    :raises ConfigurationError: for what would be another path: nothing, ``.``, ``..``, or a slash in it.
    """
    if text in {"", ".", ".."} or "/" in text:
        raise ConfigurationError(f"{text!r} cannot be the name of a {what}.")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"{text!r} cannot be the name of a {what}.") from error


def parse_audience(text: str) -> tuple[str, str | None]:
    """Audience and name of ``bob``, ``public``, ``team`` or ``class:Lab``.

    :raises ConfigurationError: if it is none of them.
    """
    audience, colon, name = text.partition(":")
    if not colon:
        return (text, None) if text in OPEN_TO_QUILT - {"user"} else ("user", text)
    if audience not in CLASSES or not name:
        raise ConfigurationError(
            f"{text!r} is neither the name of a user nor class:NAME or secondary_class:NAME."
        )
    return audience, name
