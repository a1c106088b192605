"""What is in the files and folders that `build` was given."""

import hashlib
import marshal
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import NamedTuple

from pulsar_client.blobs import Fingerprint
from pulsar_client.errors import BuildError

# Name; then what a Fingerprint has. A plain tuple, because a class of our own would double what a scan costs.
Seen = tuple[str, int, int, int, int]


class SourceFile(NamedTuple):
    """A file that will be an entry."""

    folder: str  # absolute; links not resolved
    name: str
    entry: tuple[str, ...]  # where it goes in the package
    seen: Fingerprint

    @property
    def path(self) -> str:
        """Where the file is."""
        return os.path.join(self.folder, self.name)

    def get_extension(self) -> str:
        """The end of the name with its dot, in lower case."""
        return os.path.splitext(self.name)[1].lower()


class SourceFolder(NamedTuple):
    """A folder, and the files directly in it in the order the disk has them."""

    path: str  # absolute; links not resolved
    entry: tuple[str, ...]  # the group that it becomes
    files: list[Seen]


@dataclass(slots=True)
class Scan:
    """Everything found."""

    folders: list[SourceFolder] = field(default_factory=list)
    skipped: int = 0  # hidden files, backups and folders of Quilt's own
    is_file: bool = False  # one file was given, and nothing else

    def list_files(self) -> list[SourceFile]:
        """Every file; those of one folder stand together, by name."""
        return [
            SourceFile(folder.path, name, (*folder.entry, name), Fingerprint(*seen))
            for folder in self.folders
            for name, *seen in sorted(folder.files)
        ]

    def get_digest(self) -> str:
        """The same for two scans only if they saw the same.

        The order of a folder counts, which is that of the disk: sorting would cost a tenth of the scan, as
        would any other text than Python's own, here in the version that writes equal things equally.
        """
        digest = hashlib.sha256(b"%d" % self.skipped)
        for folder in self.folders:
            digest.update(marshal.dumps((folder.entry, folder.files), 2))
        return digest.hexdigest()


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
        _scan_folder(found, make_absolute(paths[0]), ())
        return found
    for path in map(make_absolute, paths):
        status = get_status(path)
        parent, name = os.path.split(path)
        if S_ISDIR(status.st_mode):
            _scan_folder(found, path, (name,))
        else:
            found.folders.append(SourceFolder(parent, (), [(name, *Fingerprint.of(status))]))
            found.is_file = len(paths) == 1
    return found


def make_absolute(path: str | os.PathLike[str]) -> str:
    """The path from the root. Links stay, ``..`` does not: a name that becomes an entry has to be right."""
    return os.path.abspath(path)


def get_status(path: str) -> os.stat_result:
    """What the path leads to; links are followed.

    :raises BuildError: if it is missing, or neither a file nor a folder.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise _make_error(path, error) from error
    if not (S_ISREG(status.st_mode) or S_ISDIR(status.st_mode)):
        raise _make_kind_error(path)
    return status


def _make_error(path: str, error: OSError) -> BuildError:
    return BuildError(f"{path} cannot be read: {error.strerror or error}")


def _make_kind_error(path: str) -> BuildError:
    return BuildError(f"{path} is neither a file nor a folder.")


def _scan_folder(found: Scan, top: str, entry: tuple[str, ...]) -> None:
    status = get_status(top)
    # Each folder comes with the folders it is in: a link back to one of them would never end.
    todo: list[tuple[str, tuple[str, ...], tuple[tuple[int, int], ...]]] = [
        (top, entry, ((status.st_dev, status.st_ino),))
    ]
    while todo:
        path, entry, above = todo.pop()
        folder = SourceFolder(path, entry, [])
        found.folders.append(folder)
        for name, status in _list_others(found, folder):
            inner = os.path.join(path, name)
            identity = (status.st_dev, status.st_ino)
            if not S_ISDIR(status.st_mode):
                raise _make_kind_error(inner)
            if identity in above:
                raise BuildError(f"{inner} is a link to a folder that it is in.")
            todo.append((inner, (*entry, name), (*above, identity)))


def _list_others(found: Scan, folder: SourceFolder) -> list[tuple[str, os.stat_result]]:
    """Add the files in a folder to it; what is not a file is returned, with what it leads to.

    All that an unchanged tree costs is spent in this loop.
    """
    name = ""
    others: list[tuple[str, os.stat_result]] = []
    add = folder.files.append
    try:
        with os.scandir(folder.path) as items:
            for item in items:
                name = item.name
                # As Quilt does it. A hidden file named as a path of its own is taken.
                if name[0] == "." or name[-1] == "~" or name == "quilt_packages":
                    found.skipped += 1
                    continue
                status = item.stat()
                if S_ISREG(status.st_mode):
                    add((name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))
                else:
                    others.append((name, status))
    except OSError as error:
        raise _make_error(os.path.join(folder.path, name), error) from error
    return others
