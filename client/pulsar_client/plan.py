"""What `build` is going to do: which file becomes which entry, and how."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pulsar_client.manifest import Node
from pulsar_client.options import TableOptions
from pulsar_client.scan import Scan, SourceFile

# By the end of the name, any case. Everything else is a plain file.
TRANSFORMS = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
RAW = "id"
AS_IT_IS = frozenset({RAW, "parquet"})  # transforms that leave the bytes of the file alone

Entry = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """A file on its way to become an entry."""

    file: SourceFile
    transform: str
    origin: str  # the path that an export gives back
    options: TableOptions | None = None  # None: as without a build file
    checks: tuple[str, ...] = ()
    metadata: bytes | None = None  # the user's, as JSON


@dataclass(slots=True)
class Plan:
    """Everything that a revision is made of."""

    items: list[Item] = field(default_factory=list)
    groups: list[tuple[Entry, bytes | None]] = field(default_factory=list)  # with the user's metadata
    grafts: list[tuple[Entry, Node]] = field(default_factory=list)  # parts of other packages
    checks: dict[str, Any] = field(default_factory=dict)  # by name, as the build file has them
    warnings: list[str] = field(default_factory=list)
    skipped: int = 0  # hidden files and the like
    is_leaf: bool = False  # there is one entry, and a path in a package may name it instead of a group


def is_build_file(path: Path) -> bool:
    """Whether `build` takes ``path`` for a build file, by its name."""
    return path.suffix.lower() in {".yml", ".yaml"} and path.is_file()


def make_plan(found: Scan, *, raw: bool) -> Plan:
    """The plan for files and folders without a build file: names stay, transforms go by the name.

    :param raw: keep every file as it is, tables too.
    """
    plan = Plan(skipped=found.skipped, groups=[(folder.entry, None) for folder in found.folders])
    plan.is_leaf = found.is_file
    for file in found.list_files():
        transform = RAW if raw else TRANSFORMS.get(file.get_extension(), RAW)
        plan.items.append(Item(file, transform, "/".join(file.entry)))
    return plan
