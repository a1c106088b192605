"""Digests by the names that clients use. No framework, no database."""

import hashlib
import re
from functools import cache, lru_cache
from typing import Any, Final

__all__ = ["digest_length", "is_digest", "normalised", "start"]

_HEX: Final = re.compile(r"[0-9a-f]*", re.ASCII)
_NAME_MAX: Final = 32  # characters, as wide as the column


def normalised(name: str) -> str | None:
    """The algorithm that is meant by ``name``, in whatever case and with or without ``-`` and ``_``.

    None if it is not known here, or gives digests of any length.
    """
    return _normalised(name) if len(name) <= _NAME_MAX else None


@lru_cache(maxsize=256)
def _normalised(name: str) -> str | None:
    known = _known().get(_plain(name))
    return known if known is not None and digest_length(known) else None


@cache
def _known() -> dict[str, str]:
    """The names of ``hashlib``; of two spellings the last one, which is that with ``_``."""
    return {_plain(name): name for name in sorted(hashlib.algorithms_available)}


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


@cache
def digest_length(name: str) -> int:
    """Hex digits of a digest of this algorithm of ``hashlib``; 0 if it cannot be used."""
    try:
        return 2 * int(start(name).digest_size)
    except ValueError:  # known by name and switched off, as old algorithms are in newer OpenSSL
        return 0


def start(name: str) -> Any:
    """A fresh hash object of this algorithm of ``hashlib``."""
    return hashlib.new(name, usedforsecurity=False)


def is_digest(name: str, text: str) -> bool:
    """Whether ``text`` can be a digest of this algorithm, in lower-case hex."""
    return len(text) == digest_length(name) and _HEX.fullmatch(text) is not None
