"""How a CSV file comes to pyarrow: with progress, and with the one newline that it cannot do without."""

import codecs
import contextlib
import io
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from pulsar_client.errors import TableError
from pulsar_client.options import TableOptions

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


def count_columns(path: Path, options: TableOptions) -> int:
    """About how many columns the header has; delimiters inside quotes count too."""
    with path.open("rb") as file:
        for _ in range(options.skip_lines):
            file.readline(HEAD_BYTES)
        head = file.read(HEAD_BYTES)
    return head.partition(b"\n")[0].count(options.delimiter.encode()) + 1


@contextlib.contextmanager
def make_utf8(path: Path, options: TableOptions, folder: Path) -> Iterator[Path]:
    """The same text in UTF-8: ``path`` itself, or a file in ``folder`` that is removed afterwards.

    :raises TableError: naming the line with bytes that are not in the encoding that ``options`` name.
    """
    if options.encoding == "utf-8":
        yield path
        return
    copy = folder / uuid.uuid4().hex
    line = 1
    try:
        with path.open("rb") as file, copy.open("xb") as target:
            decoder = codecs.getincrementaldecoder(options.encoding)()
            while True:
                chunk = file.read(HEAD_BYTES)
                text = decoder.decode(chunk, not chunk)
                target.write(text.encode())
                if not chunk:
                    break
                line += text.count("\n")
        yield copy
    except UnicodeError as error:
        if not isinstance(error, UnicodeDecodeError):  # UTF-16 without its mark, or a lone surrogate.
            raise TableError(str(path), f"the text is not {options.encoding}: {error}", line=line) from error
        raise _find_broken(path, error, options, line) from error
    finally:
        copy.unlink(missing_ok=True)


def _find_broken(path: Path, error: UnicodeDecodeError, options: TableOptions, line: int) -> TableError:
    before = error.object[: error.start].decode(options.encoding, "ignore")
    reason = f"the byte 0x{error.object[error.start]:02x} is not {options.encoding}"
    return TableError(str(path), reason, line=line + before.count("\n"))
