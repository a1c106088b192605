"""Receipts: what was done last time, so that doing it again can be seen to be needless.

One small JSON file each in ``cache/``. A receipt says under which circumstances the result holds; where
they differ, or the file is lost or damaged, the work is done and a new receipt written.
"""

import hashlib
import json
from typing import Any

from pulsar_client.files import write_atomically
from pulsar_client.store import Store


class Receipt:
    """The receipt for one kind of work on one thing."""

    def __init__(self, store: Store, kind: str, *about: object) -> None:
        """:param about: what the work is done on; anything whose ``repr`` says all of it."""
        name = hashlib.sha256(repr(about).encode()).hexdigest()[:32]
        self._path = store.cache / f"{kind}-{name}.json"

    def read(self) -> dict[str, Any]:
        """What was written last; empty if there is nothing of use."""
        try:
            found = json.loads(self._path.read_bytes())
        except (FileNotFoundError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, content: dict[str, Any]) -> None:
        """Keep ``content``, which must be the same after a way through JSON."""
        write_atomically(self._path, json.dumps(content).encode())
