"""`verify`: are the bytes of the local store still what they were?"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pulsar_client.handles import Handle
from pulsar_client.manifest import list_blobs
from pulsar_client.progress import Progress
from pulsar_client.store import Store

WORKERS = 4


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What `verify` found."""

    package: str
    digest: str
    checked: int  # blobs
    checked_bytes: int
    damaged: list[str]  # moved to damaged/, so that a build or an install makes them anew
    missing: list[str]

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return not (self.damaged or self.missing)


def verify(store: Store, package: Handle, *, progress: Progress) -> VerifyResult:
    """Hash all blobs of the local ``latest`` again.

    A damaged blob is taken out of the store (into ``damaged/``): it must not be given to anyone as what it is
    not, and only where there is none does `install` or `build` put a good one.
    """
    digest = store.get_latest(package)
    root = store.get_tree(package, digest)
    blobs = sorted(list_blobs(root))
    found = {blob: store.find_blob_size(blob) for blob in blobs}
    sizes = {blob: size for blob, size in found.items() if size is not None}
    progress.start("verify", sum(sizes.values()))

    def is_damaged(blob: str) -> bool:
        with store.get_blob_path(blob).open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        progress.advance(sizes[blob])
        return actual != blob

    with ThreadPoolExecutor(WORKERS) as pool:
        damaged = [blob for blob, bad in zip(sizes, pool.map(is_damaged, sizes), strict=True) if bad]
    for blob in damaged:
        store.take_out_blob(blob)
    missing = [blob for blob, size in found.items() if size is None]
    return VerifyResult(package.package, digest, len(sizes), sum(sizes.values()), damaged, missing)
