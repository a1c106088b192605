"""What was built from which file, so that unchanged files are neither read nor converted again.

One SQLite file for the whole store. A file counts as unchanged when path, size, both times (ns) and inode
are those of last time, and the recipe (how it was turned into a blob) is the same.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from pulsar_client.blobs import Blob, Fingerprint

T = TypeVar("T")

# A file that changed a moment before it was read may change again within the same tick of the file system's
# clock and look unchanged. Such files are not remembered: 20 ms covers the kernel's tick, 2 s file systems
# that keep whole seconds (as the zeros show). For files on another machine its clock has to be right.
FINE_TICK = 20_000_000  # ns
COARSE_TICK = 2_000_000_000  # ns
_SECOND = 1_000_000_000  # ns

_SCHEMA = """
CREATE TABLE IF NOT EXISTS known (
    folder BLOB, name BLOB, recipe TEXT, seen TEXT, digest TEXT, blob_bytes INTEGER,
    PRIMARY KEY (folder, name, recipe)
) WITHOUT ROWID
"""


Row = tuple[str, str, str, Fingerprint, Blob]  # folder, name, recipe; what it looked like, what it became


def is_settled(seen: Fingerprint, read_ns: int) -> bool:
    """Whether any change after ``read_ns`` (ns since the epoch) shows in the fingerprint."""
    last_ns = max(seen.mtime_ns, seen.ctime_ns)
    return last_ns + (FINE_TICK if last_ns % _SECOND else COARSE_TICK) < read_ns


def make_text(seen: Fingerprint) -> str:
    """A fingerprint as it is stored: an inode may be too large for a number of SQLite."""
    return "{} {} {} {}".format(*seen)


class StatCache:
    """The cache file. It may be lost or damaged at any time; then builds are slower, never wrong."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> "StatCache":
        self._connection = self._try(self._connect)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=30)
        try:
            connection.execute(_SCHEMA)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _try(self, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except sqlite3.OperationalError:
            # Locked for half a minute, read-only or a full disk: the file itself is all right.
            return None
        except sqlite3.DatabaseError:
            # Not a database (any more): the next build starts a new one.
            self._close()
            self._path.unlink(missing_ok=True)
            return None

    def list_folder(self, folder: str) -> dict[tuple[str, str], tuple[str, Blob]]:
        """All that is remembered of the files directly in ``folder``, by (file name, recipe).

        What each looked like is as :func:`make_text` writes it.
        """
        if (connection := self._connection) is None:
            return {}
        query = "SELECT name, recipe, seen, digest, blob_bytes FROM known WHERE folder = ?"
        rows = self._try(lambda: connection.execute(query, (os.fsencode(folder),)).fetchall())
        return {(os.fsdecode(row[0]), row[1]): (row[2], Blob(*row[3:])) for row in rows or []}

    def remember(self, rows: Iterable[Row]) -> None:
        """Add or replace; all or nothing."""
        values = [
            (os.fsencode(folder), os.fsencode(name), recipe, make_text(seen), *blob)
            for folder, name, recipe, seen, blob in rows
        ]
        if values and self._connection is not None:
            self._try(lambda: self._insert(values))

    def _insert(self, values: Sequence[tuple[object, ...]]) -> None:
        if self._connection is not None:
            with self._connection as connection:
                connection.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?, ?, ?)", values)
