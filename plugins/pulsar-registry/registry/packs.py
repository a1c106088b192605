"""Many small objects in one body: 32 bytes of digest, 8 bytes of size (big-endian), the bytes; repeated.

A request for each of ten thousand files costs far more than the files. No framework, no database.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Final, Protocol

__all__ = ["HEAD_BYTES", "BadPack", "Stream", "pack_head", "read_pack"]

_HEAD: Final = Struct(">32sQ")
HEAD_BYTES: Final = _HEAD.size


class Stream(Protocol):
    """What a pack is read from; ``read(n)`` gives n bytes unless the stream ends."""

    def read(self, size: int, /) -> bytes: ...


class BadPack(ValueError):
    """The bytes are not a pack, or one with an object that is too large; the message says which."""


def pack_head(digest: str, size: int) -> bytes:
    """What stands before the bytes of an object."""
    return _HEAD.pack(bytes.fromhex(digest), size)


def read_pack(stream: Stream, max_object_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Digest and bytes of each object; the digest is the sender's word. Memory: one object.

    :raises BadPack: if the stream ends within a record, or an object is larger than ``max_object_bytes``.
    """
    while head := stream.read(HEAD_BYTES):
        if len(head) < HEAD_BYTES:
            raise BadPack("The pack ends within the head of a record.")
        raw, size = _HEAD.unpack(head)
        digest = raw.hex()
        if size > max_object_bytes:
            raise BadPack(f"{digest} has {size} bytes, an object in a pack at most {max_object_bytes}.")
        content = stream.read(size) if size else b""
        if len(content) < size:
            raise BadPack(f"The pack ends within the object {digest}.")
        yield digest, content
