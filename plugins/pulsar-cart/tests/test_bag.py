"""A cart as a bag: what RFC 8493 asks for, in tar and zip, and any part of it."""

import hashlib
import io
import tarfile
import zipfile
from datetime import UTC, datetime

import pytest
from bundle_kit import Files, cheap
from hypothesis import given
from hypothesis import strategies as st

from cart.bag import make_bag
from cart.bundle import Tar
from cart.zipped import Zip

READY = datetime(2026, 11, 21, 18, 30, tzinfo=UTC)
TREE = {"a/b.txt": b"one", "100%\r\n": b"two", "caf\u00e9": b"", "z" * 120: b"x" * 3000}


def bag(files, kind, top="my"):
    return kind(make_bag(files.table, files.read, top, uid="36a", ready_at=READY))


def read_tar(data):
    with tarfile.open(fileobj=io.BytesIO(data), mode="r|") as tar:
        return {one.name: tar.extractfile(one).read() for one in tar}


def read_zip(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {one.orig_filename: archive.read(one) for one in archive.infolist()}


@pytest.mark.parametrize(("kind", "read"), [(Tar, read_tar), (Zip, read_zip)])
def test_a_bag_says_what_is_in_it(kind, read):
    found = read(b"".join(bag(Files(TREE), kind).blocks()))
    assert list(found) == sorted(found)
    assert found.pop("my/bagit.txt") == b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
    info = found.pop("my/bag-info.txt").decode().splitlines()
    assert info == ["Bagging-Date: 2026-11-21", "External-Identifier: 36a", "Payload-Oxum: 3006.4"]
    manifest = found.pop("my/manifest-sha256.txt").decode()
    assert found == {f"my/data/{path}": data for path, data in TREE.items()}
    lines = dict(line.split("  ", 1)[::-1] for line in manifest.split("\n")[:-1])
    names = {path.replace("%", "%25").replace("\r\n", "%0D%0A"): data for path, data in TREE.items()}
    assert lines == {f"data/{name}": hashlib.sha256(data).hexdigest() for name, data in names.items()}


@pytest.mark.parametrize("kind", [Tar, Zip])
@cheap
@given(st.sampled_from(["my", "t" * 151, "t" * 152, "\u00e9"]), st.data())
def test_any_range_of_a_bag_is_that_slice_of_the_whole(kind, top, data):
    files = Files({f"{n:03}": b"x" * n for n in range(600, 605)})
    bundle = bag(files, kind, top)
    complete = b"".join(bundle.blocks())
    assert len(complete) == bundle.total
    start = data.draw(st.integers(0, bundle.total))
    stop = data.draw(st.integers(start, bundle.total))
    assert b"".join(bundle.blocks(start, stop)) == complete[start:stop]


def test_an_empty_bag_is_a_bag():
    found = read_tar(b"".join(bag(Files({}), Tar).blocks()))
    assert found["my/manifest-sha256.txt"] == b""
    assert b"Payload-Oxum: 0.0\n" in found["my/bag-info.txt"]
