"""Many small objects in one body: 32 bytes of digest, 8 bytes of size (big-endian), the bytes; repeated.

A request for each of ten thousand files costs far more than the files. The heads alone, without the bytes,
are a list of objects. No framework, no database.
"""

from collections.abc import Iterator, Mapping
from struct import Struct
from typing import Final, Protocol

__all__ = ["HEAD_BYTES", "BadPack", "Stream", "pack_head", "pack_heads", "read_heads", "read_pack"]

_HEAD: Final = Struct(">32sQ")
HEAD_BYTES: Final = _HEAD.size
MAX_BYTES: Final = 2**63 - 1  # what a database can hold as a number


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


def pack_heads(sizes: Mapping[str, int]) -> bytes:
    """The heads of objects, given as size by digest."""
    return b"".join([pack_head(digest, size) for digest, size in sizes.items()])


def read_heads(heads: bytes) -> dict[str, int]:
    """Size by digest.

    :raises BadPack: if the bytes end within a head, or a size is beyond all measure.
    """
    if len(heads) % HEAD_BYTES:
        raise BadPack("The list ends within the head of an object.")
    found = {digest.hex(): size for digest, size in _HEAD.iter_unpack(heads)}
    if found and max(found.values()) > MAX_BYTES:
        raise BadPack("The list has an object of more than 2^63 bytes.")
    return found
