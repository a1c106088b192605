"""From what was posted to the files of a cart: sources are asked, paths checked, what is here found."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from flask import current_app

from cart.document import NAME_MAX, PATH_MAX, BadDocument, Document, Wanted, Wish, check_paths, join
from cart.models import REASON_MAX, EntryState
from cart.paths import BadPath, clean_path
from cart.services.known import file_key, find_known
from cart.services.local import count_unverified, verify_files
from cart.sources import LocalSource, Source, find_source, source_names
from core.errors import TooLarge
from core.identity import Identity
from core.storage.rows import batches

__all__ = ["Contents", "resolve"]

NOTHING: Final = "holds no files"


@dataclass(frozen=True, slots=True)
class Contents:
    """What a cart will hold.

    :param fingerprint: SHA-256 of all that the client asked for; what was known of it makes no difference.
    :param containers: source and container of those that only some may read.
    """

    files: Sequence[Wanted]
    containers: Sequence[tuple[str, str]]
    fingerprint: str


def resolve(document: Document, identity: Identity) -> Contents:
    """Ask the sources for all files.

    :raises BadDocument: naming every entry that cannot be used.
    :raises TooLarge: there are more files than a cart may have.
    """
    by_source: dict[str, list[Wish]] = {}
    for wish in document.wishes:
        by_source.setdefault(wish.source, []).append(wish)
    sources = _find(by_source)
    found: list[Wanted] = []
    containers: set[tuple[str, str]] = set()
    for name, wishes in by_source.items():
        found += _ask(name, sources[name], wishes, identity, containers)
        if len(found) > current_app.config["CART_MAX_ENTRIES"]:
            raise TooLarge(f"More than {current_app.config['CART_MAX_ENTRIES']} files.")
    files = check_paths(found)
    fingerprint = _fingerprint(files, document.bundle)
    for name, source in sources.items():
        mine = [one for one in files if one.source == name and one.state == EntryState.WAITING]
        if source.kind == "remote":
            _take_known(mine)
        elif source.kind == "local":
            _verify_few(cast(LocalSource, source), mine)
    return Contents(files, sorted(containers), fingerprint)


def _find(by_source: Mapping[str, Sequence[Wish]]) -> dict[str, Source]:
    found = {name: source for name in by_source if (source := find_source(name)) is not None}
    problems = [
        {"entry": wishes[0].number, "member": "source", "reason": f"there is no source {name}"}
        for name, wishes in by_source.items()
        if name not in found
    ]
    if problems:
        known = ", ".join(source_names()) or "none"
        raise BadDocument(f"{problems[0]['reason']} on this site; there are: {known}", problems)
    return found


def _ask(
    name: str, source: Source, wishes: Sequence[Wish], identity: Identity, containers: set[tuple[str, str]]
) -> Iterable[Wanted]:
    given = [
        wish.given if wish.given.get("id") == wish.id else {**wish.given, "id": wish.id} for wish in wishes
    ]
    most = current_app.config["CART_MAX_ENTRIES"]
    found: list[Wanted] = []
    for wish, answer in zip(wishes, source.resolve(given, identity), strict=True):
        if isinstance(answer, str):
            found.append(_unavailable(wish, answer))
            continue
        before = len(found)
        for file in answer:
            found.append(_made(wish, source.kind, file))
            if container := file.get("container"):
                containers.add((name, str(container)))
            if len(found) > most:
                raise TooLarge(f"More than {most} files.")
        if len(found) == before and wish.id is not None:
            found.append(_unavailable(wish, NOTHING))
    return found


def _unavailable(wish: Wish, reason: str) -> Wanted:
    # A container has no path of its own; what stands for it is called by its place in the document.
    path = wish.path if wish.id is not None else join(wish.path, f"fileids[{wish.number}]")
    identifier = wish.id if wish.id is not None else _label(wish.given)
    return Wanted(
        path,
        wish.number,
        wish.source,
        identifier,
        wish.hashtype,
        wish.hashsum,
        wish.size,
        wish.mtime,
        state=EntryState.ERROR,
        error=reason[:REASON_MAX],
    )


def _label(given: Mapping[str, Any]) -> str:
    """What a container is called where an id is expected."""
    words = [given[name] for name in ("package", "hash", "prefix") if isinstance(given.get(name), str)]
    return " ".join(words)[:200]


def _made(wish: Wish, kind: str, file: Mapping[str, Any]) -> Wanted:
    made = Wanted(
        _path(wish, str(file.get("path", ""))),
        wish.number,
        wish.source,
        str(file["id"]),
        wish.hashtype,
        wish.hashsum,
        file.get("size", wish.size),
        file.get("mtime", wish.mtime),
    )
    if kind != "remote":
        made.mtime = made.mtime or 0
        if wish.size is not None and wish.id is not None and wish.size != made.size:
            made.state, made.error = EntryState.ERROR, f"has {made.size} bytes, not {wish.size}"
            return made
    if kind == "stored":
        made.state, made.digest = EntryState.STAGED, str(file["digest"])
        if made.hashsum and (made.hashtype, made.hashsum) != ("sha256", made.digest):
            made.state, made.digest = EntryState.ERROR, None
            made.error = "File hash does not match provided hash"
        else:
            made.hashtype, made.hashsum = "sha256", made.digest
    elif kind == "local" and not made.hashsum:
        made.state = EntryState.STAGED
    return made


def _path(wish: Wish, below: str) -> str:
    path = join(wish.path, below)
    if below:
        try:
            return clean_path(path, PATH_MAX if current_app.config["CART_LONG_NAMES"] else NAME_MAX)
        except BadPath as exc:
            raise _bad(wish, str(exc)) from None
    if not path:
        raise _bad(wish, "is empty")
    return path


def _bad(wish: Wish, reason: str) -> BadDocument:
    problem = {"entry": wish.number, "member": "path", "reason": reason}
    return BadDocument(f"fileids[{wish.number}]: path: {reason}", [problem])


def _fingerprint(files: Sequence[Wanted], bundle: bool) -> str:
    digest = hashlib.sha256(json.dumps([2, bundle]).encode())
    for part in batches(files):
        facts = [
            [one.path, one.source, one.id, one.hashtype, one.hashsum, one.size, one.mtime, one.error]
            for one in part
        ]
        digest.update(json.dumps(facts).encode())
    return digest.hexdigest()


def _take_known(files: Sequence[Wanted]) -> None:
    """What was fetched before, and is still here, is here."""
    hashed = [one for one in files if one.hashsum]
    keys = [file_key(one.source, one.id, one.hashtype, one.hashsum) for one in hashed]
    known = find_known(keys)
    for key, one in zip(keys, hashed, strict=True) if known else ():
        file = known.get(key)
        if file is not None and one.size in (None, file.size):
            one.state, one.digest = EntryState.STAGED, file.digest
            one.size, one.mtime = file.size, file.mtime


def _verify_few(source: LocalSource, files: Sequence[Wanted]) -> None:
    """Verify local files now, if that takes no time worth mentioning; a job does the others."""
    if not files or count_unverified(source, files) > current_app.config["CART_VERIFY_BYTES"]:
        return
    for one, error in zip(files, verify_files(source, files), strict=True):
        one.state, one.error = (EntryState.ERROR, error[:REASON_MAX]) if error else (EntryState.STAGED, "")
