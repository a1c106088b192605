"""What is known of a blob and of the file it came from."""

import os
from typing import NamedTuple


class Blob(NamedTuple):
    """Immutable bytes, by SHA-256 and size in bytes."""

    digest: str
    size: int


class Fingerprint(NamedTuple):
    """What the file system says about a file without reading it.

    The time of change (``ctime``) is set by the system whenever content, size, rights or the other time
    change, and by nobody else: who puts ``mtime`` back after a change is noticed all the same.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Fingerprint":
        """:param status: of the file itself, not of a link to it."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
