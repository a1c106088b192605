"""Bytes of objects, for what the site itself reads."""

from core import storage

__all__ = ["read_part"]


def read_part(digest: str, start: int, stop: int) -> bytes:
    """The bytes ``start`` to ``stop`` (exclusive) of an object, as far as it goes.

    :raises NotFound: it is not here.
    """
    pieces: list[bytes] = []
    left = stop - start
    with storage.store().open(digest, start, stop) as stream:
        # A file gives at most two GiB at a time, a connection what has arrived.
        while left > 0 and (piece := stream.read(left)):
            pieces.append(piece)
            left -= len(piece)
    return b"".join(pieces)
