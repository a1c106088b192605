"""What a bundle and the files in it may be called. No framework, no database.

A path decides where a file lies on the machine that unpacks the bundle, never where it lies on this one.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final

__all__ = ["BadPath", "clean_name", "clean_path", "default_name", "find_clashes", "top_of"]

MAX_PATH_BYTES: Final = 4096  # PATH_MAX of Linux: nobody could open what has a longer one
MAX_SEGMENT_BYTES: Final = 255  # NAME_MAX of every file system in common use
MAX_NAME_BYTES: Final = 255  # of a bundle; its name without the suffix is the first segment of every path
DEFAULT_TOP: Final = "data"

_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class BadPath(ValueError):
    """No file can be unpacked there; the message says why, as the end of a sentence about the path."""


def clean_path(path: str, max_segment_bytes: int = MAX_SEGMENT_BYTES) -> str:
    """``path`` as it stands in a bundle: relative, without empty and ``.`` segments.

    Leading slashes are normal: clients write ``/name`` for a file at the top. Everything else is kept as
    it is, controls, quotes, backslashes and unusual Unicode included.

    :param max_segment_bytes: the longest name between two slashes, in UTF-8.
    :raises BadPath: if it is empty, names a folder, leads out, or cannot be unpacked.
    """
    if "\0" in path:
        raise BadPath("has a NUL character")
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        raise BadPath("has half a character, which UTF-8 cannot write") from None
    segments = path.split("/")
    kept = [segment for segment in segments if segment not in ("", ".")]
    if not kept:
        raise BadPath("is empty")
    if ".." in kept:
        raise BadPath("leads out of the bundle by '..'")
    if segments[-1] in ("", "."):
        raise BadPath("names a folder")
    if length > MAX_PATH_BYTES:
        raise BadPath(f"is longer than {MAX_PATH_BYTES} bytes")
    # Most paths are not longer than a segment may be.
    if length > max_segment_bytes and any(len(one.encode()) > max_segment_bytes for one in kept):
        raise BadPath(f"has a segment longer than {max_segment_bytes} bytes")
    return "/".join(kept)


def find_clashes(paths: Sequence[str]) -> list[tuple[int, int, str]]:
    """Which of ``paths`` cannot be unpacked side by side: ``(index, index of the other, reason)``.

    :param paths: as :func:`clean_path` returns them.
    :returns: in byte order of the paths; empty when all is well.

    It costs one sort, however deep the paths are.
    """
    # With NUL, which no path has, for the slash, what lies in a folder follows its name at once:
    # otherwise "a-b" comes between "a" and "a/b".
    keys = [path.encode().replace(b"/", b"\0") for path in paths]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    clashes = []
    for other, one in pairwise(order):
        if keys[one] == keys[other]:
            clashes.append((one, other, "is the path of two files"))
        elif keys[one].startswith(keys[other] + b"\0"):
            clashes.append((one, other, "has a file where a folder must be"))
    return clashes


def default_name(ready_at: datetime, suffix: str = ".tar") -> str:
    """What a bundle is called when nobody says: ``data_2026_11_21_18_30_00.tar``.

    :param ready_at: when the cart became ready, in the zone to be shown. Not the moment of the download:
        two downloads are the same bytes.
    """
    return f"{DEFAULT_TOP}_{ready_at:%Y_%m_%d_%H_%M_%S}{suffix}"


def clean_name(name: str | None, default: str, suffix: str = ".tar") -> str:
    """The file name of a bundle, as asked for by a stranger: one segment, printable, at most 255 bytes.

    The last component is kept, be it of a path of Unix or of Windows. What leaves nothing gives ``default``.
    """
    last = re.split(r"[/\\]", name or "")[-1]
    kept = _cut(_CONTROLS.sub("", last).strip(), suffix)
    return default if top_of(kept, suffix) in ("", ".", "..") else kept


def top_of(name: str, suffix: str = ".tar") -> str:
    """The top folder of a bundle called ``name``: ``my.tars`` for ``my.tars.tar``; one suffix goes."""
    return name.removesuffix(suffix)


def _cut(name: str, suffix: str) -> str:
    """``name`` without so much of its end, but for the suffix, that it is too long for a file."""
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    end = suffix if name.endswith(suffix) else ""
    return name.encode()[: MAX_NAME_BYTES - len(end)].decode(errors="ignore").strip() + end
