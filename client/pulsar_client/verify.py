"""`verify`: are the blobs of the local store still what they were?"""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pulsar_client.errors import StoreError
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
    problem: str | None = None  # why its tree could not be read, and so none of its blobs checked

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return not (self.damaged or self.missing or self.problem)


def verify(store: Store, package: Handle, *, digest: str | None = None, progress: Progress) -> VerifyResult:
    """Hash all blobs of the local ``latest``, or of the local revision ``digest``, again.

    A damaged blob is taken out of the store (into ``damaged/``): it must not be given to anyone as what it is
    not, and only where there is none does `install` or `build` put a good one.

    :raises StoreError: if its tree cannot be read.
    """
    digest = store.get_latest(package) if digest is None else store.find_revision(package, digest)
    needed = {package: (digest, list_blobs(store.get_tree(package, digest)))}
    return _verify(store, needed, progress)[0]


def verify_all(store: Store, packages: Iterable[Handle], *, progress: Progress) -> list[VerifyResult]:
    """:func:`verify` of several packages; what they share is read once."""
    needed: dict[Handle, tuple[str, set[str]]] = {}
    wrong: dict[Handle, VerifyResult] = {}
    order = list(packages)
    for package in order:
        digest = store.find_latest(package) or ""
        try:
            needed[package] = digest, list_blobs(store.get_tree(package, digest))
        except StoreError as error:
            wrong[package] = VerifyResult(package.package, digest, 0, 0, [], [], str(error))
    found = dict(zip(needed, _verify(store, needed, progress), strict=True)) | wrong
    return [found[package] for package in order]


def _verify(
    store: Store, needed: dict[Handle, tuple[str, set[str]]], progress: Progress
) -> Sequence[VerifyResult]:
    blobs = sorted(set().union(*(blobs for _, blobs in needed.values())))
    found = {blob: store.find_blob_size(blob) for blob in blobs}
    sizes = {blob: size for blob, size in found.items() if size is not None}
    progress.start("verify", sum(sizes.values()))

    def is_damaged(blob: str) -> bool:
        with store.get_blob_path(blob).open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        progress.advance(sizes[blob])
        return actual != blob

    with ThreadPoolExecutor(WORKERS) as pool:
        damaged = {blob for blob, bad in zip(sizes, pool.map(is_damaged, sizes), strict=True) if bad}
    for blob in damaged:
        store.take_out_blob(blob)
    return [
        VerifyResult(
            package.package,
            digest,
            len(mine & sizes.keys()),
            sum(sizes[blob] for blob in mine & sizes.keys()),
            sorted(mine & damaged),
            sorted(mine - sizes.keys()),
        )
        for package, (digest, mine) in needed.items()
    ]
