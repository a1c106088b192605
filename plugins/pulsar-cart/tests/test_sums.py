"""Zips and bags with files that nobody has read: they are as long as was said, and their sums are right."""

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from datetime import UTC, datetime

import pytest
from bundle_kit import Files, cheap, late, member, table_of, zeros
from hypothesis import given
from hypothesis import strategies as st

from cart.bag import make_bag
from cart.bundle import Entries, Tar
from cart.pieces import BrokenBundle
from cart.sums import Sums
from cart.zipped import Zip

READY = datetime(2026, 11, 21, 18, 30, tzinfo=UTC)
LATE = 8  # the bit of a zip that promises a descriptor
NAMES = ["a", "b/c", "caf\u00e9", "100%\r\n", "z" * 120, "zz/" + "y" * 255]


@st.composite
def carts(draw):
    contents = st.binary(max_size=40) | st.integers(500, 3000).map(lambda size: b"x" * size)
    found = {path: draw(contents) for path in draw(st.lists(st.sampled_from(NAMES), unique=True))}
    return found, {path for path in found if draw(st.booleans())}


def zip_of(files, **options):
    sums = Sums(files.table, **options)
    return Zip(files.entries("my", sums=sums))


def bag_of(files, kind):
    sums = Sums(files.table, digests=True)
    return kind(make_bag(files.table, files.read, "my", uid="36a", ready_at=READY, sums=sums))


def whole(bundle):
    data = b"".join(bundle.blocks())
    assert len(data) == bundle.total
    return data


def read_zip(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {one.orig_filename: archive.read(one) for one in archive.infolist()}


def read_tar(data):
    with tarfile.open(fileobj=io.BytesIO(data), mode="r|") as tar:
        return {one.name: tar.extractfile(one).read() for one in tar}


@cheap
@given(carts())
def test_a_zip_of_files_that_nobody_has_read_is_right(cart):
    contents, unread = cart
    files = Files(contents, unread=unread)
    data = whole(zip_of(files))
    assert read_zip(data) == {f"my/{path}": content for path, content in contents.items()}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for one in archive.infolist():
            head = data[one.header_offset : one.header_offset + 30]
            is_late = one.orig_filename.removeprefix("my/") in unread
            # Flags, CRC-32 and both sizes: nothing is said beforehand, and nothing left out that is known.
            assert bool(head[6] & LATE) == bool(one.flag_bits & LATE) == is_late
            known = (one.CRC, one.file_size, one.file_size)
            assert head[14:26] == b"".join(n.to_bytes(4, "little") for n in ((0, 0, 0) if is_late else known))
    assert files.open == 0
    assert files.most_open <= 1


@cheap
@given(carts())
def test_a_descriptor_stands_behind_the_bytes(cart):
    contents, unread = cart
    data = whole(zip_of(Files(contents, unread=unread)))
    assert data.count(b"PK\x07\x08") == len(unread)
    for path in unread:
        size = len(contents[path])
        fields = (zlib.crc32(contents[path]), size, size)
        assert contents[path] + b"PK\x07\x08" + b"".join(n.to_bytes(4, "little") for n in fields) in data


@pytest.mark.parametrize(("kind", "read"), [(Tar, read_tar), (Zip, read_zip)])
@cheap
@given(carts())
def test_the_manifest_of_a_bag_has_what_was_found_on_the_way(kind, read, cart):
    contents, unread = cart
    found = read(whole(bag_of(Files(contents, unread=unread), kind)))
    lines = found["my/manifest-sha256.txt"].decode().split("\n")[:-1]
    names = {path.replace("%", "%25").replace("\r\n", "%0D%0A"): data for path, data in contents.items()}
    assert dict(line.split("  data/", 1)[::-1] for line in lines) == {
        name: hashlib.sha256(data).hexdigest() for name, data in names.items()
    }
    assert {name: data for name, data in found.items() if "/data/" in name} == {
        f"my/data/{path}": data for path, data in contents.items()
    }


def test_what_is_known_beforehand_changes_nothing():
    files = Files({path: path.encode() * 50 for path in NAMES})
    assert whole(zip_of(files)) == whole(Zip(files.entries("my")))


@pytest.mark.skipif(shutil.which("unzip") is None, reason="needs unzip")
def test_unzip_finds_nothing_wrong(tmp_path):
    files = Files({"a": b"", "b": b"x" * 5000, "c": b"known", "d": os.urandom(600_000)}, unread="abd")
    for name, bundle in {"plain": zip_of(files), "bag": bag_of(files, Zip)}.items():
        (tmp_path / name).write_bytes(whole(bundle))
        done = subprocess.run(["unzip", "-t", name], cwd=tmp_path, capture_output=True, check=True)
        assert b"No errors detected" in done.stdout


def test_descriptors_are_wide_where_sizes_are(tmp_path):
    """A file of 4 GiB is in the way of the others, so that what follows it lies beyond."""
    big = 2**32
    files = [late(member("a", b"")._replace(size=10)), late(member("b", b"")._replace(size=big))]
    files += [late(member("c", b"")._replace(size=20)), member("d", bytes(30))]
    table = table_of(files)
    bundle = Zip(Entries(table, zeros, "my", sums=Sums(table)))
    with open(tmp_path / "x.zip", "wb") as file:
        for block in bundle.blocks():
            # A hole for what is nothing but zeros.
            file.write(block) if any(block[:1000]) or any(block[-1000:]) else file.seek(len(block), 1)
        assert file.tell() == bundle.total
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        infos = archive.infolist()
        assert [one.file_size for one in infos] == [10, big, 20, 30]
        assert [one.extract_version for one in infos] == [20, 45, 45, 45]
        assert zlib.crc32(b"\0") == infos[1].CRC  # after 2**32 - 1 zeros it begins anew
        for one in (infos[0], *infos[2:]):
            assert archive.read(one) == bytes(one.file_size)
    with open(tmp_path / "x.zip", "rb") as file:
        file.seek(infos[2].header_offset - 24)
        assert file.read(24) == b"PK\x07\x08" + infos[1].CRC.to_bytes(4, "little") + 2 * big.to_bytes(
            8, "little"
        )


def test_no_part_can_be_had_of_what_is_not_known():
    files = Files({"a": bytes(1000), "b": bytes(1000), "c": b""}, unread="ab")
    manifest = whole(bag_of(files, Tar)).index(hashlib.sha256(bytes(1000)).hexdigest().encode())
    for kind, start, stop in (
        ("zip", 500, None),
        ("zip", 0, 500),
        ("zip", 2180, None),
        ("bag", manifest, None),
    ):
        bundle = zip_of(files) if kind == "zip" else bag_of(files, Tar)
        with pytest.raises(ValueError, match=r"known|passed"):
            b"".join(bundle.blocks(start, stop))


def test_a_file_that_changes_on_its_way_breaks_the_bundle():
    def check(index):
        raise OSError(f"{index} has changed")

    files = Files({"a": b"known", "b": b"x" * 1000, "c": b"y"}, unread="bc")
    with pytest.raises(OSError, match="1 has changed"):
        whole(zip_of(files, check=check))
    assert files.open == 0


def test_a_file_of_another_length_breaks_the_bundle():
    files = Files({"a": b"a" * 10, "b": b"b" * 5000}, unread="ab")
    files.contents[b"b"] = b"b" * 4999
    with pytest.raises(BrokenBundle, match="fewer"):
        whole(zip_of(files))
