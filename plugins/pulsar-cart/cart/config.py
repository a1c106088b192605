"""Settings of the cart. Variables of the original service are read under their own names too."""

import re
from typing import Final
from urllib.parse import urlsplit

from marshmallow import ValidationError

from core.config import Setting
from core.settings import check_limit

__all__ = ["Config", "archive_address", "bytes_of"]

_SIZE: Final = re.compile(r"([0-9]{1,12})\s*((?:[KMGTkmgt]?[Bb])?)", re.ASCII)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def bytes_of(text: str) -> int:
    """Bytes that ``4 Mb`` (of 1024s) or ``4 MB`` (of 1000s) stand for, as the original service reads it.

    :raises ValueError: if it is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size")
    number, unit = match.groups()
    base: int = 1024 if unit.endswith("b") else 1000
    return int(number) * int(base ** _POWERS[unit[:-1].lower()])


def archive_address(text: str) -> str:
    """``host:8080/`` as a whole address, with a scheme and a slash at its end."""
    whole = text.strip()
    if "://" not in whole:
        whole = f"http://{whole}"
    return whole.rstrip("/") + "/"


def _check_size(value: str) -> None:
    try:
        size = bytes_of(value)
    except ValueError:
        raise ValidationError("Not a size like 4 Mb.") from None
    if not 1024 <= size <= 2**30:
        raise ValidationError("Not between 1 Kb and 1 Gb.")


def _check_archive(value: str) -> None:
    try:
        parts = urlsplit(archive_address(value))
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port out of range, a bracket too many
        good = False
    if not good or parts.query or parts.fragment or "@" in parts.netloc or not parts.netloc.isascii():
        raise ValidationError("Not an address like http://archive.example.org:8080/.")


class Config:
    """Settings of the cart."""

    CART_ANONYMOUS = Setting(False, "Whether callers without credentials may make, read and delete carts.")
    CART_DEFAULT_SOURCE = Setting("archive", "Where entries come from that do not name their source.")
    CART_ARCHIVE_URL = Setting(
        "http://127.0.0.1:8080/",
        "Address of the archive interface.",
        check=_check_archive,
        aliases=("ARCHIVE_INTERFACE_URL",),
    )
    CART_ARCHIVE_CONNECTIONS = Setting(
        4,
        "Requests to the archive at a time, of all carts and workers together. 1 for an archive interface"
        " that keeps one open file for all.",
        "connections",
        minimum=1,
        maximum=256,
    )
    CART_ARCHIVE_CONNECT_TIMEOUT = Setting(
        10.0, "How long a connection to the archive may take.", "s", minimum=0.1, maximum=600
    )
    CART_ARCHIVE_READ_TIMEOUT = Setting(
        60.0, "How long the archive may send nothing.", "s", minimum=0.1, maximum=3600
    )
    CART_RETRY_TIME = Setting(
        120, "How long a file is tried again that cannot be had; and five times at least.", "s", minimum=0
    )
    CART_POLL_MAX = Setting(
        30.0, "Longest pause between two looks at a file that comes from tape.", "s", minimum=1, maximum=3600
    )
    CART_TAPE_TIMEOUT = Setting(24 * 3600, "How long a file may take to come from tape.", "s", minimum=60)
    CART_STALL_TIMEOUT = Setting(
        3600, "How long a cart may make no progress while nothing waits for tape.", "s", minimum=60
    )
    CART_DIRECTORY = Setting(
        "", "Folder whose files the source directory offers; empty: there is no such source."
    )
    CART_DIRECTORY_SCHEME = Setting(
        "paths",
        "How an id names a file in CART_DIRECTORY: by its path, or by a number as Pacifica's archive does.",
        choices=("paths", "numbers"),
    )
    CART_CACHE_BYTES = Setting(
        0, "Most bytes that fetched files may take; 0: as many as the storage gives.", "B", minimum=0
    )
    CART_LRU_PURGE = Setting(
        True, "Carts that nobody used for longest make room for new ones.", aliases=("LRU_PURGE",)
    )
    CART_LRU_BUFFER_TIME = Setting(
        0, "How long a cart is safe after its last use.", "s", minimum=0, aliases=("LRU_BUFFER_TIME",)
    )
    CART_BUNDLE = Setting(
        False,
        "Whether the top folder of a tar is the cart's id where the document does not say.",
        aliases=("BUNDLE_TASK",),
    )
    CART_TRANSFER_SIZE = Setting(
        "4 Mb",
        "Bytes that are read from the archive at a time: 4 Mb of 1024s, 4 MB of 1000s.",
        check=_check_size,
        aliases=("TRANSFER_SIZE",),
    )
    CART_REQUIRE_HASH = Setting(False, "Whether every entry must have a hash to verify the file with.")
    CART_VERIFY_BYTES = Setting(
        64 * 2**20,
        "Local files are verified before the answer to POST up to so many bytes, beyond in a job.",
        "B",
        minimum=0,
    )
    CART_MAX_ENTRIES = Setting(250_000, "Files in one cart.", "files", minimum=1)
    CART_MAX_BODY_BYTES = Setting(
        64 * 2**20, "Largest document; 100,000 entries take about 20 MB.", "B", minimum=2**10
    )
    CART_LONG_NAMES = Setting(
        False, "Whether a name in a path may be longer than the 255 bytes that file systems take."
    )
    CART_UTC_NAMES = Setting(
        False, "Whether the moment in the name of a download is in UTC, and not in the zone of the server."
    )
    CART_RATE_LIMIT = Setting(
        (6000, 60),
        "Calls of one user, or of one address without credentials, in so many seconds; None for no limit."
        " Clients ask once a second for each cart.",
        "requests, s",
        item=int,
        check=check_limit,
        nullable=True,
    )
    CART_DATABASE_ATTEMPTS = Setting(
        3,
        "How often a command tries to reach the database.",
        minimum=1,
        aliases=("DATABASE_CONNECT_ATTEMPTS",),
    )
    CART_DATABASE_WAIT = Setting(
        10.0,
        "Pause between two of these attempts.",
        "s",
        minimum=0,
        aliases=("DATABASE_WAIT", "DATABASE_CONNECT_WAIT"),
    )
    CART_DATABASE_LOGGING = Setting(
        False,
        "Log every statement that is sent to the database.",
        aliases=("DATABASE_LOGGING", "DATABASE_DEBUG_LOGGING"),
    )
