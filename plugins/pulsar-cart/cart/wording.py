"""Words that fit into a header. No framework, no database."""

from typing import Final

__all__ = ["one_line"]

MESSAGE_MAX: Final = 500  # characters


def one_line(text: str) -> str:
    """``text`` as one line of printable ASCII, everything else escaped."""
    line = " ".join(text.split()).encode("unicode_escape").decode("ascii")
    return line if len(line) <= MESSAGE_MAX else line[: MESSAGE_MAX - 3] + "..."
