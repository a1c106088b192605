import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsar_client.errors import DigestMismatch, ProtocolError
from pulsar_client.packs import HEADER_BYTES, get_record_bytes, group_records, make_header, read_records


def make_pack(blobs):
    return b"".join(make_header(hashlib.sha256(blob).hexdigest(), len(blob)) + blob for blob in blobs)


def get_sizes(blobs):
    return {hashlib.sha256(blob).hexdigest(): len(blob) for blob in blobs}


class Trickle(io.BytesIO):
    """Gives one byte at a time, as a slow connection may."""

    def read(self, size=-1):
        return super().read(min(size, 1))


@given(st.lists(st.binary(max_size=50), max_size=8, unique=True), st.sampled_from([io.BytesIO, Trickle]))
def test_a_pack_gives_back_what_was_put_in(blobs, kind):
    records = list(read_records(kind(make_pack(blobs)), get_sizes(blobs)))

    assert [data for _, data in records] == blobs


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=4, unique=True), st.data())
def test_a_cut_pack_is_noticed_unless_it_ends_between_records(blobs, data):
    pack = make_pack(blobs)
    length = data.draw(st.integers(0, len(pack) - 1))
    ends = {len(make_pack(blobs[:count])) for count in range(len(blobs))}

    if length in ends:
        assert len(list(read_records(io.BytesIO(pack[:length]), get_sizes(blobs)))) < len(blobs)
    else:
        with pytest.raises(ProtocolError):
            list(read_records(io.BytesIO(pack[:length]), get_sizes(blobs)))


def test_wrong_bytes_are_noticed():
    pack = make_pack([b"right"]).replace(b"right", b"wrong")

    with pytest.raises(DigestMismatch):
        list(read_records(io.BytesIO(pack), get_sizes([b"right"])))


def test_a_record_that_was_not_asked_for_is_refused_before_it_is_read():
    pack = make_header("ab" * 32, 1 << 60)

    with pytest.raises(ProtocolError, match="not asked for"):
        list(read_records(io.BytesIO(pack), {}))


def test_a_pack_that_repeats_itself_for_ever_is_ended():
    with pytest.raises(ProtocolError, match="not asked for"):
        list(read_records(io.BytesIO(make_pack([b"x"] * 2)), get_sizes([b"x"])))


@given(st.lists(st.integers(0, 30), max_size=30), st.integers(HEADER_BYTES + 30, 300))
def test_packs_keep_order_and_limit(sizes, limit):
    records = [(f"{number}", size) for number, size in enumerate(sizes)]

    packs = list(group_records(records, limit))

    assert [record for pack in packs for record in pack] == records
    assert all(sum(get_record_bytes(size) for _, size in pack) <= limit for pack in packs)
