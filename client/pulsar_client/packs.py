"""Packs: many small blobs in one request body. Pure framing, no network.

A pack is records without a header: 32 bytes of SHA-256, 8 bytes of size (unsigned, big-endian), then that
many bytes. The length of a pack is known before it is made, so it is sent with a Content-Length.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from struct import Struct
from typing import Protocol

from pulsar_client.errors import DigestMismatch, ProtocolError

_HEADER = Struct(">32sQ")
HEADER_BYTES = _HEADER.size


class Readable(Protocol):
    """Where a pack is read from."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""


def get_record_bytes(size: int) -> int:
    """The room one blob of ``size`` bytes takes in a pack."""
    return HEADER_BYTES + size


def make_header(digest: str, size: int) -> bytes:
    """What stands before the bytes of a blob."""
    return _HEADER.pack(bytes.fromhex(digest), size)


def make_heads(sizes: Mapping[str, int]) -> bytes:
    """A list of blobs: what stands before each of them in a pack."""
    return b"".join([make_header(digest, size) for digest, size in sizes.items()])


def read_heads(heads: bytes) -> dict[str, int]:
    """The sizes of the blobs in a list, by digest.

    :raises ProtocolError: if it is cut.
    """
    if len(heads) % HEADER_BYTES:
        raise ProtocolError("A list of blobs ended in the middle of one.")
    return {digest.hex(): size for digest, size in _HEADER.iter_unpack(heads)}


def group_records(sizes: Iterable[tuple[str, int]], pack_bytes: int) -> Iterator[list[tuple[str, int]]]:
    """Cut (digest, size) pairs into packs of at most ``pack_bytes``, in the order they come."""
    pack: list[tuple[str, int]] = []
    room = pack_bytes
    for digest, size in sizes:
        needed = get_record_bytes(size)
        if pack and needed > room:
            yield pack
            pack, room = [], pack_bytes
        pack.append((digest, size))
        room -= needed
    if pack:
        yield pack


def read_records(stream: Readable, sizes: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    """The verified blobs of a pack, one at a time.

    :param sizes: the blobs that were asked for; the caller keeps each small enough for memory.
    :raises DigestMismatch: if bytes do not fit their digest.
    :raises ProtocolError: if the pack is cut, or holds what was not asked for, or twice: so it has an end.
    """
    expected = dict(sizes)
    while header := _read(stream, HEADER_BYTES, or_end=True):
        raw, size = _HEADER.unpack(header)
        digest = raw.hex()
        # The size is compared before it is read: a hostile site must not choose how much memory we take.
        if expected.pop(digest, None) != size:
            raise ProtocolError(f"The site sent {size} bytes as {digest[:12]}, which was not asked for.")
        data = _read(stream, size)
        if hashlib.sha256(data).hexdigest() != digest:
            raise DigestMismatch(f"The site sent wrong bytes as {digest[:12]}.")
        yield digest, data


def _read(stream: Readable, size: int, *, or_end: bool = False) -> bytes:
    pieces: list[bytes] = []
    missing = size
    while missing:
        piece = stream.read(missing)
        if not piece:
            break
        pieces.append(piece)
        missing -= len(piece)
    if missing and not (or_end and missing == size):
        raise ProtocolError("A pack ended in the middle of a record.")
    return b"".join(pieces)
