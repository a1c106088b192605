"""One pass gives every digest, however the stream is cut."""

import hashlib
import io
import zlib

import blake3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.storage.digests import PIECE_BYTES, Digests, Hasher, digest_of, pieces


class ReadOnly:
    """A stream without ``readinto``, such as a server gives for a body."""

    def __init__(self, data: bytes) -> None:
        self.read = io.BytesIO(data).read


def expected(data: bytes) -> Digests:
    return Digests(
        hashlib.sha256(data).hexdigest(), blake3.blake3(data).hexdigest(), zlib.crc32(data), len(data)
    )


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_digests_do_not_depend_on_how_bytes_are_cut(cuts):
    hasher = Hasher()
    for piece in cuts:
        hasher.update(piece)

    assert hasher.digests() == expected(b"".join(cuts))


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
@pytest.mark.parametrize("make", [io.BytesIO, ReadOnly])
def test_a_stream_of_any_length_is_read_to_its_end(size, make):
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    assert digest_of(make(data)) == expected(data)


def test_no_piece_is_larger_than_asked_for():
    assert [len(piece) for piece in pieces(io.BytesIO(b"x" * 25), 10)] == [10, 10, 5]
