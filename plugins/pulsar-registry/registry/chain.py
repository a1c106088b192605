"""The chain of a package's log: each entry has the hash of the one before it.

The hash of an entry covers all that the log says of a push, and the hash before. Who remembers the newest
one sees later whether any entry up to it was changed, removed or put in between: the log itself answers
with everything it takes to compute the hashes again. ``docs/formats/log.md`` describes the same for
others. No framework, no database.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

__all__ = ["Pushed", "dump"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Pushed:
    """What an entry of the log says.

    :param digest: top hash of the revision.
    :param previous: hash of the entry before; None for the first.
    """

    digest: str
    author: str
    created_at: datetime
    message: str
    provenance: Mapping[str, Any]
    previous: str | None

    def hash(self) -> str:
        """SHA-256 of the entry as :func:`dump` writes it."""
        values = {
            "author": self.author,
            "created": (self.created_at - EPOCH) // timedelta(microseconds=1),
            "hash": self.digest,
            "message": self.message,
            "previous": self.previous,
            "provenance": self.provenance,
        }
        return hashlib.sha256(dump(values).encode("ascii")).hexdigest()


def dump(value: Any) -> str:
    """JSON in the one form that is hashed: sorted keys, no blanks, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
