"""Bundles: any part is that slice of the whole, and everybody who reads tars and zips reads the same."""

import io
import os
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from contextlib import closing

import pytest
from bundle_kit import MTIME, Files, cheap, member, table_of, zeros
from hypothesis import example, given
from hypothesis import strategies as st

from cart.bundle import Entries, Tar
from cart.paths import BadPath, clean_path, find_clashes
from cart.pieces import PIECE_BYTES, BrokenBundle
from cart.zipped import Zip

segments = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=60)
ODD_NAMES = [
    "a\nb\r\n",
    "-rf",
    "'\"`$(id) \\ *?",
    " ",
    "caf\u00e9",
    "cafe\u0301",
    "\u202etxt.exe",
    "\U0001f6f0",
    "\x1b[31m",
    "\x7f\x80\u2028",
    "x" * 255,
    "\u20ac" * 85,
    "y" * 99 + "/z",
    "d" * 155 + "/" + "e" * 100,
    "d" * 156 + "/" + "e" * 100,
    "a" * 98 + "/b",
    "=",
    "12 path=evil",
]


def paths():
    """Paths that may be in a cart, many near the limits of a header."""
    near = st.integers(80, 170).map(lambda n: ("p" * 50 + "/") * (n // 51) + "q" * max(1, n % 51))
    return st.one_of(
        st.lists(segments, min_size=1, max_size=4).map("/".join), near, st.sampled_from(ODD_NAMES)
    )


@st.composite
def carts(draw):
    found = {}
    for path in draw(st.lists(paths(), max_size=6)):
        try:
            found[clean_path(path)] = draw(
                st.binary(max_size=40) | st.integers(500, 1600).map(lambda n: b"x" * n)
            )
        except BadPath:
            continue
    for one, _, _ in find_clashes(names := list(found)):
        found.pop(names[one], None)
    times = {path: draw(st.sampled_from([MTIME, 0, -1, -(10**10), 8**11, 2**31])) for path in found}
    return Files(found, times)


tops = st.sampled_from(["data", "t" * 155, "t" * 156, "t" * 255, "donn\u00e9es"])


def whole(bundle) -> bytes:
    data = b"".join(bundle.blocks())
    assert len(data) == bundle.total
    return data


@pytest.mark.parametrize("kind", [Tar, Zip])
@cheap
@given(carts(), tops, st.data())
def test_any_range_is_that_slice_of_the_whole(kind, files, top, data):
    bundle = kind(files.entries(top))
    complete = whole(bundle)
    start = data.draw(st.integers(0, bundle.total))
    stop = data.draw(st.integers(start, bundle.total))
    assert b"".join(bundle.blocks(start, stop)) == complete[start:stop]
    assert b"".join(bundle.blocks(start)) == complete[start:]
    assert files.open == 0
    assert files.most_open <= 1


@pytest.mark.parametrize("mode", ["r:", "r|"])
@cheap
@given(carts(), tops)
def test_python_reads_the_tar_front_to_back_and_at_random(mode, files, top):
    data = whole(Tar(files.entries(top)))
    assert len(data) % 10240 == 0
    with tarfile.open(fileobj=io.BytesIO(data), mode=mode) as tar:
        found = {one.name: (one, tar.extractfile(one).read()) for one in tar}
    assert {name: content for name, (_, content) in found.items()} == {
        f"{top}/{path.decode()}": content for path, content in files.contents.items()
    }
    for number, (one, _) in enumerate(found.values()):
        assert (one.type, one.mode, one.uid, one.gid, one.uname, one.gname) == (b"0", 0o644, 0, 0, "", "")
        assert one.mtime == files.table.member(number).mtime
    assert list(found) == sorted(found, key=str.encode)


@cheap
@given(carts(), tops)
def test_python_reads_the_zip(files, top):
    with zipfile.ZipFile(io.BytesIO(whole(Zip(files.entries(top))))) as archive:
        assert archive.testzip() is None
        assert {one.orig_filename: archive.read(one) for one in archive.infolist()} == {
            f"{top}/{path.decode()}": content for path, content in files.contents.items()
        }
        assert all(one.external_attr >> 16 == 0o100644 for one in archive.infolist())


@cheap
@given(carts(), tops)
def test_pax_records_stand_only_where_a_plain_header_does_not_do(files, top):
    tar = tarfile.open(fileobj=io.BytesIO(whole(Tar(files.entries(top)))), mode="r:")  # noqa: SIM115
    for one in tar:
        name = one.name.encode()
        fits = one.name.isascii() and (
            len(name) <= 100
            or any(
                len(name) - at <= 101 and at <= 155 for at in range(len(name)) if name[at : at + 1] == b"/"
            )
        )
        expected = set() if fits else {"path"}
        expected |= set() if 0 <= one.mtime < 8**11 else {"mtime"}
        assert set(one.pax_headers) == expected


# A tree with everything odd, without what this file system would call one name.
TREE = {name: f"content of {name!r}".encode() for name in ODD_NAMES} | {
    "empty": b"",
    "deep/" * 400 + "file": b"deep",
    "block": b"x" * 512,
    "almost": b"x" * 511,
    "large": bytes(3 * PIECE_BYTES + 7),
}


@pytest.fixture
def unpacked(tmp_path):
    """Unpack a bundle with a program and read what it wrote: ``unpacked(bundle, "tar", "-xf", "-")``."""

    def unpack(bundle, *command, file=None):
        options = {"input": whole(bundle)}
        if file is not None:
            (tmp_path / file).write_bytes(options.pop("input"))
        env = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, env=env, **options)
        found, times = {}, {}
        for folder, _, names in os.walk(tmp_path / "data"):
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), tmp_path / "data")
                with open(os.path.join(folder, name), "rb") as stream:
                    found[path] = stream.read()
                times[path] = os.stat(os.path.join(folder, name)).st_mtime
        return found, times

    return unpack


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs tar")
def test_gnu_tar_unpacks_what_was_packed(unpacked):
    times = {"empty": -86400, "block": 0, "almost": 4_000_000_000}
    found, mtimes = unpacked(Tar(Files(TREE, times).entries()), "tar", "-xf", "-")
    assert found == TREE
    assert mtimes == {path: times.get(path, MTIME) for path in TREE}


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs tar")
def test_gnu_tar_reads_a_path_of_4096_bytes():
    path = "a/" * 2047 + "bc"
    done = subprocess.run(
        ["tar", "-xOf", "-"],
        input=whole(Tar(Files({path: b"deep"}).entries())),
        check=True,
        capture_output=True,
    )
    assert done.stdout == b"deep"


@pytest.mark.skipif(shutil.which("unzip") is None, reason="needs unzip")
def test_unzip_unpacks_what_was_packed(unpacked):
    # unzip replaces control characters, and has no file whose path is longer than it thinks a path can be.
    tree = {path: data for path, data in TREE.items() if path.isprintable() and "deep/" not in path}
    times = {"empty": 1_000_000_001, "block": 315532800}
    found, mtimes = unpacked(Zip(Files(tree, times).entries()), "unzip", "-q", "x.zip", file="x.zip")
    assert found == tree
    assert mtimes == {path: times.get(path, MTIME) for path in tree}


class Recorded(io.RawIOBase):
    """A bundle that cannot be stored, as a file that can be read anywhere."""

    def __init__(self, bundle):
        self.bundle, self.at = bundle, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=0):
        self.at = offset + (0, self.at, self.bundle.total)[whence]
        return self.at

    def tell(self):
        return self.at

    def readinto(self, buffer):
        stop = min(self.at + len(buffer), self.bundle.total)
        data = b"".join(self.bundle.blocks(self.at, stop))
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)


SIZES = [0, 2**32 - 2, 1, 2**32 - 1, 2**32, 8**11 - 1, 5, 8**11, 10**15, 7]


def huge(kind):
    crcs = {size: zlib.crc32(bytes(size)) for size in SIZES if size < 10}
    table = table_of(
        member(f"{n:03}", b"")._replace(size=size, crc32=crcs.get(size, 0)) for n, size in enumerate(SIZES)
    )
    return kind(Entries(table, zeros, "data"))


def test_files_over_8_gib_are_read_by_python():
    with tarfile.open(fileobj=Recorded(huge(Tar)), mode="r:") as tar:
        assert [(one.name, one.size) for one in tar] == [
            (f"data/{n:03}", size) for n, size in enumerate(SIZES)
        ]


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs tar")
def test_files_over_8_gib_are_read_by_gnu_tar(tmp_path):
    bundle = huge(Tar)
    # A sparse file: the headers where they belong and holes between them.
    with open(tmp_path / "huge.tar", "wb") as file:
        for number in range(4):
            file.seek(bundle._offset(number))
            file.write(next(bundle._parts(number)).head)
        file.truncate(bundle._offset(4))
    done = subprocess.run(
        ["tar", "-tvf", "huge.tar"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert [int(line.split()[2]) for line in done.stdout.splitlines()] == SIZES[:4]


def test_zip64_stands_where_sizes_and_offsets_need_it():
    bundle = huge(Zip)
    with zipfile.ZipFile(Recorded(bundle)) as archive:
        infos = archive.infolist()
        assert [one.file_size for one in infos] == SIZES
        assert [one.header_offset for one in infos] == [bundle._offset(n) for n in range(len(SIZES))]
        assert [one.extract_version for one in infos] == [20, 20, 45, 45, 45, 45, 45, 45, 45, 45]
        for one in infos[:1] + infos[-1:]:
            with archive.open(one) as file:
                assert file.read(10) == bytes(one.file_size)


def test_zip64_stands_where_the_number_of_files_needs_it(tmp_path):
    count = 2**16
    bundle = Zip(Entries(table_of(member(f"{n:05}", b"") for n in range(count)), zeros, "d"))
    with open(tmp_path / "x.zip", "wb") as file:  # the directory alone, behind a hole
        file.seek(bundle._directory)
        file.writelines(bundle.blocks(bundle._directory))
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert len(archive.infolist()) == count
    if shutil.which("unzip"):
        done = subprocess.run(["unzip", "-Zt", "x.zip"], cwd=tmp_path, capture_output=True, check=True)
        assert done.stdout.startswith(b"65536 files")
    few = Zip(Entries(table_of(member(f"{n:05}", b"") for n in range(10)), zeros, "d"))
    assert b"PK\x06\x06" not in whole(few)


def test_an_empty_cart_is_an_archive_with_nothing_in_it():
    assert whole(Tar(Files({}).entries())) == bytes(10240)
    with zipfile.ZipFile(io.BytesIO(whole(Zip(Files({}).entries())))) as archive:
        assert archive.namelist() == []


def test_the_same_files_in_another_order_are_the_same_bytes():
    tree = {"b": b"1", "a/c": b"2", "a.b": b"3"}
    assert whole(Tar(Files(tree).entries())) == whole(Tar(Files(dict(reversed(tree.items()))).entries()))


@pytest.mark.parametrize("kind", [Tar, Zip])
@pytest.mark.parametrize(
    ("change", "said"), [(lambda data: data[:-1], "fewer"), (lambda data: data + b"x", "more")]
)
def test_a_file_of_another_length_breaks_the_bundle(kind, change, said):
    files = Files({"a": b"a" * 10, "b": b"b" * 5000, "c": b"c"})

    def read(index, start, stop):
        content = files.contents[files.table.member(index).path]
        yield (change(content) if index == 1 else content)[start:]

    bundle = kind(Entries(files.table, read, "data"))
    with pytest.raises(BrokenBundle, match=rf"b'data/b' has {said} bytes"):
        whole(bundle)


def test_an_error_of_reading_ends_the_bundle():
    def read(index, start, stop):
        yield b"half"
        raise OSError("the disk is gone")

    bundle = Tar(Entries(table_of([member("a", b"12345678")]), read, "data"))
    with pytest.raises(OSError, match="gone"):
        whole(bundle)


def test_nothing_stays_open_when_the_rest_is_not_wanted():
    files = Files({"a": bytes(10), "b": bytes(2 * PIECE_BYTES), "c": bytes(10)})
    blocks = Tar(files.entries()).blocks()
    with closing(blocks):
        next(blocks)
        assert files.open == 1
    assert files.open == 0
    assert files.opened == 2


def test_the_bytes_come_in_pieces_of_one_size():
    files = Files({f"{n:04}": bytes(1000) for n in range(1000)})
    lengths = [len(piece) for piece in Tar(files.entries()).blocks()]
    assert all(PIECE_BYTES - 1600 < length < PIECE_BYTES + 1600 for length in lengths[:-1])
    assert len(lengths) == 13


@cheap
@example(0)
@given(st.integers(0, 400))
def test_a_part_opens_only_the_files_it_needs(number):
    files = Files({f"{n:04}": bytes(n) for n in range(400)})
    bundle = Tar(files.entries())
    start = bundle._offset(number)
    assert b"".join(bundle.blocks(start, min(start + 100, bundle.total)))
    assert files.opened == 0
