"""What files in a bundle, and the bundle itself, may be called."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.paths import BadPath, clean_name, clean_path, default_name, find_clashes, top_of

DEFAULT = "data_2026_11_21_18_30_00.tar"


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("1/2/3/foo.txt", "1/2/3/foo.txt"),
        ("/name", "name"),
        ("///tmp/x", "tmp/x"),
        ("a//b/./c", "a/b/c"),
        ("./a", "a"),
        ("a\n\t\x7fb", "a\n\t\x7fb"),
        ("C:\\x '\"$(id)", "C:\\x '\"$(id)"),
        ("-rf", "-rf"),
        (" a / b ", " a / b "),
        ("...", "..."),
        ("a..b/..c", "a..b/..c"),
        ("caf\u00e9", "caf\u00e9"),
        ("cafe\u0301", "cafe\u0301"),
    ],
)
def test_a_path_is_made_relative_and_otherwise_kept(path, clean):
    assert clean_path(path) == clean


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "is empty"),
        ("/", "is empty"),
        ("././", "is empty"),
        ("a/", "names a folder"),
        ("a/.", "names a folder"),
        ("..", "leads out"),
        ("a/../b", "leads out"),
        ("a/..", "leads out"),
        ("a\0b", "NUL"),
        ("a\ud800", "half a character"),
        ("a/" + "x" * 256, "segment longer than 255 bytes"),
        ("\u20ac" * 86, "segment longer than 255 bytes"),
        ("a/" * 2048 + "b", "longer than 4096 bytes"),
    ],
)
def test_a_path_that_cannot_be_unpacked_is_refused_with_the_reason(path, reason):
    with pytest.raises(BadPath, match=reason):
        clean_path(path)


def test_the_longest_path_and_the_longest_segment_are_fine():
    assert clean_path("a/" * 2047 + "bc") == "a/" * 2047 + "bc"
    assert clean_path("x" * 255) == "x" * 255
    assert clean_path("\u20ac" * 85) == "\u20ac" * 85


def test_longer_segments_are_fine_where_they_are_allowed():
    assert clean_path("x" * 1000, max_segment_bytes=1000) == "x" * 1000


@given(st.text())
def test_a_clean_path_is_clean_and_stays_inside(path):
    try:
        clean = clean_path(path)
    except BadPath:
        return
    assert clean_path(clean) == clean
    assert not {"", ".", ".."} & set(clean.split("/"))


@pytest.mark.parametrize(
    ("paths", "clashes"),
    [
        ([], []),
        (["b", "a"], []),
        (["a", "a"], [(1, 0, "is the path of two files")]),
        (["a/b", "a"], [(0, 1, "has a file where a folder must be")]),
        (["a", "a-b", "a.b", "a/b"], [(3, 0, "has a file where a folder must be")]),
        (["a/b", "a/bc", "ab"], []),
        (["x/a/b/c", "x/a"], [(0, 1, "has a file where a folder must be")]),
    ],
)
def test_paths_that_cannot_lie_side_by_side_are_found(paths, clashes):
    assert find_clashes(paths) == clashes


segments = st.text("ab-.\u00e9", min_size=1, max_size=2)


@given(st.lists(st.lists(segments, min_size=1, max_size=3).map("/".join), max_size=8))
def test_a_clash_is_found_if_and_only_if_there_is_one(paths):
    taken = set(paths)
    inside = any("/".join(p.split("/")[:n]) in taken for p in paths for n in range(1, p.count("/") + 1))
    assert bool(find_clashes(paths)) == (len(taken) < len(paths) or inside)


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        (None, DEFAULT),
        ("", DEFAULT),
        ("my_cart.tar", "my_cart.tar"),
        ("data", "data"),
        ("../../evil.tar", "evil.tar"),
        ("a/b", "b"),
        ("C:\\temp\\x.tar", "x.tar"),
        ("a/", DEFAULT),
        (".", DEFAULT),
        ("..", DEFAULT),
        ("..tar", DEFAULT),
        ("...tar", DEFAULT),
        (".tar", DEFAULT),
        ("a\r\nSet-Cookie: x", "aSet-Cookie: x"),
        ("\x00\x1b\x85\u2028", DEFAULT),
        ("  ", DEFAULT),
        ("donn\u00e9es.tar", "donn\u00e9es.tar"),
    ],
)
def test_a_name_is_one_printable_segment(name, clean):
    assert clean_name(name, DEFAULT) == clean


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".tar", "\u20ac" * 100 + ".tar"])
def test_a_long_name_is_cut_before_its_suffix(name):
    cut = clean_name(name, DEFAULT)
    assert 250 <= len(cut.encode()) <= 255
    assert cut.endswith(".tar") == name.endswith(".tar")


@given(st.text())
def test_the_top_folder_is_a_segment_whatever_the_name(name):
    top = top_of(clean_name(name, DEFAULT))
    assert clean_path(top) == top
    assert "/" not in top
    assert "\\" not in top


@pytest.mark.parametrize(
    ("name", "suffix", "top"),
    [
        ("my_cart.tar", ".tar", "my_cart"),
        ("data", ".tar", "data"),
        ("my.tars.tar", ".tar", "my.tars"),
        ("a.tar.tar", ".tar", "a.tar"),
        ("a.tar", ".zip", "a.tar"),
        ("a.zip", ".zip", "a"),
    ],
)
def test_one_suffix_is_not_part_of_the_top_folder(name, suffix, top):
    assert top_of(name, suffix) == top


def test_a_bundle_without_a_name_is_called_after_the_moment_it_was_ready():
    assert default_name(datetime(2026, 11, 21, 18, 30, tzinfo=UTC)) == DEFAULT
    assert default_name(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), ".zip") == "data_2026_01_02_03_04_05.zip"
