"""How a tree is kept: one blob, zlib-compressed, two lines of JSON.

    {"sizes": {"<digest>": <bytes>, ...}, "metadata": ["<digest>", ...]}
    {"type": "ROOT", "children": ...}

The first line has every object the tree needs, in the order of the tree, and which of them are metadata:
an install of the whole package is answered from it, and the second line is passed on as it is, unparsed.
``docs/formats/manifest.md`` describes the same for others. No framework, no database.
"""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final

__all__ = ["BadStoredTree", "StoredTree", "pack_tree"]

# Hex digests shrink by almost half at any level, names and metadata by far more; level 1 is three times
# as fast as the default for a tenth more bytes.
LEVEL: Final = 1
PIECE: Final = 2**16  # B of compressed text that are read at a time


class BadStoredTree(Exception):
    """The bytes are not a stored tree: they were damaged, or cut."""


def pack_tree(contents: Mapping[str, Any], sizes: Mapping[str, int], metadata: Sequence[str]) -> bytes:
    """The stored form of ``contents``. The same tree always gives the same bytes."""
    head = {"sizes": sizes, "metadata": metadata}
    lines = (_dump(head), b"\n", _dump(contents), b"\n")
    return zlib.compress(b"".join(lines), LEVEL)


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


class StoredTree:
    """A stored tree that is being read. Memory: the first line and one piece.

    :raises BadStoredTree: here or while it is read.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._pieces = self._unzip()
        try:
            head, self._rest = self._read_line()
            found = json.loads(head)
            self.sizes: dict[str, int] = found["sizes"]
            self.metadata: list[str] = found["metadata"]
        except (ValueError, KeyError, TypeError) as exc:
            stream.close()
            raise BadStoredTree from exc
        except BadStoredTree:
            stream.close()
            raise

    def iter_text(self) -> Iterator[bytes]:
        """The JSON text of the tree, as ASCII. Once; closes the stream."""
        try:
            yield self._rest
            yield from self._pieces
        finally:
            self._stream.close()

    def load(self) -> Any:
        """The tree. Once; closes the stream."""
        try:
            return json.loads(b"".join(self.iter_text()))
        except ValueError as exc:
            raise BadStoredTree from exc

    def close(self) -> None:
        """Give the stream back, if the tree is not read to its end."""
        self._stream.close()

    def _read_line(self) -> tuple[bytes, bytes]:
        pieces: list[bytes] = []
        for piece in self._pieces:
            head, newline, rest = piece.partition(b"\n")
            pieces.append(head)
            if newline:
                return b"".join(pieces), rest
        raise BadStoredTree

    def _unzip(self) -> Iterator[bytes]:
        unzipper = zlib.decompressobj()
        try:
            while not unzipper.eof:
                zipped = self._stream.read(PIECE)
                if not zipped:
                    raise BadStoredTree
                yield unzipper.decompress(zipped)
        except zlib.error as exc:
            raise BadStoredTree from exc
