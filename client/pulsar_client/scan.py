"""What is in the files and folders that `build` was given."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pulsar_client.blobs import Fingerprint
from pulsar_client.errors import BuildError


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that will be an entry."""

    folder: str  # absolute; links not resolved
    name: str
    entry: tuple[str, ...]  # where it goes in the package
    seen: Fingerprint

    @property
    def path(self) -> str:
        """Where the file is."""
        return os.path.join(self.folder, self.name)


@dataclass(slots=True)
class Scan:
    """Everything found; the files of one folder stand together.

    Paths are text, not :class:`~pathlib.Path`: with 10,000 files those cost more than looking at the disk.
    """

    files: list[SourceFile] = field(default_factory=list)
    folders: list[tuple[str, ...]] = field(default_factory=list)
    skipped: int = 0  # hidden files, backups and folders of Quilt's own


def scan(paths: Sequence[Path]) -> Scan:
    """List the files below ``paths``.

    One folder: what is in it becomes the package. Several paths, or files: each becomes an entry or a group
    under its own name.

    :raises BuildError: if a path is missing, or neither a file nor a folder (a socket, a dead link).
    """
    found = Scan()
    if not paths:
        raise BuildError("There is nothing to build: name a file or a folder.")
    if len(paths) == 1 and paths[0].is_dir():
        _scan_folder(found, _absolute(paths[0]), ())
        return found
    for path in map(_absolute, paths):
        status = _get_status(path)
        if stat.S_ISDIR(status.st_mode):
            found.folders.append((path.name,))
            _scan_folder(found, path, (path.name,))
        else:
            found.files.append(SourceFile(str(path.parent), path.name, (path.name,), Fingerprint.of(status)))
    return found


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # Path.absolute() would keep `..`, and the name would be wrong.


def _get_status(path: Path | os.DirEntry[str]) -> os.stat_result:
    """Of what the path leads to; links are followed."""
    try:
        status = path.stat()
    except OSError as error:
        raise BuildError(f"{os.fspath(path)} cannot be read: {error.strerror or error}") from error
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise BuildError(f"{os.fspath(path)} is neither a file nor a folder.")
    return status


def _is_skipped(name: str) -> bool:
    # As Quilt does it. A hidden file named as a path of its own is taken.
    return name.startswith(".") or name.endswith("~") or name == "quilt_packages"


def _scan_folder(found: Scan, top: Path, entry: tuple[str, ...]) -> None:
    status = top.stat()
    # Each folder comes with the folders it is in: a link back to one of them would never end.
    todo: list[tuple[str, tuple[str, ...], tuple[tuple[int, int], ...]]] = [
        (str(top), entry, ((status.st_dev, status.st_ino),))
    ]
    while todo:
        folder, entry, above = todo.pop()
        for item in _list_folder(folder):
            if _is_skipped(item.name):
                found.skipped += 1
                continue
            status = _get_status(item)
            place = (*entry, item.name)
            if not stat.S_ISDIR(status.st_mode):
                found.files.append(SourceFile(folder, item.name, place, Fingerprint.of(status)))
                continue
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                raise BuildError(f"{item.path} is a link to a folder that it is in.")
            found.folders.append(place)
            todo.append((item.path, place, (*above, identity)))


def _list_folder(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as items:
            return iter(sorted(items, key=lambda item: item.name))
    except OSError as error:
        raise BuildError(f"{folder} cannot be read: {error.strerror or error}") from error
