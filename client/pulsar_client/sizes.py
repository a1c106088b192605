"""The sizes of all blobs of the revision built last: a push then need not look at each of its files.

Noted by `build`, in ``cache/``. They hold while no blob has come or gone since, nor the tree changed.
"""

from collections.abc import Mapping
from typing import Any

from pulsar_client.handles import Handle
from pulsar_client.receipts import Receipt
from pulsar_client.store import Store


def note(store: Store, package: Handle, digest: str, sizes: Mapping[str, int]) -> None:
    """Keep the sizes (bytes, by digest) of the blobs of a revision; all of them must be here."""
    _get_receipt(store, package).write({**_describe(store, package, digest), "sizes": sizes})


def recall(store: Store, package: Handle, digest: str) -> dict[str, int] | None:
    """The sizes of the blobs of a revision that are all here; None if that has to be looked at."""
    found = _get_receipt(store, package).read()
    sizes = found.pop("sizes", None)
    if found != _describe(store, package, digest) or not isinstance(sizes, dict):
        return None
    return sizes if all(type(size) is int for size in sizes.values()) else None


def _get_receipt(store: Store, package: Handle) -> Receipt:
    return Receipt(store, "sizes", package.package)


def _describe(store: Store, package: Handle, digest: str) -> dict[str, Any]:
    return {"tree": store.find_tree_seen(package, digest), "blobs": store.get_blobs_seen()}
