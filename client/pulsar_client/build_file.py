"""``build.yml``: what is in a package, and how each file is read. The format of Quilt 2, see
``docs/build-file.md``.

A build file may come from anywhere. It reads files of its own folder only, it cannot run anything, and a
word that has no meaning here is an error.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from keyword import iskeyword
from pathlib import Path
from typing import Any, NoReturn

from pulsar_client.blobs import Fingerprint
from pulsar_client.errors import BuildError, ManifestError, NotInstalled
from pulsar_client.globs import find_files, is_glob
from pulsar_client.handles import parse_handle
from pulsar_client.manifest import Group, Leaf, Node, check_name, find_node, list_blobs
from pulsar_client.options import DELIMITERS, TableOptions, parse_options
from pulsar_client.plan import RAW, Entry, Item, Plan
from pulsar_client.scan import SourceFile, get_status, make_absolute
from pulsar_client.store import Store
from pulsar_client.yaml_input import load_yaml

RESERVED = frozenset({"file", "transform", "kwargs", "meta", "checks", "environments", "package"})
TABLES = frozenset({*DELIMITERS, "xlsx", "json", "jsonl", "feather", "arrow"})
TRANSFORMS = TABLES | {"parquet", RAW, "xls"}
BY_EXTENSION = frozenset({*DELIMITERS, "xlsx", "xls", "parquet"})  # As in Quilt; others must be asked for.
MAX_METADATA = 10 << 20  # B of JSON for one entry

_NO_XLS = (
    "the old Excel format .xls cannot be read, as no library reads it piece by piece; save it as CSV "
    "or keep it as a plain file with `transform: id`"
)


def read_plan(path: Path, store: Store, *, outside: bool = False) -> Plan:
    """What the build file at ``path`` says.

    :param store: where the packages are that it names.
    :param outside: let it read files that are not in its own folder.
    :raises BuildError: naming the place, for anything that has no meaning or is not there.
    :raises NotInstalled: if a package that it names is not in the local store.
    """
    reader = _Reader(Path(make_absolute(path)), store, outside)
    reader.read_top(load_yaml(path))
    return reader.plan


@dataclass(frozen=True, slots=True)
class _Inherited:
    """What a group says for all that is in it."""

    transform: str | None = None
    kwargs: Mapping[str, Any] | None = None
    checks: tuple[str, ...] = ()


class _Reader:
    def __init__(self, path: Path, store: Store, outside: bool) -> None:
        self._path, self._store, self._outside = path, store, outside
        self._folder = os.path.realpath(path.parent)
        self._origins: set[str] = set()
        self.plan = Plan()

    def _fail(self, entry: Entry, reason: str) -> NoReturn:
        raise BuildError(f"{self._get_place(entry)}: {reason}")

    def _get_place(self, entry: Entry) -> str:
        return f"{self._path.name}: {'/'.join(entry)}" if entry else self._path.name

    def read_top(self, document: Any) -> None:
        top = document if isinstance(document, dict) else {}
        if not isinstance(top.get("contents"), dict):
            self._fail((), "a build file needs `contents`, a mapping of names to nodes.")
        if unknown := sorted(top.keys() - {"contents", "checks", "environments"}):
            self._fail((), f"{unknown[0]!r} is not known at the top; known are contents and checks.")
        self.plan.checks = self._read_checks(top.get("checks"))
        self._read_group(top["contents"], (), _Inherited())

    def _read_checks(self, checks: Any) -> dict[str, Any]:
        beside = self._path.with_name("checks.yml")
        if checks is None and beside.is_file():
            checks = load_yaml(beside)
        if checks is not None and not isinstance(checks, dict):
            self._fail((), "`checks` must be a mapping of names to rules.")
        return checks or {}

    def _read_group(self, node: dict[str, Any], entry: Entry, above: _Inherited) -> None:
        own = {key: value for key, value in node.items() if self._is_attribute(key, value)}
        for key in ("file", "package"):
            if key in own:
                self._fail(entry, f"`{key}` must be a text.")
        inherited = _Inherited(
            self._read_transform(own, entry) or above.transform,
            self._read_kwargs(own, entry) if "kwargs" in own else above.kwargs,
            self._read_names(own, entry) or above.checks,
        )
        self.plan.groups.append((entry, self._read_metadata(own, entry)))
        children = {key: value for key, value in node.items() if key not in own}
        if own and not children and entry:
            self._fail(entry, "Leaf nodes must define either a file or package key")
        taken = {name for name, value in children.items() if not self._is_glob(name, value)}
        matched: Counter[str] = Counter()
        for name, value in children.items():
            if name in taken:
                self._read_node(value, (*entry, name), inherited)
            else:
                self._read_glob(name, value, entry, inherited, taken, matched)

    @staticmethod
    def _is_attribute(key: str, value: Any) -> bool:
        """A reserved word is the name of a node only where its value is a mapping with a file."""
        return key in RESERVED and not (isinstance(value, dict) and isinstance(value.get("file"), str))

    @staticmethod
    def _is_glob(name: str, value: Any) -> bool:
        return is_glob(name) and not (isinstance(value, dict) and isinstance(value.get("file"), str))

    def _read_node(self, node: Any, entry: Entry, inherited: _Inherited) -> None:
        try:
            check_name(entry[-1])
        except ManifestError as error:
            self._fail(entry[:-1], str(error))
        if node is None:
            self._fail(entry, "Leaf nodes must define either a file or package key")
        if not isinstance(node, dict):
            self._fail((), f"Invalid syntax: expected node data for {entry[-1]!r}, got {str(node)[:200]}")
        has_file = isinstance(node.get("file"), str)
        has_package = isinstance(node.get("package"), str)
        if not (has_file or has_package):
            self._read_group(node, entry, inherited)
            return
        if has_file and has_package:
            self._fail(entry, "A node must define only one of file or package")
        kind, allowed = ("package", {"package", "environments"}) if has_package else ("file", RESERVED)
        if unknown := sorted(node.keys() - allowed):
            self._fail(entry, f"{unknown[0]!r} has no meaning beside `{kind}`.")
        if has_package:
            self.plan.grafts.append((entry, self._find_package(node["package"], entry)))
        else:
            self._add_file(node["file"], node, entry, inherited)

    def _read_glob(
        self,
        pattern: str,
        node: Any,
        entry: Entry,
        inherited: _Inherited,
        taken: set[str],
        matched: Counter[str],
    ) -> None:
        own = {} if node is None else node
        if not isinstance(own, dict) or own.keys() - {"transform", "kwargs", "checks", "environments"}:
            self._fail((*entry, pattern), "a pattern can only have transform, kwargs and checks.")
        files = find_files(self._folder, pattern)
        if not files:
            self.plan.warnings.append(f"{self._get_place(entry)}: the pattern {pattern!r} matches no file.")
        for path in files:
            name = make_identifier(os.path.splitext(os.path.basename(path))[0]) or os.path.basename(path)
            matched[name] += 1
            if matched[name] > 1:
                name = f"{name}_{matched[name]}"
            if name in taken:
                self._fail(entry, f"Naming conflict: {name!r}, from the pattern {pattern!r}, is there twice.")
            taken.add(name)
            self._add_file(path, own, (*entry, name), inherited)

    def _add_file(self, text: str, node: dict[str, Any], entry: Entry, inherited: _Inherited) -> None:
        transform = self._read_transform(node, entry) or inherited.transform
        if transform is None:
            extension = os.path.splitext(text)[1][1:].lower()
            transform = extension if extension in BY_EXTENSION else RAW
        if transform == "xls":
            self._fail(entry, f"{text}: {_NO_XLS}.")
        folder, name, seen = self._find_file(text, entry)
        origin = os.path.normpath(text)
        # What is outside, or used twice, is exported under the name of its entry.
        if os.path.isabs(origin) or origin.startswith("..") or origin in self._origins:
            origin = "/".join(entry)
        self._origins.add(origin)
        options = self._read_options(transform, node, entry, inherited)
        self.plan.items.append(
            Item(
                SourceFile(folder, name, entry, seen),
                transform,
                origin,
                options,
                self._read_names(node, entry) or inherited.checks,
                self._read_metadata(node, entry),
            )
        )

    def _find_file(self, text: str, entry: Entry) -> tuple[str, str, Fingerprint]:
        path = os.path.join(self._folder, text)
        try:
            real = os.path.realpath(path)
            if not self._outside and os.path.commonpath([real, self._folder]) != self._folder:
                self._fail(
                    entry,
                    f"{text!r} is not in the folder of the build file; --allow-outside lets it read other "
                    "folders too.",
                )
            status = get_status(path)
        except ValueError as error:  # A null byte.
            self._fail(entry, f"{text!r} is not the name of a file: {error}.")
        if os.path.isdir(path):
            self._fail(entry, f"{text!r} is a folder, not a file.")
        folder, name = os.path.split(make_absolute(path))
        return folder, name, Fingerprint.of(status)

    def _read_transform(self, node: dict[str, Any], entry: Entry) -> str | None:
        given = node.get("transform")
        if given is None:
            return None
        transform = given.lower() if isinstance(given, str) else None
        if transform not in TRANSFORMS:
            self._fail(entry, f"Unknown transform {given!r} for {node.get('file', '/'.join(entry))}")
        return transform

    def _read_kwargs(self, node: dict[str, Any], entry: Entry) -> dict[str, Any]:
        kwargs = node.get("kwargs")
        if kwargs is not None and not isinstance(kwargs, dict):
            self._fail(entry, "`kwargs` must be a mapping.")
        return kwargs or {}

    def _read_options(
        self, transform: str, node: dict[str, Any], entry: Entry, inherited: _Inherited
    ) -> TableOptions | None:
        own = self._read_kwargs(node, entry)
        if transform not in TABLES:
            inherited = replace(inherited, kwargs=None)  # Meant for the tables beside it.
        return parse_options(transform, {**(inherited.kwargs or {}), **own}, self._get_place(entry))

    def _read_names(self, node: dict[str, Any], entry: Entry) -> tuple[str, ...]:
        given = node.get("checks")
        names = re.split(r"[\s,]+", given) if isinstance(given, str) else [] if given is None else given
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            self._fail(entry, "`checks` must be names of checks.")
        for name in names:
            if name and name not in self.plan.checks:
                self._fail(entry, f"Unknown check {name!r}.")
        return tuple(filter(None, names))

    def _read_metadata(self, node: dict[str, Any], entry: Entry) -> bytes | None:
        given = node.get("meta")
        if given is None:
            return None
        if not isinstance(given, str):
            self._fail(entry, "`meta` must be the path of a JSON file.")
        folder, name, seen = self._find_file(given, entry)
        if seen.size > MAX_METADATA:
            self._fail(entry, f"{given} is larger than {MAX_METADATA >> 20} MiB.")
        try:
            with open(os.path.join(folder, name), "rb") as file:
                data = json.loads(file.read(MAX_METADATA), parse_constant=_refuse_constant)
        except OSError as error:
            self._fail(entry, f"{given} cannot be read: {error.strerror or error}.")
        except (ValueError, RecursionError) as error:
            self._fail(entry, f"{given} is not JSON: {error}.")
        if not isinstance(data, dict):
            self._fail(entry, f"{given} does not hold a JSON object.")
        if "_system" in data:
            self._fail(entry, f"{given}: '_system' is not allowed in metadata; loading adds it.")
        return encode_metadata(data)

    def _find_package(self, text: str, entry: Entry) -> Node:
        if ":" in text.partition("/")[0]:
            self._fail(entry, f"{text!r} names a team, that is another site; leave the team out.")
        handle = parse_handle(text, with_path=True)
        node = find_node(self._store.get_tree(handle, self._store.get_latest(handle)), handle.path)
        if node is None:
            raise NotInstalled(f"{handle.package} has no entry {'/'.join(handle.path)!r}.")
        if self._store.list_missing(list_blobs(node)):
            raise NotInstalled(f"Not all of {text} is in the local store: install it first.")
        if isinstance(node, Leaf):
            old = str((node.metadata or {}).get("q_path") or handle.path[-1])
            return _move(node, "/".join((*entry[:-1], re.split(r"[/\\]", old)[-1])))
        return _move_all(node, "/".join(entry))


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not allowed")


def encode_metadata(data: Mapping[str, Any]) -> bytes:
    """User metadata as it is hashed (registry protocol, section 3)."""
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def _move(leaf: Leaf, path: str) -> Leaf:
    """The leaf with another path to be exported to; without one it goes by its place."""
    if "q_path" not in (leaf.metadata or {}):
        return leaf
    return replace(leaf, metadata={**(leaf.metadata or {}), "q_path": path})


def _move_all(top: Group, folder: str) -> Group:
    """A copy in which everything is exported below ``folder``."""
    copied = Group(metadata_digest=top.metadata_digest)
    todo = [(top, copied)]
    while todo:
        group, copy = todo.pop()
        for name, node in group.children.items():
            if isinstance(node, Group):
                copy.children[name] = below = Group(metadata_digest=node.metadata_digest)
                todo.append((node, below))
            else:
                copy.children[name] = _move(node, f"{folder}/{(node.metadata or {}).get('q_path')}")
    return copied


def make_identifier(text: str) -> str:
    """``text`` as a name of Python, as Quilt makes them; empty if nothing of it is left."""
    name = re.sub(r"[^0-9A-Za-z_]", "_", text).strip("_")
    if name[:1].isdigit():
        name = f"n{name}"
    return f"{name}_" if iskeyword(name) else name
