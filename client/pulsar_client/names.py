"""What revisions of a package are called on the site: tags, which move, and versions, which do not."""

from typing import TYPE_CHECKING

from pulsar_client.handles import parse_handle
from pulsar_client.lazy import LazyModule

if TYPE_CHECKING:
    from pulsar_client import revisions
    from pulsar_client.client import Client
else:
    revisions = LazyModule("pulsar_client.revisions")


class Tags:
    """The tags of packages."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def list(self, package: str) -> dict[str, str]:
        """Tag → top digest, by tag."""
        return self._client.registry.list_tags(parse_handle(package))

    def add(self, package: str, tag: str, revision: str = "latest") -> str:
        """Let ``tag`` name a revision (a digest of 6 or more characters, a tag, a version); make or move it.

        Returns the revision's top digest.
        """
        handle, registry = parse_handle(package), self._client.registry
        digest = revisions.resolve_revision(registry, handle, revision)
        registry.put_tag(handle, tag, digest)
        return digest

    def remove(self, package: str, tag: str) -> None:
        """Remove a tag; its revision stays. :raises NotFound: if there is none."""
        self._client.registry.remove_tag(parse_handle(package), tag)


class Versions:
    """The versions of packages. They stay what they are."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def list(self, package: str) -> dict[str, str]:
        """Version → top digest, the oldest version first."""
        return self._client.registry.list_versions(parse_handle(package))

    def add(self, package: str, version: str, revision: str = "latest") -> str:
        """Let ``version`` (PEP 440) name a revision for good; revisions as for tags.

        Returns the revision's top digest.

        :raises Conflict: if there is an equal version.
        """
        handle, registry = parse_handle(package), self._client.registry
        digest = revisions.resolve_revision(registry, handle, revision)
        registry.put_version(handle, version, digest)
        return digest
