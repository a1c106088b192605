"""`build`: files become a revision in the local store."""

import importlib.metadata
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsar_client.blobs import Blob, Fingerprint
from pulsar_client.files import require_space
from pulsar_client.handles import Handle
from pulsar_client.ingest import hold_still, ingest_files, make_read_error
from pulsar_client.lazy import LazyModule
from pulsar_client.manifest import Group, Leaf, add_group, add_leaf
from pulsar_client.progress import Progress
from pulsar_client.scan import Scan, SourceFile, scan
from pulsar_client.statcache import Row, StatCache, is_settled
from pulsar_client.store import Store

if TYPE_CHECKING:
    from pulsar_client import tables
else:
    tables = LazyModule("pulsar_client.tables")  # A build in which nothing changed needs no pyarrow.

# By the end of the name, any case. Everything else is a plain file.
TRANSFORMS = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
TEXT_TABLES = {"csv", "tsv"}
RAW = "id"

# Raised when tables.py writes other bytes for the same CSV; it is part of the stat cache's key.
TABLE_RECIPE = 1


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What `build` did."""

    package: str
    digest: str  # top digest
    entries: int
    new: int  # entries that were read; the others were known from last time
    blob_bytes: int  # of all entries
    skipped: int  # hidden files and the like


@dataclass(slots=True)
class _Work:
    """One file on its way to become a blob."""

    file: SourceFile
    transform: str
    blob: Blob | None = None  # None: has to be read
    seen: Fingerprint | None = None  # what the file looked like while it was read


def build(
    store: Store, package: Handle, paths: Sequence[Path], *, raw: bool, progress: Progress
) -> BuildResult:
    """Make a revision of ``paths`` and let it be the local ``latest``.

    Nothing of it is visible until all of it is there; a build that fails leaves the old ``latest``.

    :param raw: keep every file as it is, tables too.
    :raises BuildError: if an input cannot be read; with file, line and column for a table.
    :raises NotEnoughSpace: before anything is read.
    """
    began_ns = time.time_ns()
    found = scan(paths)
    works = [_Work(file, get_transform(file.name, raw=raw)) for file in found.files]
    with StatCache(store.cache / "stat.sqlite") as cache:
        _recall(store, cache, works)
        todo = [work for work in works if work.blob is None]
        total = sum(work.file.seen.size for work in todo)
        require_space(store.root, total)
        if todo:
            progress.start("build", total)
        try:
            _copy(store, [work for work in todo if work.transform not in TEXT_TABLES], progress)
            _convert(store, [work for work in todo if work.transform in TEXT_TABLES], progress)
        finally:
            # Also after a failure: what was converted need not be converted again once the cause is gone.
            cache.remember(_list_rows(todo, began_ns))
    digest = store.put_revision(package, _make_tree(found, works))
    size = sum(blob.size for blob in {work.blob for work in works if work.blob})
    return BuildResult(package.package, digest, len(works), len(todo), size, found.skipped)


def get_transform(name: str, *, raw: bool) -> str:
    """What is done with a file of this name: ``csv``, ``tsv``, ``parquet``, or ``id`` for nothing."""
    if raw:
        return RAW
    return TRANSFORMS.get(os.path.splitext(name)[1].lower(), RAW)


@cache
def _get_recipe(transform: str) -> str:
    """All that decides, besides the file itself, about the bytes it becomes."""
    if transform in TEXT_TABLES:
        return f"{transform}:{TABLE_RECIPE}:pyarrow-{importlib.metadata.version('pyarrow')}"
    return transform


def _recall(store: Store, cache: StatCache, works: Iterable[_Work]) -> None:
    """Give the files that did not change the blobs they became last time."""
    folder: str | None = None
    known: dict[tuple[str, str], tuple[Fingerprint, Blob]] = {}
    for work in works:
        file = work.file
        if file.folder != folder:
            folder = file.folder
            known = cache.list_folder(folder)
        seen, blob = known.get((file.name, _get_recipe(work.transform)), (None, None))
        if blob is not None and seen == file.seen and store.find_blob_size(blob.digest) == blob.size:
            work.blob = blob


def _copy(store: Store, works: Sequence[_Work], progress: Progress) -> None:
    for work in works:
        if work.transform == "parquet":
            tables.check_parquet(Path(work.file.path))
    done = ingest_files(store, [work.file.path for work in works], progress.advance)
    for work, (blob, seen) in zip(works, done, strict=True):
        work.blob, work.seen = blob, seen


def _convert(store: Store, works: Iterable[_Work], progress: Progress) -> None:
    # One after the other: each may take most of the memory that a build is allowed.
    for work in works:
        path = work.file.path
        temporary = store.make_temporary()
        try:
            with open(path, "rb") as file, hold_still(path, file) as work.seen:
                blob = tables.convert(Path(path), work.transform, temporary, progress.advance)
            if store.find_blob_size(blob.digest) != blob.size:
                store.keep_blobs([(temporary, blob.digest)])
        except OSError as error:
            raise make_read_error(path, error) from error
        finally:
            temporary.unlink(missing_ok=True)
        work.blob = blob


def _list_rows(works: Iterable[_Work], began_ns: int) -> list[Row]:
    return [
        (work.file.folder, work.file.name, _get_recipe(work.transform), work.seen, work.blob)
        for work in works
        if work.blob is not None and work.seen is not None and is_settled(work.seen, began_ns)
    ]


def _make_tree(found: Scan, works: Iterable[_Work]) -> Group:
    root = Group()
    for path in found.folders:
        add_group(root, path)
    for work in works:
        digests = (work.blob.digest,) if work.blob else ()
        add_leaf(root, work.file.entry, Leaf(digests, _make_metadata(work.file.entry, work.transform)))
    return root


def _make_metadata(entry: tuple[str, ...], transform: str) -> dict[str, Any]:
    """The system keys that Quilt's client reads."""
    return {
        "q_ext": transform,
        "q_path": "/".join(entry),
        "q_target": "file" if transform == RAW else "pandas",
    }
