"""What is known of tables: schema, rows, least and greatest values, first rows.

By the digest of the object, so each is looked at once, whoever pushes it. A job (``registry.describe``) reads
the footer and the first pages, in ranges; a process of its own parses them.
"""

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import select

from core import storage
from core.db import db, now
from core.errors import NotFound
from core.identity import Identity
from core.jobs import enqueue
from core.storage.models import Blob
from core.storage.rows import batches, usable, write_rows
from registry.describing import Reader, Undescribed
from registry.manifest import GROUPS, find_parquet, is_parquet
from registry.models import Revision, Statistics
from registry.services.contents import read_part
from registry.services.entries import get_entry
from registry.services.trees import load_tree

__all__ = ["ask_for", "describe", "find_statistics", "get_statistics", "list_undescribed", "write_down"]

VERSION: Final = 1  # of the content; raise it when more is looked for
JOB: Final = "registry.describe"
FRAGMENTS: Final = 100  # of one table that are listed
CONTROL: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")  # what a text does not have
TEXT_BYTES: Final = 4096  # of a file that are shown as text


def ask_for(revision_id: int) -> None:
    """Have the tables of a revision described, those that are not yet."""
    enqueue(JOB, unique_key=f"{JOB}:{revision_id}", revision_id=revision_id)


def list_undescribed(revision_id: int) -> list[str]:
    """The objects of a revision that should be Parquet and of which nothing is known."""
    revision = db.session.get(Revision, revision_id)
    if revision is None:
        return []  # deleted meanwhile
    wanted = find_parquet(load_tree(revision.tree)[0])
    known = {
        digest
        for batch in batches(sorted(wanted))
        for digest in db.session.scalars(
            select(Statistics.digest).where(Statistics.digest.in_(batch), Statistics.version == VERSION)
        )
    }
    return [digest for digest in wanted if digest not in known]


def describe(reader: Reader, digest: str) -> dict[str, Any] | None:
    """What is found in an object; None if it is gone meanwhile."""
    size = db.session.scalar(select(Blob.size).where(Blob.digest == digest, usable()))
    if size is None:
        return None
    try:
        return reader.describe(size, lambda start, stop: read_part(digest, start, stop))
    except Undescribed as exc:
        return {"wrong": str(exc)}
    except NotFound:
        return None


def write_down(found: Mapping[str, dict[str, Any]]) -> None:
    """Keep what was found, by digest."""
    here = storage.store().present(found, hold=True)
    same = {"version": VERSION, "computed_at": now()}
    rows = []
    for digest in sorted(here):
        content = dict(found[digest])
        head = content.pop("head", None)
        rows.append({"digest": digest, "content": json.dumps(content), "head": json.dumps(head)})
    write_rows(db.session, Statistics, rows, ("version", "content", "head", "computed_at"), same)


def find_statistics(digests: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What is known of those of ``digests`` of which anything is."""
    query = select(Statistics.digest, Statistics.content).where(Statistics.version == VERSION)
    return {
        digest: json.loads(content)
        for batch in batches(sorted(set(digests)))
        for digest, content in db.session.execute(query.where(Statistics.digest.in_(batch)))
    }


def find_heads(digests: Iterable[str]) -> dict[str, dict[str, Any] | None]:
    """The first rows of those of ``digests`` of which anything is known."""
    query = select(Statistics.digest, Statistics.head).where(Statistics.digest.in_(set(digests)))
    return {digest: json.loads(head) for digest, head in db.session.execute(query)}


def get_statistics(identity: Identity, owner: str, handle: str, path: str) -> dict[str, Any]:
    """What is known of a file or table.

    :returns: ``state`` is ``ready``, ``waiting`` (a job is asked for), ``wrong`` (some fragment is no sound
        Parquet file) or ``none`` (it is no table; ``text`` is how it begins, if it is text).
    :raises NotFound: there is no such file that ``identity`` may read.
    """
    entry = get_entry(identity, owner, handle, path)
    node = entry.node
    if node["type"] in GROUPS:
        raise NotFound(f"{path[:100]!r} is a group")
    hashes = node["hashes"]
    found: dict[str, Any] = {
        "hash": entry.revision.digest,
        "path": entry.path,
        "size": sum(entry.sizes[digest] for digest in hashes),
        "n_fragments": len(hashes),
    }
    if not is_parquet(entry.name, node):
        return found | {"state": "none", "text": read_text(hashes)}
    known = find_statistics(hashes)
    if len(known) < len(set(hashes)):
        ask_for(entry.revision.id)
        return found | {"state": "waiting"}
    heads = find_heads(hashes[:FRAGMENTS])
    fragments = [
        {"hash": digest, "size": entry.sizes[digest]} | known[digest] | {"head": heads.get(digest)}
        for digest in hashes[:FRAGMENTS]
    ]
    return found | _summary([known[digest] for digest in hashes]) | {"fragments": fragments}


def _summary(parts: list[dict[str, Any]]) -> dict[str, Any]:
    wrong = next((part["wrong"] for part in parts if "wrong" in part), None)
    if wrong is not None:
        return {"state": "wrong", "wrong": wrong}
    return {"state": "ready", "rows": sum(part["rows"] for part in parts)}


def read_text(hashes: list[str]) -> str | None:
    """How a file begins, if it is text: UTF-8 without control characters but tabs and ends of lines."""
    if len(hashes) != 1:
        return None
    try:
        # Not the end: the last character may be cut.
        text = getincrementaldecoder("utf-8")().decode(read_part(hashes[0], 0, TEXT_BYTES))
    except (NotFound, UnicodeDecodeError):
        return None
    return None if CONTROL.search(text) else text
