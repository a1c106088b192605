"""How long work tells how far it is, and why it takes so long. The command draws a bar; by default nobody
listens.
"""

from typing import Protocol


class Progress(Protocol):
    """Told about one piece of work after the other."""

    def start(self, what: str, total_bytes: int) -> None:
        """A piece of work begins."""

    def advance(self, count: int) -> None:
        """So many more bytes of it are done. May be called from any thread."""

    def say(self, text: str) -> None:
        """A sentence for whoever wonders why nothing goes on. May be called from any thread."""


class NoProgress:
    """Listens to nothing."""

    def start(self, what: str, total_bytes: int) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def say(self, text: str) -> None:
        pass
