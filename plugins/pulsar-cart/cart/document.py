"""What a client posts: a list of files, checked entry by entry. No framework, no database.

What paths may be says :mod:`cart.paths`.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from cart import hashes
from cart.paths import BadPath, clean_path, find_clashes

__all__ = [
    "LISTED",
    "BadDocument",
    "Document",
    "Wanted",
    "Wish",
    "check_paths",
    "folder_path",
    "join",
    "parse",
    "path_key",
]

LISTED: Final = 100  # entries that one answer names; who has more wrong knows what to do by then
NAME_MAX: Final = 255  # B of one name in a path that common file systems take
PATH_MAX: Final = 4096  # B
ID_MAX: Final = 4096  # characters
LABEL_MAX: Final = 200  # characters
NUMBER_MAX: Final = 2**53  # what JSON carries exactly
SOURCE: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)


class BadDocument(ValueError):
    """The document cannot be used.

    :param problems: ``{"entry", "member", "reason"}`` for each bad entry, the first :data:`LISTED` of them.
    """

    def __init__(self, message: str, problems: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)


class Wish(NamedTuple):
    """An entry as it was posted: one file, or something that holds files.

    :param number: in the list, from 0.
    :param path: clean; of a whole container the folder for its files, perhaps empty.
    :param id: None where the entry names a container.
    :param given: the entry itself, for its source.
    """

    number: int
    path: str
    source: str
    id: str | None
    hashtype: str
    hashsum: str
    size: int | None
    mtime: int | None
    given: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Document:
    """What was posted."""

    wishes: Sequence[Wish]
    bundle: bool
    label: str


@dataclass(slots=True)
class Wanted:
    """One file of the cart to be made.

    :param digest: SHA-256 of its bytes in the site's store, if it is there.
    :param state: ``waiting``, ``staged`` or ``error``.
    """

    path: str
    number: int
    source: str
    id: str
    hashtype: str
    hashsum: str
    size: int | None
    mtime: int | None
    state: str = "waiting"
    digest: str | None = None
    error: str = ""


@dataclass
class _Problems:
    """What is wrong, as far as it is listed."""

    found: list[dict[str, Any]] = field(default_factory=list)
    count: int = 0

    def add(self, number: int, member: str, reason: str) -> None:
        self.count += 1
        if len(self.found) < LISTED:
            self.found.append({"entry": number, "member": member, "reason": reason})

    def raise_any(self) -> None:
        """:raises BadDocument: if there is anything."""
        if self.found:
            raise BadDocument(_sentence(self.found[0], self.count), self.found)


def _sentence(first: Mapping[str, Any], count: int) -> str:
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"fileids[{first['entry']}]: {first['member']}: {first['reason']}{more}"


def parse(
    found: Any, *, default_source: str, bundle: bool, max_entries: int, long_names: bool, require_hash: bool
) -> Document:
    """Check the decoded JSON of a document.

    :param bundle: what holds where the document does not say.
    :raises BadDocument: with every entry that is wrong.
    :raises OverflowError: if there are more than ``max_entries``.
    """
    if not isinstance(found, dict):
        raise BadDocument("the document is not a JSON object")
    entries = found.get("fileids")
    if not isinstance(entries, list):
        raise BadDocument("fileids: missing, or not an array")
    if len(entries) > max_entries:
        raise OverflowError(f"more than {max_entries} entries")
    asked = found.get("bundle")
    if asked is not None and not isinstance(asked, bool):
        raise BadDocument("bundle: not true or false")
    label = found.get("label", "")
    if not isinstance(label, str) or len(label) > LABEL_MAX:
        raise BadDocument(f"label: not a text of at most {LABEL_MAX} characters")
    problems = _Problems()
    wishes = []
    for number, entry in enumerate(entries):
        wish = _read(entry, number, default_source, long_names, require_hash, problems)
        if wish is not None:
            wishes.append(wish)
    problems.raise_any()
    return Document(wishes, bundle if asked is None else asked, label)


def _read(
    entry: Any, number: int, default: str, long_names: bool, require_hash: bool, problems: _Problems
) -> Wish | None:
    """One entry; None if something is wrong with it, which is then among ``problems``."""
    if not isinstance(entry, dict):
        problems.add(number, "entry", "not an object")
        return None
    before = problems.count
    source = entry.get("source", default)
    if not isinstance(source, str) or not SOURCE.fullmatch(source):
        problems.add(number, "source", "not the name of a source")
        source = default
    # Who names no source speaks the original protocol, in which nothing may be missing.
    extended = "source" in entry
    whole = extended and "id" not in entry
    identifier = None if whole else _identifier(entry, number, problems)
    hashtype, hashsum = _hash(entry, number, extended, problems)
    if require_hash and not hashsum and not whole:
        problems.add(number, "hashsum", "must not be empty on this site")
    path = _path(entry, number, whole, long_names, problems)
    size = _number(entry, "size", number, problems, least=0)
    mtime = _number(entry, "mtime", number, problems, least=-NUMBER_MAX)
    if problems.count > before:
        return None
    return Wish(number, path, source, identifier, hashtype, hashsum, size, mtime, entry)


def _identifier(entry: Mapping[str, Any], number: int, problems: _Problems) -> str | None:
    found = entry.get("id")
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 10**100:
        return str(found)
    if isinstance(found, str) and 0 < len(found) <= ID_MAX:
        return found
    missing = "missing" if "id" not in entry else "not a text or an integer, or too long, or empty"
    problems.add(number, "id", missing)
    return None


def _hash(entry: Mapping[str, Any], number: int, extended: bool, problems: _Problems) -> tuple[str, str]:
    if extended and "hashsum" not in entry and "hashtype" not in entry:
        return "sha256", ""
    hashtype, hashsum = entry.get("hashtype"), entry.get("hashsum")
    if not isinstance(hashtype, str):
        problems.add(number, "hashtype", "missing" if "hashtype" not in entry else "not a text")
        return "", ""
    name = hashes.normalised(hashtype)
    if name is None:
        problems.add(number, "hashtype", f"{_shown(hashtype)} is no algorithm that can be used")
        return "", ""
    if not isinstance(hashsum, str):
        problems.add(number, "hashsum", "missing" if "hashsum" not in entry else "not a text")
        return name, ""
    text = hashsum.lower()
    if text and not hashes.is_digest(name, text):
        problems.add(number, "hashsum", f"not {hashes.digest_length(name)} hex digits, which {name} has")
    return name, text


def _path(entry: Mapping[str, Any], number: int, whole: bool, long_names: bool, problems: _Problems) -> str:
    found = entry.get("path", "" if whole else None)
    if not isinstance(found, str):
        problems.add(number, "path", "missing" if "path" not in entry else "not a text")
        return ""
    longest = PATH_MAX if long_names else NAME_MAX
    try:
        return folder_path(found, longest) if whole else clean_path(found, longest)
    except BadPath as exc:
        problems.add(number, "path", str(exc))
        return ""


def _number(
    entry: Mapping[str, Any], member: str, number: int, problems: _Problems, *, least: int
) -> int | None:
    found = entry.get(member)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not least <= found <= NUMBER_MAX:
        problems.add(number, member, f"not a number from {least} to {NUMBER_MAX}")
        return None
    return int(found // 1)


def folder_path(text: str, max_segment_bytes: int = NAME_MAX) -> str:
    """``text`` as :func:`cart.paths.clean_path` has it, or empty for the top: a folder for files.

    :raises BadPath: if nothing could be unpacked there.
    """
    bare = text.strip("/")
    return clean_path(bare, max_segment_bytes) if bare not in ("", ".") else ""


def join(folder: str, path: str) -> str:
    """``path`` below ``folder``, which may be empty."""
    return f"{folder}/{path}" if folder and path else folder or path


def path_key(path: str) -> str:
    """What a path is looked up by."""
    return hashlib.sha256(path.encode()).hexdigest()


def check_paths(files: Iterable[Wanted]) -> list[Wanted]:
    """``files`` in the order of the bytes of their paths, the same file at the same path once.

    :raises BadDocument: if two different files have one path, or a file is where others need a folder.
    """
    kept: list[Wanted] = []
    seen: dict[str, Wanted] = {}
    for one in files:
        before = seen.setdefault(one.path, one)
        if before is one or _identity(before) != _identity(one):
            kept.append(one)
    problems = _Problems()
    for index, other, reason in find_clashes([file.path for file in kept]):
        words = f"{_shown(kept[index].path)} {reason}, see fileids[{kept[other].number}]"
        problems.add(kept[index].number, "path", words)
    problems.raise_any()
    return sorted(kept, key=lambda one: one.path.encode())


def _identity(one: Wanted) -> tuple[Any, ...]:
    return (one.source, one.id, one.hashtype if one.hashsum else "", one.hashsum)


def _shown(text: str) -> str:
    """``text`` as a message can carry it: printable ASCII and not long."""
    return ascii(text if len(text) <= 100 else text[:100] + "...")
