"""`build`: files become a revision in the local store."""

import importlib.metadata
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsar_client import provenance
from pulsar_client.blobs import Blob
from pulsar_client.files import require_space
from pulsar_client.handles import Handle
from pulsar_client.ingest import Reading, hold_still, ingest_files, make_read_error
from pulsar_client.lazy import LazyModule
from pulsar_client.manifest import Group, Leaf, add_group, add_leaf
from pulsar_client.progress import Progress
from pulsar_client.receipts import Receipt
from pulsar_client.scan import Scan, SourceFile, make_absolute, scan
from pulsar_client.store import Store

if TYPE_CHECKING:
    from pulsar_client import statcache, tables
    from pulsar_client.statcache import Row, StatCache
else:
    # A build in which nothing changed needs neither SQLite nor pyarrow.
    statcache = LazyModule("pulsar_client.statcache")
    tables = LazyModule("pulsar_client.tables")

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
    reading: Reading | None = None  # None: was known from last time

    @property
    def is_settled(self) -> bool:
        """Whether a change of the file since will be seen without reading it."""
        return self.reading is None or statcache.is_settled(*self.reading)


def build(
    store: Store,
    package: Handle,
    paths: Sequence[Path],
    *,
    raw: bool,
    command: Sequence[str],
    progress: Progress,
) -> BuildResult:
    """Make a revision of ``paths`` and let it be the local ``latest``.

    Nothing of it is visible until all of it is there; a build that fails leaves the old ``latest``.

    :param raw: keep every file as it is, tables too.
    :param command: what was typed, for the provenance; empty if nothing was.
    :raises BuildError: if an input cannot be read; with file, line and column for a table.
    :raises NotEnoughSpace: before anything is read.
    """
    found = scan(paths)
    receipt = _BuildReceipt(store, package, paths, raw, found)
    return receipt.find() or _build(
        store, package, found, receipt, raw=raw, command=command, progress=progress
    )


def _build(
    store: Store,
    package: Handle,
    found: Scan,
    receipt: "_BuildReceipt",
    *,
    raw: bool,
    command: Sequence[str],
    progress: Progress,
) -> BuildResult:
    works = [_Work(file, get_transform(file.name, raw=raw)) for file in found.list_files()]
    with statcache.StatCache(store.cache / "stat.sqlite") as known:
        _recall(store, known, works)
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
            known.remember(_list_rows(todo))
    parent = store.find_latest(package)
    digest = store.put_revision(package, _make_tree(found, works))
    recipes = {_get_recipe(work.transform) for work in works if work.transform in TEXT_TABLES}
    provenance.note(store, package, digest, parent=parent, command=command, recipes=recipes)
    size = sum(blob.size for blob in {work.blob for work in works if work.blob})
    result = BuildResult(package.package, digest, len(works), len(todo), size, found.skipped)
    if all(work.is_settled and (not work.reading or work.reading.seen == work.file.seen) for work in todo):
        receipt.write(result, {work.transform for work in works})
    return result


class _BuildReceipt:
    """What was last built from the same paths. It holds while nothing it came from, or led to, has changed.

    That is: what a scan sees; how files are converted; the local ``latest`` with its tree; and that no blob
    was taken out of the store, which changes the time of the folder of blobs.
    """

    def __init__(self, store: Store, package: Handle, paths: Sequence[Path], raw: bool, found: Scan) -> None:
        self._receipt = Receipt(store, "built", package.package, list(map(make_absolute, paths)), raw)
        self._store, self._package = store, package
        self._scan = found.get_digest()

    def find(self) -> BuildResult | None:
        """The result of last time with nothing read, if it still holds."""
        written = self._receipt.read()
        if written.get("scan") != self._scan:
            return None
        try:
            result = BuildResult(**written["result"])
            holds = written == self._make(result, written["recipes"])
        except (KeyError, TypeError):  # Another version wrote it, or it is damaged.
            return None
        return result if holds and self._store.find_latest(self._package) == result.digest else None

    def write(self, result: BuildResult, transforms: Iterable[str]) -> None:
        self._receipt.write(self._make(replace(result, new=0), sorted(transforms)))

    def _make(self, result: BuildResult, transforms: Iterable[str]) -> dict[str, Any]:
        return {
            "scan": self._scan,
            "recipes": {transform: _get_recipe(transform) for transform in transforms},
            "tree": self._store.find_tree_seen(self._package, result.digest),
            "blobs": self._store.get_blobs_seen(),
            "result": asdict(result),
        }


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


def _recall(store: Store, known: "StatCache", works: Iterable[_Work]) -> None:
    """Give the files that did not change the blobs they became last time."""
    folder: str | None = None
    rows: dict[tuple[str, str], tuple[str, Blob]] = {}
    for work in works:
        file = work.file
        if file.folder != folder:
            folder = file.folder
            rows = known.list_folder(folder)
        row = rows.get((file.name, _get_recipe(work.transform)))
        if row is None or row[0] != statcache.make_text(file.seen):
            continue
        blob = row[1]
        if store.find_blob_size(blob.digest) == blob.size:
            work.blob = blob


def _copy(store: Store, works: Sequence[_Work], progress: Progress) -> None:
    for work in works:
        if work.transform == "parquet":
            tables.check_parquet(Path(work.file.path))
    done = ingest_files(store, [work.file.path for work in works], progress.advance)
    for work, (blob, reading) in zip(works, done, strict=True):
        work.blob, work.reading = blob, reading


def _convert(store: Store, works: Iterable[_Work], progress: Progress) -> None:
    # One after the other: each may take most of the memory that a build is allowed.
    for work in works:
        path = work.file.path
        temporary = store.make_temporary()
        try:
            with open(path, "rb") as file, hold_still(path, file) as work.reading:
                blob = tables.convert(Path(path), work.transform, temporary, progress.advance)
            if store.find_blob_size(blob.digest) != blob.size:
                store.keep_blobs([(temporary, blob.digest)])
        except OSError as error:
            raise make_read_error(path, error) from error
        finally:
            temporary.unlink(missing_ok=True)
        work.blob = blob


def _list_rows(works: Iterable[_Work]) -> "list[Row]":
    return [
        (work.file.folder, work.file.name, _get_recipe(work.transform), work.reading.seen, work.blob)
        for work in works
        if work.blob is not None and work.reading is not None and work.is_settled
    ]


def _make_tree(found: Scan, works: Iterable[_Work]) -> Group:
    root = Group()
    for folder in found.folders:
        add_group(root, folder.entry)
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
