"""A revision in few words: the top of its tree, its readme, its size."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import func, select

from core.db import db
from core.events import emit
from core.identity import Identity
from registry.events import RegistryEvents
from registry.manifest import GROUPS
from registry.models import LogEntry
from registry.services.readmes import PREVIEW_CHARACTERS, find_text
from registry.services.revisions import describe
from registry.services.trees import load_tree

__all__ = ["get_preview"]

CHILDREN: Final = 10  # of a group that are shown
LEVELS: Final = 4  # of nodes below the root
REST: Final = ["...", None]  # what stands for the others
EXTENSION: Final = re.compile(r"[^./\\](\.[^./\\]*)$")  # of the last part of a path, with either separator
LONGEST_EXTENSION: Final = 32  # characters


def get_preview(identity: Identity, owner: str, name: str, digest: str) -> dict[str, Any]:
    """What a catalogue shows of a revision. ``readme`` is the digest of the object, or None.

    :raises NotFound: ``Package hash does not exist``, also if the caller may not see the package.
    """
    found = describe(identity, owner, name, digest)
    root, sizes = load_tree(found.revision.tree)
    text = find_text(found.revision.readme)
    pushes = db.session.scalar(
        select(func.count()).select_from(LogEntry).where(LogEntry.package_id == found.seen.package.id)
    )
    emit(RegistryEvents.PACKAGE_PREVIEWED, target=f"package:{owner}/{name}", hash=digest)
    db.session.flush()
    return {
        "preview": _shorten(root, LEVELS),
        "readme": found.revision.readme,
        "readme_preview": None if text is None else text[:PREVIEW_CHARACTERS],
        "is_public": found.seen.is_public,
        "is_team": found.seen.is_team,
        "total_size_uncompressed": sum(sizes.values()),
        "file_types": dict(sorted(Counter(map(_extension, _leaves(root))).items())),
        "log_count": [pushes],
        "n_pushes": pushes,
        **found.times,
    }


def _shorten(group: Any, levels: int) -> list[list[Any]]:
    """``[name, children or None]`` of the first children by name."""
    children = group["children"]
    if not levels:
        return [REST] if children else []
    names = sorted(children)
    shown = [
        [name, _shorten(children[name], levels - 1) if children[name]["type"] in GROUPS else None]
        for name in names[:CHILDREN]
    ]
    return shown + [REST] * (len(names) > CHILDREN)


def _leaves(root: Any) -> Iterator[tuple[str, Any]]:
    """Name and node of every leaf."""
    todo = [root]
    while todo:
        for name, node in todo.pop()["children"].items():
            if node["type"] in GROUPS:
                todo.append(node)
            else:
                yield name, node


def _extension(leaf: tuple[str, Any]) -> str:
    """``.csv`` of what was built from ``Data\\x.CSV``; nothing for a file without one."""
    name, node = leaf
    path = (node.get("metadata") or {}).get("q_path")
    match = EXTENSION.search(path if isinstance(path, str) else name)
    return match[1][:LONGEST_EXTENSION].lower() if match else ""
