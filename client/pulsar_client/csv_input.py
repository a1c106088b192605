"""How a CSV file comes to pyarrow: with progress, and with the one newline that it cannot do without."""

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

HEAD_BYTES = 1 << 20  # B in which a header without a newline is looked for


class CountingFile(io.RawIOBase):
    """Passes a file on and tells how much of it was read."""

    def __init__(self, file: BinaryIO, advance: Callable[[int], None]) -> None:
        super().__init__()
        self._file, self._advance = file, advance

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Always the full ``size`` until the end, so that blocks are cut at the same places everywhere."""
        data = self._file.read(size)
        self._advance(len(data))
        return data


@contextlib.contextmanager
def open_input(path: Path, advance: Callable[[int], None]) -> Iterator[BinaryIO]:
    """The bytes of ``path``.

    pyarrow refuses a file that is a header and nothing else, not even a newline; it gets the newline here.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        if len(head) < HEAD_BYTES and b"\n" not in head and b"\r" not in head:
            advance(len(head))
            yield io.BytesIO(head + b"\n")
            return
        file.seek(0)
        with CountingFile(file, advance) as counting:
            yield counting  # type: ignore[misc]  # RawIOBase has all that pyarrow calls.


def count_columns(path: Path, delimiter: str) -> int:
    """About how many columns the header has; delimiters inside quotes count too."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return head.partition(b"\n")[0].count(delimiter.encode()) + 1
