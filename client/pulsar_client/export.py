"""`export`: entries of the local store become ordinary files again."""

import os
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pulsar_client.errors import NotInstalled, StoreError
from pulsar_client.files import require_space, sync_folder, sync_path
from pulsar_client.handles import Handle
from pulsar_client.lazy import LazyModule
from pulsar_client.manifest import Leaf, check_name, find_node, walk
from pulsar_client.progress import Progress
from pulsar_client.store import Store

if TYPE_CHECKING:
    from pulsar_client import frames
else:
    frames = LazyModule("pulsar_client.frames")


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What `export` wrote."""

    package: str
    folder: str
    files: list[str]  # relative to the folder


@dataclass(frozen=True, slots=True)
class _Item:
    target: PurePosixPath
    leaf: Leaf
    delimiter: str | None  # None: the blob is copied as it is


def export(
    store: Store, package: Handle, folder: Path, *, parquet: bool, force: bool, progress: Progress
) -> ExportResult:
    """Write the entries below ``package`` into ``folder`` under their original names.

    Tables that came from CSV or TSV are written as such, or with ``parquet`` as Parquet. All targets are
    checked before the first is written.

    :param force: replace files that are there.
    :raises StoreError: for a name that would leave the folder, a name used twice, or a file in the way.
    """
    root = store.get_tree(package, store.get_latest(package))
    node = find_node(root, package.path)
    if node is None:
        raise NotInstalled(f"{package.package} has no entry {'/'.join(package.path)!r}.")
    leaves = [(path, leaf) for path, leaf in walk(node, package.path) if isinstance(leaf, Leaf)]
    items = [_make_item(path, leaf, parquet) for path, leaf in leaves]
    _check_targets(items, folder, force)
    sizes = store.get_blob_sizes(digest for item in items for digest in item.leaf.digests)
    total = sum(sizes[digest] for item in items for digest in item.leaf.digests)
    folder.mkdir(parents=True, exist_ok=True)
    require_space(folder, total)
    progress.start("export", total)
    for item in items:
        _write(store, item, folder)
        progress.advance(sum(sizes[digest] for digest in item.leaf.digests))
    return ExportResult(str(package), str(folder), [str(item.target) for item in items])


def _make_item(path: tuple[str, ...], leaf: Leaf, parquet: bool) -> _Item:
    metadata = leaf.metadata or {}
    target = check_target(metadata.get("q_path") or "/".join(path))
    if not leaf.is_table or (metadata.get("q_ext") == "parquet" and len(leaf.digests) == 1):
        return _Item(target, leaf, None)
    if parquet:
        if len(leaf.digests) != 1:
            raise StoreError(f"{target} has {len(leaf.digests)} Parquet files, not one; export it as CSV.")
        return _Item(target.with_suffix(".parquet"), leaf, None)
    if target.suffix.lower() == ".tsv":
        return _Item(target, leaf, "\t")
    if target.suffix.lower() == ".csv":
        return _Item(target, leaf, ",")
    if not target.suffix:
        return _Item(target.with_name(f"{target.name}.csv"), leaf, ",")
    # As Quilt does it: `a.csv` may be there too.
    return _Item(target.with_name(f"{target.stem}_{target.suffix[1:]}.csv"), leaf, ",")


def check_target(text: object) -> PurePosixPath:
    """A path from a package, which anyone may have written, as one that stays below the folder.

    Both separators count, because Quilt on Windows wrote ``\\\\``.

    :raises StoreError: if it is absolute, has ``..`` in it, a drive, or characters no name may have.
    """
    if not isinstance(text, str) or re.match(r"[/\\]|[A-Za-z]:[/\\]", text):
        raise StoreError(f"An entry wants to be written to {text!r}, which is not below the folder; refused.")
    parts = re.split(r"[/\\]", text)
    try:
        for part in parts:
            check_name(part)
    except Exception as error:
        raise StoreError(f"An entry wants to be written to {text!r}; refused: {error}") from error
    return PurePosixPath(*parts)


def _check_targets(items: list[_Item], folder: Path, force: bool) -> None:
    taken: set[PurePosixPath] = set()
    for item in items:
        if item.target in taken:
            raise StoreError(f"Two entries would be written to {item.target}.")
        taken.add(item.target)
    for item in items:
        for parent in item.target.parents:
            if parent in taken or (folder / parent).is_file():
                raise StoreError(f"{parent} would have to be both a file and a folder.")
        if (folder / item.target).is_dir():
            raise StoreError(f"{folder / item.target} is a folder.")
        if not force and os.path.lexists(folder / item.target):
            raise StoreError(f"{folder / item.target} is there already; --force replaces it.")


def _write(store: Store, item: _Item, folder: Path) -> None:
    target = folder / item.target
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{uuid.uuid4().hex}")
    paths = [store.get_blob_path(digest) for digest in item.leaf.digests]
    try:
        if item.delimiter is None:
            shutil.copyfile(paths[0], temporary)
        else:
            frames.write_csv(paths, temporary, item.delimiter)
        sync_path(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(target.parent)
