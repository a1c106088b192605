"""Packages as a source of files for carts, for sites that have the plugin cart."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from flask import current_app

from core.errors import NotFound, Unavailable
from core.identity import ANONYMOUS, Identity
from registry.manifest import GROUPS, NoSuchNode, find_node, is_parquet
from registry.models import Revision
from registry.permissions import RegistryPermissions as P
from registry.services.downloads import file_name
from registry.services.entries import open_revision
from registry.services.packages import find_package
from registry.services.references import LATEST
from registry.services.revisions import find_numbered
from registry.services.trees import load_tree

__all__ = ["PackageSource"]

UNAVAILABLE: Final = "not available"
# The number of a revision and the path of a file in it. No database has a column for more digits than these.
ID: Final = re.compile(r"([1-9][0-9]{0,17})/(.+)", re.ASCII | re.DOTALL)


class PackageSource:
    """The source ``registry``. An entry names a package, and perhaps a revision and a part of it:

        {"source": "registry", "package": "ann/flights", "hash": "1f5a...", "prefix": "raw", "path": "here"}

    ``hash`` is a top hash or the beginning of one, a tag or a version; without one it is the tag ``latest``.
    Or it names one file, as :meth:`transaction` does:

        {"source": "registry", "id": "17/raw/one.csv", "path": "here/one.csv"}

    Files are called as they were when they were pushed, tables end with ``.parquet``. Everything is in the
    site's store, under the SHA-256 that the tree has, so it is ready and verified as it is.
    """

    kind = "stored"

    def resolve(
        self, wanted: Sequence[Mapping[str, Any]], identity: Identity
    ) -> Iterator[Iterable[Mapping[str, Any]] | str]:
        """The files of each entry; those of a package when it is its turn."""
        reader = _reader(identity)
        named = {} if reader is None else _find_named(wanted, reader)
        for index, entry in enumerate(wanted):
            if reader is None:
                yield UNAVAILABLE
            elif "package" in entry:
                yield _resolve(entry, reader)
            else:
                yield named.get(index, UNAVAILABLE)

    def transaction(self, number: int, identity: Identity) -> Iterator[Mapping[str, Any]] | None:
        """The files of the revision of that number, if ``identity`` may read it."""
        reader = _reader(identity)
        found = None if reader is None else find_numbered(reader, [number]).get(number)
        if found is None:
            return None
        root, _ = load_tree(found[1].tree)
        return (
            {"id": f"{number}/{path}", "path": path, "hashtype": "sha256", "hashsum": digest}
            for path, digest in _walk(root, "")
        )

    def may_read(self, container: str, identity: Identity) -> bool:
        """Whether ``identity`` may read the package of that name."""
        owner, _, name = container.partition("/")
        reader = _reader(identity)
        return reader is not None and find_package(reader, owner, name) is not None


def _reader(identity: Identity) -> Identity | None:
    """As whom the caller reads; None if not at all."""
    if identity.can(P.READ):
        return identity
    return ANONYMOUS if current_app.config["REGISTRY_ALLOW_PUBLIC"] else None


def _resolve(entry: Mapping[str, Any], reader: Identity) -> Iterable[Mapping[str, Any]] | str:
    package, reference, prefix = (entry.get(name, "") for name in ("package", "hash", "prefix"))
    if not all(isinstance(text, str) and "\0" not in text for text in (package, reference, prefix)):
        return UNAVAILABLE
    owner, _, name = package.partition("/")
    try:
        seen, revision = open_revision(reader, owner, f"{name}@{reference or LATEST}")
        root, sizes = load_tree(revision.tree)
        node = find_node(root, prefix.strip("/"))
    except (NotFound, NoSuchNode, Unavailable):
        return UNAVAILABLE
    same = _same(f"{seen.owner}/{seen.package.name}", revision)
    last = prefix.strip("/").rpartition("/")[2]
    found = _walk(node, "") if node["type"] in GROUPS else _leaf(last, node, last)
    return [
        {"path": path, "id": digest, "digest": digest, "size": sizes[digest]} | same for path, digest in found
    ]


def _same(handle: str, revision: Revision) -> dict[str, Any]:
    """What holds of all files of a revision."""
    return {"mtime": int(revision.created_at.timestamp()), "container": handle}


def _find_named(
    wanted: Sequence[Mapping[str, Any]], reader: Identity
) -> Mapping[int, Sequence[Mapping[str, Any]]]:
    """The files that entries name by an id, by the places of these entries. Memory: one tree at a time."""
    by_number: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, entry in enumerate(wanted):
        if "package" not in entry and (match := ID.fullmatch(str(entry.get("id", "")))):
            by_number[int(match[1])][match[2]].append(index)
    named = {}
    for number, (handle, revision) in find_numbered(reader, by_number).items():
        try:
            root, sizes = load_tree(revision.tree)
        except Unavailable:
            continue
        same = _same(handle, revision)
        for path, digest in _walk(root, ""):
            for index in by_number[number].get(path, ()):
                identifier = f"{number}/{path}"
                named[index] = [{"id": identifier, "digest": digest, "size": sizes[digest]} | same]
    return named


def _walk(root: Mapping[str, Any], top: str) -> Iterator[tuple[str, str]]:
    """Path and digest of every object below a group."""
    todo = [(top, root)]
    while todo:
        folder, group = todo.pop()
        children = group["children"]
        called = Counter(_called(name, node) for name, node in children.items())
        for name, node in children.items():
            if node["type"] in GROUPS:
                todo.append((f"{folder}{name}/", node))
                continue
            # Two files that had one name, in two folders, are called as their nodes are; and so is one that
            # had the name which another node has here. So no path is there twice.
            file = _called(name, node)
            is_alone = called[file] == 1 and (file == name or file not in children)
            yield from _leaf(f"{folder}{file if is_alone else name}", node, name)


def _called(name: str, node: Mapping[str, Any]) -> str:
    if node["type"] in GROUPS:
        return name
    return file_name(name, node, is_parquet(name, node))


def _leaf(path: str, node: Mapping[str, Any], name: str) -> Iterator[tuple[str, str]]:
    hashes = node["hashes"]
    if len(hashes) == 1:
        yield path, hashes[0]
        return
    ending = ".parquet" if is_parquet(name, node) else ""
    for number, digest in enumerate(hashes):
        yield f"{path}/{number:05d}{ending}", digest
