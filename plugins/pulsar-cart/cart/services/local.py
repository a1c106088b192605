"""Local files of a source: read in place, and verified once."""

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import BinaryIO, Protocol, cast

from cart.services.known import file_key, find_known, remember
from cart.sources import LocalSource
from cart.verifying import Mismatch, digest_of
from core.db import own_transaction
from core.errors import NotFound

__all__ = ["Described", "count_unverified", "open_local", "verify_files"]

CHANGED = "the file has changed since the cart was made"


class Described(Protocol):
    """A file, and what it should be."""

    @property
    def source(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def hashtype(self) -> str: ...
    @property
    def hashsum(self) -> str: ...
    @property
    def size(self) -> int | None: ...
    @property
    def mtime(self) -> int | None: ...


def open_local(source: LocalSource, identifier: str, size: int, mtime: int) -> BinaryIO:
    """The file, as it was when the cart was made.

    :raises NotFound: it is not there any more, or has changed.
    """
    try:
        if opener := getattr(source, "open", None):
            file = opener(identifier)
        else:
            file = open(source.local_path(identifier), "rb", buffering=0)  # noqa: SIM115 - the caller closes
    except OSError:
        raise NotFound("not available") from None
    status = os.fstat(file.fileno())
    is_file = stat.S_ISREG(status.st_mode)
    if not is_file or status.st_size != size or status.st_mtime_ns // 10**9 != mtime:
        file.close()
        raise NotFound(CHANGED)
    return cast(BinaryIO, file)


def count_unverified(source: LocalSource, files: Sequence[Described]) -> int:
    """Bytes that :func:`verify_files` would have to read."""
    keys = _keys(source, files)
    known = find_known(keys)
    return sum(one.size or 0 for one, key in zip(files, keys, strict=True) if key not in known)


def verify_files(
    source: LocalSource, files: Sequence[Described], check: Callable[[], None] = lambda: None
) -> list[str]:
    """What is wrong with each of these files, that are to be what their hashes say; empty if nothing is.

    What was verified is remembered as long as the file does not change.

    :param check: called for each piece; raises to end it.
    """
    keys = _keys(source, files)
    known = find_known(keys)
    errors = []
    sound = {}
    for one, key in zip(files, keys, strict=True):
        error = "" if key in known else _verify(source, one, check)
        errors.append(error)
        if not error:
            sound[key] = {"key": key, "digest": None, "size": one.size or 0, "mtime": one.mtime or 0}
    if new := [value for key, value in sound.items() if key not in known]:
        with own_transaction() as session:
            remember(session, new)
    return errors


def _verify(source: LocalSource, one: Described, check: Callable[[], None]) -> str:
    try:
        with open_local(source, one.id, one.size or 0, one.mtime or 0) as file:
            read = digest_of(file, one.hashtype, one.hashsum, check)
    except (NotFound, Mismatch) as exc:
        return str(exc)
    except OSError:
        return "cannot be read"
    return "" if read == one.size else CHANGED


def _keys(source: LocalSource, files: Sequence[Described]) -> list[str]:
    return [file_key(o.source, o.id, o.hashtype, o.hashsum, _version(source, o.id)) for o in files]


def _version(source: LocalSource, identifier: str) -> str:
    """What tells one state of the file from another; empty if it is not there."""
    with suppress(OSError, NotFound):
        status = os.stat(source.local_path(identifier))
        return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
    return ""
