"""`build`: files become a revision in the local store."""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulsar_client import provenance, sizes
from pulsar_client.blobs import Blob
from pulsar_client.errors import BuildError
from pulsar_client.files import require_space
from pulsar_client.handles import Handle
from pulsar_client.ingest import Reading, hold_still, ingest_files, make_read_error
from pulsar_client.lazy import LazyModule
from pulsar_client.manifest import Group, Leaf, Node, add_group, add_node, list_blobs
from pulsar_client.options import get_usual
from pulsar_client.plan import AS_IT_IS, RAW, Item, Plan, is_build_file, make_plan
from pulsar_client.progress import Progress
from pulsar_client.receipts import Receipt
from pulsar_client.scan import Scan, make_absolute, scan
from pulsar_client.store import Store

if TYPE_CHECKING:
    from pulsar_client import build_file, checking, statcache, tables, transforms
    from pulsar_client.statcache import Row, StatCache
else:
    # A build in which nothing changed needs neither SQLite nor pyarrow.
    build_file = LazyModule("pulsar_client.build_file")
    checking = LazyModule("pulsar_client.checking")
    statcache = LazyModule("pulsar_client.statcache")
    tables = LazyModule("pulsar_client.tables")
    transforms = LazyModule("pulsar_client.transforms")

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

    item: Item
    blob: Blob | None = None  # None: has to be read
    reading: Reading | None = None  # None: was known from last time

    @property
    def is_settled(self) -> bool:
        """Whether a change of the file since will be seen without reading it."""
        return self.reading is None or statcache.is_settled(*self.reading)

    @property
    def is_converted(self) -> bool:
        """Whether the blob has other bytes than the file."""
        return self.item.transform not in AS_IT_IS


def build(
    store: Store,
    package: Handle,
    paths: Sequence[Path],
    *,
    raw: bool,
    command: Sequence[str],
    progress: Progress,
    outside: bool = False,
    allow_python: bool = False,
) -> BuildResult:
    """Make a revision of ``paths`` and let it be the local ``latest``.

    Nothing of it is visible until all of it is there; a build that fails leaves the old ``latest``.

    :param package: with a path, only that part of the local ``latest`` is replaced.
    :param paths: files and folders; or one build file.
    :param raw: keep every file as it is, tables and build files too.
    :param command: what was typed, for the provenance; empty if nothing was.
    :param outside: let a build file read files that are not in its own folder.
    :param allow_python: run checks of a build file that are Python code.
    :raises BuildError: if an input cannot be read; with file, line and column for a table.
    :raises CheckFailed: if an input breaks a rule of the build file.
    :raises NotEnoughSpace: before anything is read.
    """
    if len(paths) == 1 and not raw:
        if is_build_file(paths[0]):
            plan = build_file.read_plan(paths[0], store, outside=outside)
            return _build(store, package, plan, command=command, progress=progress, allow_python=allow_python)
        if (paths[0] / "build.yml").is_file():
            raise BuildError(
                f"{paths[0]} has a build.yml: build that; --raw keeps all files in the folder as they are."
            )
    found = scan(paths)
    receipt = None if package.path else _BuildReceipt(store, package, paths, raw, found)
    if receipt and (same := receipt.find()):
        return same
    plan = make_plan(found, raw=raw)
    return _build(store, package, plan, command=command, progress=progress, receipt=receipt)


def _build(
    store: Store,
    package: Handle,
    plan: Plan,
    *,
    command: Sequence[str],
    progress: Progress,
    receipt: "_BuildReceipt | None" = None,
    allow_python: bool = False,
) -> BuildResult:
    for warning in plan.warnings:
        progress.say(warning)
    checked = any(item.checks for item in plan.items)
    if checked:
        checking.Rules(plan, allow_python)  # Before an hour of work, not after it.
    parent = store.get_latest(package) if package.path else store.find_latest(package)
    works = [_Work(item) for item in plan.items]
    with statcache.StatCache(store.cache / "stat.sqlite") as known:
        _recall(store, known, works)
        todo = [work for work in works if work.blob is None]
        total = sum(work.item.file.seen.size for work in todo)
        require_space(store.root, total)
        if todo:
            progress.start("build", total)
        try:
            _copy(store, [work for work in todo if not work.is_converted], progress)
            _convert(store, [work for work in todo if work.is_converted], progress)
        finally:
            # Also after a failure: what was converted need not be converted again once the cause is gone.
            known.remember(_list_rows(todo))
    if checked:
        paths = [(work.item, store.get_blob_path(work.blob.digest)) for work in works if work.blob]
        checking.check_all(plan, paths, allow_python=allow_python)
    root = _make_tree(store, plan, works, package.path)
    if package.path:
        digest = store.change_latest(package, lambda whole: _replace_part(whole, package.path, root, plan))
    else:
        digest = store.put_revision(package, root)
    recipes = {_get_base_recipe(work.item.transform) for work in works if work.is_converted}
    provenance.note(store, package, digest, parent=parent, command=command, recipes=recipes)
    blobs = {work.blob.digest: work.blob.size for work in works if work.blob}
    # No metadata, and nothing that came from elsewhere.
    if not package.path and list_blobs(root) == blobs.keys():
        sizes.note(store, package, digest, blobs)
    size = sum(blobs.values())
    result = BuildResult(package.package, digest, len(works), len(todo), size, plan.skipped)
    if receipt and all(
        work.is_settled and (not work.reading or work.reading.seen == work.item.file.seen) for work in todo
    ):
        receipt.write(result, {work.item.transform for work in works})
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
            "recipes": {transform: _get_base_recipe(transform) for transform in transforms},
            "tree": self._store.find_tree_seen(self._package, result.digest),
            "blobs": self._store.get_blobs_seen(),
            "result": asdict(result),
        }


@cache
def _get_base_recipe(transform: str) -> str:
    """All that decides, besides the file itself and its options, about the bytes it becomes."""
    if transform in AS_IT_IS:
        return transform
    libraries = ["pyarrow", *(["openpyxl"] if transform == "xlsx" else [])]
    versions = [f"{name}-{importlib.metadata.version(name)}" for name in libraries]
    return ":".join([transform, str(TABLE_RECIPE), *versions])


def _get_recipe(item: Item) -> str:
    """The same with the options."""
    base = _get_base_recipe(item.transform)
    if item.options is None or not (different := item.options.list_differences(get_usual(item.transform))):
        return base
    return f"{base}:{json.dumps(different, sort_keys=True)}"


def _recall(store: Store, known: "StatCache", works: Iterable[_Work]) -> None:
    """Give the files that did not change the blobs they became last time."""
    folder: str | None = None
    rows: dict[tuple[str, str], tuple[str, Blob]] = {}
    for work in sorted(works, key=lambda work: work.item.file.folder):
        file = work.item.file
        if file.folder != folder:
            folder = file.folder
            rows = known.list_folder(folder)
        row = rows.get((file.name, _get_recipe(work.item)))
        if row is None or row[0] != statcache.make_text(file.seen):
            continue
        blob = row[1]
        if store.find_blob_size(blob.digest) == blob.size:
            work.blob = blob


def _copy(store: Store, works: Sequence[_Work], progress: Progress) -> None:
    for work in works:
        if work.item.transform == "parquet":
            tables.check_parquet(Path(work.item.file.path))
    done = ingest_files(store, [work.item.file.path for work in works], progress.advance)
    for work, (blob, reading) in zip(works, done, strict=True):
        work.blob, work.reading = blob, reading


def _convert(store: Store, works: Iterable[_Work], progress: Progress) -> None:
    # One after the other: each may take most of the memory that a build is allowed.
    done: dict[tuple[str, str], _Work] = {}
    for work in works:
        path = work.item.file.path
        if other := done.get((path, _get_recipe(work.item))):
            work.blob, work.reading = other.blob, other.reading
            continue
        temporary = store.make_temporary()
        try:
            with open(path, "rb") as file, hold_still(path, file) as work.reading:
                blob = transforms.convert(work.item, temporary, progress.advance)
            if store.find_blob_size(blob.digest) != blob.size:
                store.keep_blobs([(temporary, blob.digest)])
        except OSError as error:
            raise make_read_error(path, error) from error
        finally:
            temporary.unlink(missing_ok=True)
        work.blob = blob
        done[path, _get_recipe(work.item)] = work


def _list_rows(works: Iterable[_Work]) -> "list[Row]":
    return [
        (work.item.file.folder, work.item.file.name, _get_recipe(work.item), work.reading.seen, work.blob)
        for work in works
        if work.blob is not None and work.reading is not None and work.is_settled
    ]


def _make_tree(store: Store, plan: Plan, works: Iterable[_Work], prefix: tuple[str, ...]) -> Group:
    texts = [metadata for _, metadata in plan.groups] + [item.metadata for item in plan.items]
    digests = _keep_metadata(store, {text for text in texts if text is not None})
    root = Group()
    for entry, metadata in plan.groups:
        add_group(root, entry).metadata_digest = digests.get(metadata)
    for work in works:
        item = work.item
        leaf = Leaf((work.blob.digest,) if work.blob else (), _make_metadata(item, prefix))
        leaf.metadata_digest = digests.get(item.metadata)
        add_node(root, item.file.entry, leaf)
    for entry, node in plan.grafts:
        add_node(root, entry, node)
    return root


def _keep_metadata(store: Store, texts: set[bytes]) -> dict[bytes | None, str]:
    digests: dict[bytes | None, str] = {text: hashlib.sha256(text).hexdigest() for text in texts}
    written = []
    for text in texts:
        if store.find_blob_size(digests[text]) is None:
            temporary = store.make_temporary()
            temporary.write_bytes(text)
            written.append((temporary, digests[text]))
    store.keep_blobs(written)
    return digests


def _make_metadata(item: Item, prefix: tuple[str, ...]) -> dict[str, Any]:
    """The system keys that Quilt's client reads."""
    return {
        "q_ext": item.transform,
        "q_path": "/".join((*prefix, item.origin)),
        "q_target": "file" if item.transform == RAW else "pandas",
    }


def _replace_part(root: Group, path: tuple[str, ...], part: Group, plan: Plan) -> None:
    """Put another node at ``path``."""
    node: Node = part
    if plan.is_leaf:
        (node,) = part.children.values()
        node.metadata = {**(node.metadata or {}), "q_path": "/".join(path)}  # type: ignore[union-attr]
    above = add_group(root, path[:-1])
    above.children.pop(path[-1], None)
    add_node(root, path, node)
