"""`gc`: what nothing needs any more leaves the local store.

A blob is needed if the tree of any revision names it, also one that another program put there. Everything
else goes when it is older than the grace: blobs, what was left half done in ``tmp/``, what `verify` took out.
Builds and installs rely on blobs that no tree names yet, so this waits until none is running.
"""

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pulsar_client.errors import ConfigurationError, StoreError
from pulsar_client.manifest import is_digest, list_wire_blobs
from pulsar_client.progress import Progress
from pulsar_client.store import Store

GRACE = 86_400.0  # s; an interrupted install is gone on with until then
TEMPORARY = re.compile(r"\.[0-9a-f]{32}")  # what `write_atomically` leaves when the process dies


@dataclass(frozen=True, slots=True)
class CollectResult:
    """What `gc` removed, or would remove."""

    dry_run: bool
    blobs: int
    blob_bytes: int
    unfinished: int  # files that were left half done, and damaged blobs
    unfinished_bytes: int
    young: int  # blobs that nothing needs, kept for their age


def collect(store: Store, *, grace: float, dry_run: bool, progress: Progress) -> CollectResult:
    """Remove what nothing needs and is older than ``grace`` (seconds).

    :raises StoreError: if a tree cannot be read; what it needs is not known then, and nothing is removed.
    """
    if not 0 <= grace < float("inf"):
        raise ConfigurationError("The grace is a number of seconds, zero or more.")
    with store.hold(progress, alone=not dry_run):
        needed = find_needed(store)
        limit = time.time() - grace
        useless = [
            file for file in _list_files(store.blobs) if is_digest(file.name) and file.name not in needed
        ]
        blobs = _remove(useless, limit, dry_run)
        unfinished = _remove(list(_list_unfinished(store)), limit, dry_run)
        if blobs and not dry_run:
            store.show_removal()
    young = len(useless) - len(blobs)
    return CollectResult(dry_run, len(blobs), sum(blobs), len(unfinished), sum(unfinished), young)


def find_needed(store: Store) -> set[str]:
    """The digests of all blobs that a tree names, whatever Quilt's team it belongs to.

    :raises StoreError: if a tree cannot be read.
    """
    needed: set[str] = set()
    for path in store.packages.parent.glob("*/*/*/contents/*"):
        if TEMPORARY.fullmatch(path.name):
            continue
        try:
            needed.update(list_wire_blobs(json.loads(path.read_bytes())))
        except FileNotFoundError:
            continue  # Somebody removed the revision.
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StoreError(
                f"The tree {path} is damaged, so what it needs is not known, and nothing was removed. "
                "Remove its package, or build or install it again."
            ) from error
    return needed


def _list_unfinished(store: Store) -> Iterator["os.DirEntry[str]"]:
    for folder in (store.temporary, store.damaged):
        yield from _list_files(folder)
    for folder in (store.root, store.cache, *store.packages.parent.glob("*/*/*/*")):
        yield from (file for file in _list_files(folder) if TEMPORARY.fullmatch(file.name))


def _list_files(folder: Path) -> Iterator["os.DirEntry[str]"]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:  # One at a time: there may be millions.
            if entry.is_file(follow_symlinks=False):
                yield entry


def _remove(files: list["os.DirEntry[str]"], limit: float, dry_run: bool) -> list[int]:
    """The sizes of those that are older than ``limit`` (seconds since the epoch), and are gone now."""
    sizes = []
    for file in files:
        try:
            status = file.stat(follow_symlinks=False)
            # The time of change too: who copied a store may have kept the other one.
            if max(status.st_mtime, status.st_ctime) > limit:
                continue
            if not dry_run:
                os.unlink(file.path)
        except FileNotFoundError:
            continue
        sizes.append(status.st_size)
    return sizes
