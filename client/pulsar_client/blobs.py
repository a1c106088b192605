"""What is known of a blob and of the file it came from."""

import os
from typing import NamedTuple


class Blob(NamedTuple):
    """Immutable bytes, by SHA-256 and size in bytes."""

    digest: str
    size: int


class Fingerprint(NamedTuple):
    """What the file system says about a file without reading it."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Fingerprint":
        """:param status: of the file itself, not of a link to it."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)
