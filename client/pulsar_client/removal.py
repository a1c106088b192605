"""`rm`: revisions of the local store are forgotten. Their blobs stay until `gc`."""

from dataclasses import dataclass

from pulsar_client import provenance
from pulsar_client.errors import NotInstalled, StoreError
from pulsar_client.handles import Handle
from pulsar_client.store import Store


@dataclass(frozen=True, slots=True)
class RemoveResult:
    """What `rm` removed."""

    package: str
    revisions: list[str]  # top digests


def remove(store: Store, package: Handle, *, digest: str | None) -> RemoveResult:
    """Forget all local revisions of a package, or with ``digest`` (6 or more characters) an older one.

    :raises NotInstalled: if there is none.
    :raises StoreError: if it is the latest one that shall go alone.
    """
    with store.lock(package):
        found = store.list_revisions(package)
        if digest is None:
            if not found and store.find_latest(package) is None:
                raise NotInstalled(f"{package.package} is not in the local store.")
            store.remove_package(package)
        else:
            found = [store.find_revision(package, digest)]
            if found == [store.find_latest(package)]:
                raise StoreError(
                    f"{found[0][:12]} is the latest revision of {package.package} here: build or install "
                    "another first, or remove all of it."
                )
            store.remove_revision(package, found[0])
        for revision in found:
            provenance.forget(store, package, revision)
    return RemoveResult(package.package, found)
