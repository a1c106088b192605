"""Which revision of a package on the site somebody means."""

import contextlib

from pulsar_client.errors import BadRequest, ConfigurationError, NotFound
from pulsar_client.handles import Handle
from pulsar_client.manifest import is_digest
from pulsar_client.registry import Registry
from pulsar_client.store import MIN_SHORT_DIGEST

LATEST = "latest"


def find_revision(
    registry: Registry,
    package: Handle,
    *,
    digest: str | None = None,
    tag: str | None = None,
    version: str | None = None,
) -> str:
    """The top digest of what is chosen in one of three ways, or of the tag ``latest``.

    :param digest: a top digest, or its first 6 or more characters, in any case.
    :raises ConfigurationError: if it is chosen in several ways, or a shortened digest means none or several.
    :raises NotFound: if the site has no such tag or version.
    """
    if sum(choice is not None for choice in (digest, tag, version)) > 1:
        raise ConfigurationError("A revision is chosen by its digest, by a tag or by a version: name one.")
    if version is not None:
        return registry.get_version(package, version)
    if digest is None:
        return registry.get_tag(package, tag or LATEST).digest
    digest = digest.lower()
    if is_digest(digest):
        return digest
    if len(digest) < MIN_SHORT_DIGEST:
        raise ConfigurationError(f"A shortened digest needs at least {MIN_SHORT_DIGEST} characters.")
    found = {entry.digest for entry in registry.list_log(package) if entry.digest.startswith(digest)}
    if len(found) != 1:
        some = "no revision" if not found else "more than one revision"
        raise ConfigurationError(f"{package.package} has {some} that begins with {digest!r}.")
    return found.pop()


def resolve_revision(registry: Registry, package: Handle, text: str) -> str:
    """The top digest of a revision named in any way: a digest, a tag, a version, a shortened digest.

    They are tried in this order, as the site itself does it.

    :raises ConfigurationError: if it is nothing of all that.
    """
    if is_digest(text.lower()):
        return text.lower()
    if text == LATEST:
        return registry.get_tag(package, text).digest
    with contextlib.suppress(NotFound, BadRequest):
        return registry.get_tag(package, text).digest
    with contextlib.suppress(NotFound, BadRequest):  # A site may say that it cannot be a version.
        return registry.get_version(package, text)
    try:
        return find_revision(registry, package, digest=text)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{package.package} has no tag, no version and no revision {text!r}."
        ) from error
