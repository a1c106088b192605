"""Files below a folder of this machine, read in place."""

import io
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from core.errors import NotFound
from core.identity import Identity

__all__ = ["DirectorySource", "numbered_path"]

UNAVAILABLE: Final = "not available"


def numbered_path(identifier: str) -> str:
    """Where Pacifica's archive keeps the file of a number: ``1234`` is ``d2/4d2``, ``77`` is ``file.4d``.

    :raises ValueError: if it is no number.
    """
    if not (identifier.isascii() and identifier.isdigit() and len(identifier) <= 30):
        raise ValueError(f"{identifier!r} is no number")
    digits = f"{int(identifier):x}"
    if len(digits) <= 2:
        return f"file.{digits}"
    folders, rest = [], digits
    while len(rest) > 2:
        folders.append(rest[-2:])
        rest = rest[:-2]
    return "/".join([*folders, digits])


class DirectorySource:
    """The source ``directory``. An id is a path below the root, or a number.

    Symbolic links may lead anywhere below the root, and nowhere else.
    """

    kind = "local"

    def __init__(self, root: Path, *, numbers: bool = False) -> None:
        self.root = root
        self.numbers = numbers
        self._real: str | None = None

    def resolve(
        self, wanted: Sequence[Mapping[str, Any]], identity: Identity
    ) -> Sequence[Iterable[Mapping[str, Any]] | str]:
        folders: dict[
            str, str
        ] = {}  # most files lie in few folders, and to follow links costs most of the work
        return [self._resolve(str(entry.get("id", "")), folders) for entry in wanted]

    def may_read(self, container: str, identity: Identity) -> bool:
        return True

    def local_path(self, identifier: str) -> Path:
        return Path(self._find(identifier, {})[0])

    def open(self, identifier: str) -> BinaryIO:
        """The file, opened; raises as :meth:`local_path` does.

        Where it is, the system says of the open file, so that nothing can be changed in between; and that
        costs a fifth of looking at each folder on the way.
        """
        if self._real is None:
            self._real = os.path.realpath(self.root).rstrip("/") + "/"
        try:
            relative = numbered_path(identifier) if self.numbers else identifier
            # A pipe would wait for somebody who writes.
            descriptor = os.open(self._real + relative, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (ValueError, OSError):
            raise NotFound from None
        file = io.FileIO(descriptor)
        try:
            found = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:  # no Linux
            found = os.path.realpath(self._real + relative)
        if not found.startswith(self._real):
            file.close()
            raise NotFound
        return cast(BinaryIO, file)

    def _resolve(self, identifier: str, folders: dict[str, str]) -> Iterable[Mapping[str, Any]] | str:
        try:
            _, status = self._find(identifier, folders)
        except NotFound:
            return UNAVAILABLE
        return [{"id": identifier, "size": status.st_size, "mtime": status.st_mtime_ns // 10**9}]

    def _find(self, identifier: str, folders: dict[str, str]) -> tuple[str, os.stat_result]:
        """The real path of the file, and what it is.

        :param folders: real paths of folders by their names, as far as they were looked up; more are added.
        """
        try:
            relative = numbered_path(identifier) if self.numbers else identifier
            folder, _, name = relative.rpartition("/")
            if relative.startswith("/") or name in ("", ".", ".."):
                raise NotFound
            real = self._real_folder(folder, folders)
            path = f"{real}/{name}"
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                path = os.path.realpath(path, strict=True)
                self._require_inside(path, folders)
                status = os.stat(path)
        except (ValueError, OSError):
            # A NUL, half a character, no number; or none there, a ring of links, or not for us.
            raise NotFound from None
        if not stat.S_ISREG(status.st_mode):
            raise NotFound
        return path, status

    def _real_folder(self, folder: str, folders: dict[str, str]) -> str:
        if (known := folders.get(folder)) is not None:
            return known
        found = os.path.realpath(os.path.join(self.root, folder), strict=True)
        if folder:
            self._require_inside(found, folders)
        folders[folder] = found
        return found

    def _require_inside(self, path: str, folders: dict[str, str]) -> None:
        """:raises NotFound: if a link has led out of the root."""
        root = self._real_folder("", folders)
        if path != root and not path.startswith(root.rstrip("/") + "/"):
            raise NotFound
