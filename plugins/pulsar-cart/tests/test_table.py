"""The table of a cart: what is written comes back, whichever member one asks for first."""

import io

import pytest
from bundle_kit import MTIME, cheap, member, table_of
from hypothesis import given
from hypothesis import strategies as st

from cart.table import BadTable, Member, Table, ustar_room, write_table

members = st.builds(
    Member,
    path=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9).map(
        str.encode
    ),
    size=st.integers(0, 2**40),
    mtime=st.integers(-(2**40), 2**40),
    crc32=st.integers(0, 2**32 - 1),
    sha256=st.sampled_from([b"", b"\1" * 32]),
    place=st.binary(max_size=5),
)


@cheap
@given(st.lists(members, unique_by=lambda one: one.path, max_size=20), st.data())
def test_a_table_gives_back_its_members(written, data):
    table = table_of(written)
    written.sort()
    assert len(table) == len(written)
    assert table.total_bytes == sum(one.size for one in written)
    assert table.complete == all(one.sha256 for one in written)
    for index in data.draw(st.permutations(range(len(written)))):
        assert table.member(index) == written[index]
        assert table.size(index) == written[index].size
    for index in range(len(written) + 1):
        assert table.paths_before(index) == sum(len(one.path) for one in written[:index])
        assert table.sizes_before(index) == sum(one.size for one in written[:index])
        assert table.blocks_before(index) == sum(-(-one.size // 512) * 512 for one in written[:index])


def test_members_beyond_one_window_are_found_from_any_side():
    written = [
        member(f"{number:06}", b"", mtime=number)._replace(place=b"%d" % number) for number in range(1000)
    ]
    table = table_of(written)
    for index in (999, 0, 700, 256, 255, 512, 511):
        assert table.member(index) == written[index]
    for index in (-1, 1000):
        with pytest.raises(IndexError):
            table.member(index)


def test_what_is_ordinary_is_not_listed_as_odd():
    ordinary = member("a/" + "x" * 98, b"x")
    odd = [
        member("b" * 101, b""),
        member("c", b"")._replace(size=2**32 - 1),
        member("d", b"", mtime=-1),
        member("e", b"", mtime=8**11),
        member("\u00e9", b""),
    ]
    table = table_of([ordinary, *odd])
    assert [one.number for one in table.odd()] == [1, 2, 3, 4, 5]
    assert list(table.path_lengths()) == [100, 101, 1, 1, 1, 2]


@pytest.mark.parametrize(
    ("path", "room"),
    [
        (b"a", 156),
        (b"x" * 100, 156),
        (b"x" * 101, -1),
        (b"d/" + b"x" * 100, 154),
        (b"d/" + b"x" * 101, -1),
        (b"d" * 155 + b"/" + b"x" * 100, 0),
        (b"d" * 156 + b"/" + b"x" * 100, -1),
        (b"d" * 150 + b"/" + b"x" * 50 + b"/y", 5),
        ("\u00e9".encode(), -1),
    ],
)
def test_the_room_before_a_path_is_what_a_ustar_header_leaves(path, room):
    assert ustar_room(path) == room


@pytest.mark.parametrize("paths", [["b", "a"], ["a", "a"], [""]])
def test_members_out_of_order_are_refused(paths):
    with pytest.raises(ValueError, match="not in order"):
        write_table([member(path, b"") for path in paths], io.BytesIO())


def test_bytes_that_are_no_whole_table_are_refused():
    out = io.BytesIO()
    write_table([member("a", b"", MTIME)], out)
    data = out.getvalue()
    for broken in (b"", b"x" * 500, data[:-1], data[1:]):
        with pytest.raises(BadTable):
            Table(lambda start, stop, broken=broken: broken[start:stop], len(broken))
    with pytest.raises(BadTable, match="not whole"):
        Table(lambda start, stop: data[start:stop][:45], len(data))
