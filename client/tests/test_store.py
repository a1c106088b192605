import os
import threading

import pytest

from pulsar_client.errors import NotEnoughSpace, NotInstalled, StoreError
from pulsar_client.files import require_space, write_atomically
from pulsar_client.handles import Handle
from pulsar_client.manifest import Group, Leaf
from pulsar_client.store import Store

PACKAGE = Handle("demo", "flights")
DIGEST = "ab" * 32


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_the_layout_is_that_of_quilt(store, tmp_path):
    root = Group({"a": Leaf((DIGEST,))})

    digest = store.put_revision(PACKAGE, root)

    top = tmp_path / "quilt_packages"
    assert (top / ".format").read_text() == "1.3"
    assert (top / "pkgs/Quilt/demo/flights/contents" / digest).exists()
    assert (top / "pkgs/Quilt/demo/flights/tags/latest").read_text() == digest
    assert store.get_tree(PACKAGE, digest) == root
    assert store.list_packages() == [PACKAGE]


def test_a_store_of_an_unknown_format_is_left_alone(store, tmp_path):
    (tmp_path / "quilt_packages/.format").write_text("2.0")

    with pytest.raises(StoreError, match=r"2\.0"):
        Store(tmp_path)


def test_blobs_become_read_only_files_named_by_digest(store):
    temporary = store.make_temporary()
    temporary.write_bytes(b"x")

    store.keep_blobs([(temporary, DIGEST)])

    assert store.get_blob_path(DIGEST).read_bytes() == b"x"
    assert store.get_blob_path(DIGEST).stat().st_mode & 0o777 == 0o444
    assert store.get_blob_sizes([DIGEST]) == {DIGEST: 1}
    assert list(store.temporary.iterdir()) == []


def test_what_is_missing_is_said(store):
    assert store.list_missing([DIGEST]) == {DIGEST}
    with pytest.raises(NotInstalled, match="1 of 1"):
        store.get_blob_sizes([DIGEST])
    with pytest.raises(NotInstalled):
        store.get_latest(PACKAGE)
    with pytest.raises(NotInstalled):
        store.get_tree(PACKAGE, DIGEST)


@pytest.mark.parametrize("digest", ["../../x", "AB" * 32, "", DIGEST + "\n"])
def test_only_digests_name_blobs(store, digest):
    with pytest.raises(StoreError):
        store.get_blob_path(digest)


@pytest.mark.parametrize("damage", [b"{", b"{}", b'{"type":"ROOT","children":{}}'])
def test_a_damaged_tree_is_noticed(store, damage):
    digest = store.put_revision(PACKAGE, Group({"a": Leaf((DIGEST,))}))
    (store.packages / "demo/flights/contents" / digest).write_bytes(damage)

    with pytest.raises(StoreError, match="damaged"):
        store.get_tree(PACKAGE, digest)


def test_writers_of_one_package_wait_for_each_other(store):
    order = []

    def write():
        with store.lock(PACKAGE):
            order.append("second")

    with store.lock(PACKAGE):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join(0.05)
        order.append("first")
    thread.join()

    assert order == ["first", "second"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(descriptor):
        raise OSError("no space")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_is_too_small_is_said_before(tmp_path):
    require_space(tmp_path, 0)
    with pytest.raises(NotEnoughSpace, match="needed"):
        require_space(tmp_path, 1 << 60)
