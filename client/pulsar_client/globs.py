"""Names with ``*``, ``?`` and ``[``: which files of a folder they mean."""

import fnmatch
import os

from pulsar_client.errors import BuildError

_SPECIAL = frozenset("*?[")


def is_glob(name: str) -> bool:
    """Whether ``name`` stands for the files that it matches."""
    return not _SPECIAL.isdisjoint(name)


def find_files(folder: str, pattern: str) -> list[str]:
    """The files below ``folder`` that ``pattern`` matches, relative to it, in order.

    ``**`` stands for any number of folders. Hidden files and folders match only where the pattern has the dot
    too. Folders that are links are not entered, so that there is an end and nothing outside is found.

    :raises BuildError: if the pattern leads out of the folder, or a folder cannot be read.
    """
    parts = pattern.split("/")
    if ".." in parts or "" in parts[:-1]:
        raise BuildError(f"The pattern {pattern!r} leads out of the folder of the build file.")
    found: set[str] = set()
    seen: set[tuple[str, int]] = set()
    todo = [("", 0)]
    while todo:
        inner, position = todo.pop()
        if (inner, position) in seen:
            continue
        seen.add((inner, position))
        part, last = parts[position], position == len(parts) - 1
        if part == "**" and not last:
            todo.append((inner, position + 1))
        for item in _list_folder(os.path.join(folder, inner)):
            if not _matches(item.name, part):
                continue
            path = os.path.join(inner, item.name)
            if last and item.is_file():
                found.add(path)
            if item.is_dir(follow_symlinks=False) and (part == "**" or not last):
                todo.append((path, position if part == "**" else position + 1))
    return sorted(found)


def _matches(name: str, part: str) -> bool:
    if name.startswith(".") and not part.startswith("."):
        return False
    return fnmatch.fnmatchcase(name, "*" if part == "**" else part)


def _list_folder(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as items:
            return list(items)
    except OSError as error:
        raise BuildError(f"{path} cannot be read: {error.strerror or error}") from error
