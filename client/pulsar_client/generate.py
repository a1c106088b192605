"""`generate`: a first build file for a folder, with the names that Quilt would give."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pulsar_client.build_file import make_identifier
from pulsar_client.errors import BuildError
from pulsar_client.scan import Scan, SourceFile, scan
from pulsar_client.yaml_input import MAX_BYTES, MAX_DEPTH

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclass(frozen=True, slots=True)
class GenerateResult:
    """What `generate` wrote."""

    file: str
    entries: int


def generate(folder: Path) -> GenerateResult:
    """Write ``build.yml`` into ``folder``, with a node for each file that `build` would take.

    :raises BuildError: if there is one already, two names cannot be told apart, or a name is not UTF-8.
    """
    target = folder / "build.yml"
    if os.path.lexists(target):
        raise BuildError(f"Build file {target} already exists.")
    if not folder.is_dir():
        raise BuildError(f"{folder} is not a folder.")
    found = scan([folder])
    files = found.list_files()
    text = _dump({"contents": _make_contents(found, files)})
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise BuildError(f"Build file {target} already exists.") from error
    return GenerateResult(str(target), len(files))


def _make_contents(found: Scan, files: list[SourceFile]) -> dict[str, Any]:
    below: dict[tuple[str, ...], list[SourceFile]] = {}
    for file in files:
        below.setdefault(file.entry[:-1], []).append(file)
    folders: dict[tuple[str, ...], list[str]] = {}
    for folder in found.folders[1:]:
        folders.setdefault(folder.entry[:-1], []).append(folder.entry[-1])
    groups: dict[tuple[str, ...], dict[str, Any]] = {(): {}}
    # Shallow ones first: a group is there before what is in it.
    for folder in sorted(found.folders, key=lambda folder: (len(folder.entry), folder.entry)):
        if len(folder.entry) + 3 > MAX_DEPTH:
            raise BuildError(f"{folder.path} is too deep for a build file.")
        group = groups[folder.entry]
        here = below.get(folder.entry, [])
        for name, inner in _name_all(folder.path, sorted(folders.get(folder.entry, [])), here).items():
            if isinstance(inner, SourceFile):
                group[name] = _make_leaf(inner)
            else:
                group[name] = groups[(*folder.entry, inner)] = {}
    return groups[()]


def _make_leaf(file: SourceFile) -> dict[str, str]:
    leaf = {"file": "/".join(file.entry)}
    if file.get_extension() == ".xls":
        leaf["transform"] = "id"  # The only thing that can be done with it.
    return leaf


def _name_all(place: str, folders: list[str], files: list[SourceFile]) -> dict[str, str | SourceFile]:
    """The node of each folder and file in ``place``; extensions only where stems are equal."""
    stems = Counter(_make_name(os.path.splitext(file.name)[0], file.name) for file in files)
    stems.update(_make_name(folder, folder) for folder in folders)
    named: list[tuple[str, str | SourceFile]] = [(_make_name(folder, folder), folder) for folder in folders]
    for file in files:
        name = _make_name(os.path.splitext(file.name)[0], file.name)
        named.append((_make_name(file.name, file.name) if stems[name] > 1 else name, file))
    nodes = dict(named)
    if len(nodes) < len(named):
        twice = next(name for name, count in Counter(name for name, _ in named).items() if count > 1)
        raise BuildError(
            f"Duplicate node names in directory {place}: {twice!r}; write the build file by hand."
        )
    return nodes


def _make_name(text: str, original: str) -> str:
    # A name of which no letter is ASCII stays as it is.
    return make_identifier(text) or original


def _dump(document: dict[str, Any]) -> str:
    try:
        text: str = yaml.dump(
            document,
            Dumper=_DUMPER,
            sort_keys=False,
            allow_unicode=True,
            default_flow_style=False,
            width=1000,
        )
        if len(text.encode()) > MAX_BYTES:
            raise BuildError(f"The build file would be larger than {MAX_BYTES >> 20} MiB.")
    except UnicodeEncodeError as error:
        raise BuildError(f"A file name is not UTF-8: {error.object[:100]!r}.") from error
    return text
