"""What a Range header means."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.storage.ranges import FilePart, Unsatisfiable, parse_range


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-", (0, 10)),
        ("bytes=0-0", (0, 1)),
        ("bytes=2-4", (2, 5)),
        ("bytes=9-", (9, 10)),
        ("bytes=4-99999999999999999999999999", (4, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("BYTES = 2-4 ", (2, 5)),
        (None, None),
        ("", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=4-2", None),  # not a range: ignored, as RFC 9110 wants
        ("bytes=0-1,4-5", None),  # several: everything
        ("lines=0-1", None),
        ("bytes=a-b", None),
        ("bytes=٣-٤", None),  # digits, but not ours
    ],
)
def test_a_single_range_of_ten_bytes(header, wanted):
    assert parse_range(header, 10) == wanted


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=" + "9" * 5000 + "-"])
def test_a_range_outside_is_refused(header):
    with pytest.raises(Unsatisfiable):
        parse_range(header, 10)


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-5", "bytes=7-9"])
def test_an_empty_blob_has_no_parts(header):
    assert parse_range(header, 0) is None


@given(st.text(max_size=30), st.integers(0, 2**62))
def test_no_header_breaks_the_parser(text, size):
    try:
        part = parse_range(text, size)
    except Unsatisfiable:
        return
    assert part is None or 0 <= part[0] < part[1] <= size


@given(st.binary(min_size=1, max_size=60), st.integers(0, 70), st.integers(0, 70))
def test_a_range_selects_what_slicing_would(data, first, length):
    header = f"bytes={first}-{first + length}"
    try:
        part = parse_range(header, len(data))
    except Unsatisfiable:
        assert data[first : first + length + 1] == b""
        return
    assert part is not None
    assert data[slice(*part)] == data[first : first + length + 1]


@given(st.binary(max_size=60), st.integers(0, 70), st.none() | st.integers(0, 70))
def test_a_part_of_a_file_reads_as_the_slice(tmp_path_factory, data, start, stop):
    path = tmp_path_factory.getbasetemp() / "part"
    path.write_bytes(data)

    with FilePart(io.FileIO(path), start, stop) as part:
        assert part.read() == data[start:stop]
        assert part.read() == b""
