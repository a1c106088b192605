"""Downloading a cart: the bundle, any part of it, one file of it; and what is said when it cannot be had."""

import hashlib
import io
import os
import tarfile
import threading
import time
import zipfile
from datetime import datetime, timedelta

import pytest
from cart_kit import READY, Person, entry

from cart.models import Cart
from cart.pieces import BrokenBundle
from cart.services import tables
from core.conftest import add_permissions
from core.db import db, now
from core.errors import NotFound

pytestmark = pytest.mark.any_database

SMALL = b"some bytes\n"
LARGE = os.urandom(300_000)


@pytest.fixture
def foo(folder):
    (folder / "foo").write_bytes(SMALL)
    os.utime(folder / "foo", (1_500_000_000, 1_500_000_000))
    return entry(SMALL, "1/2/3/foo.txt", "foo")


@pytest.fixture
def fetched(ann, archive, work):
    """A cart ``u`` whose files came from the archive: small ones, which lie together, and a large one."""
    files = {f"s/{number:02}": b"%d\n" % number * 100 for number in range(30)} | {"large": LARGE}
    for path, data in files.items():
        archive.hold(path, data)
    ann.makes("u", *(entry(data, path) for path, data in files.items()))
    work()
    assert ann.state("u") == READY
    return files


def unpack(data, mode="r|"):
    with tarfile.open(fileobj=io.BytesIO(data), mode=mode) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar}


def test_the_tar_of_local_files_is_read_in_place(ann, foo):
    ann.makes("36a", foo)
    answer = ann.get("36a", filename="my_cart.tar")

    assert answer.status_code == 200
    assert answer.content_type == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="my_cart.tar"'
    assert answer.headers["Content-Length"] == str(len(answer.data)) == "10240"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert "Content-Encoding" not in answer.headers
    assert unpack(answer.data) == {"my_cart/1/2/3/foo.txt": SMALL}
    with tarfile.open(fileobj=io.BytesIO(answer.data)) as tar:
        assert tar.getmembers()[0].mtime == 1_500_000_000


def test_the_tar_of_fetched_files_has_them_all(ann, fetched):
    assert unpack(ann.get("u", filename="d").data) == {f"d/{path}": data for path, data in fetched.items()}


def test_any_part_of_it_is_that_slice_of_the_whole(ann, fetched):
    whole = ann.get("u")
    size = len(whole.data)
    large = whole.data.index(LARGE[:100])
    for start, stop in [(0, 1), (511, 513), (large + 1000, large + 2000), (5000, size), (size - 1, size)]:
        part = ann.get("u", headers={"Range": f"bytes={start}-{stop - 1}"})
        assert part.status_code == 206
        assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
        assert part.headers["Content-Length"] == str(stop - start)
        assert part.headers["ETag"] == whole.headers["ETag"]
        assert part.data == whole.data[start:stop]
    assert ann.get("u", headers={"Range": "bytes=-100"}).data == whole.data[-100:]
    assert ann.get("u", headers={"Range": "bytes=100-"}).data == whole.data[100:]
    assert ann.get("u", headers={"Range": "bytes=0-1,5-6"}).data == whole.data


def test_a_part_beyond_the_end_is_refused_with_the_size(ann, foo):
    ann.makes("u", foo)
    answer = ann.get("u", headers={"Range": "bytes=10240-"})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == "bytes */10240"
    assert answer.json["status"].startswith("416 ")


def test_what_the_caller_has_is_not_sent_again(ann, foo):
    ann.makes("u", foo)
    first = ann.get("u", filename="x")
    for headers in (
        {"If-None-Match": first.headers["ETag"]},
        {"If-Modified-Since": first.headers["Last-Modified"]},
    ):
        again = ann.get("u", filename="x", headers=headers)
        assert again.status_code == 304
        assert again.data == b""
        assert again.headers["ETag"] == first.headers["ETag"]
    assert ann.get("u", filename="x", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("condition", "status"),
    [("etag", 206), ("weak", 200), ("other", 200), ("date", 206), ("earlier", 200)],
)
def test_a_download_goes_on_only_if_it_is_the_same(ann, foo, condition, status):
    ann.makes("u", foo)
    first = ann.get("u")
    value = {
        "etag": first.headers["ETag"],
        "weak": "W/" + first.headers["ETag"],
        "other": '"other"',
        "date": first.headers["Last-Modified"],
        "earlier": "Mon, 01 Jan 2001 00:00:00 GMT",
    }[condition]
    answer = ann.get("u", headers={"Range": "bytes=5000-", "If-Range": value})
    assert answer.status_code == status
    assert answer.data == first.data[5000 if status == 206 else 0 :]


def test_another_name_or_kind_or_content_is_another_etag(ann, foo, folder):
    ann.makes("u", foo)
    seen = {ann.get("u", filename=name).headers["ETag"] for name in ("a", "a.tar", "b")}
    assert len(seen) == 2  # "a" and "a.tar" are the same bytes
    (folder / "bar").write_bytes(b"bar")
    ann.makes("u", foo, entry(b"bar", "bar"))
    assert ann.get("u", filename="a").headers["ETag"] not in seen


@pytest.fixture
def far_east(monkeypatch):
    """The server is five and a half hours ahead of UTC."""
    monkeypatch.setenv("TZ", "XXX-5:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("utc", [False, True])
def test_without_a_name_it_is_called_after_the_moment_it_was_ready(
    ann, foo, freeze_time, settings, far_east, utc
):
    settings(CART_UTC_NAMES=utc)
    ann.makes("u", foo)
    first = ann.get("u", filename="")
    freeze_time(3600)
    assert ann.get("u").data == first.data
    rest = ann.get("u", headers={"Range": "bytes=700-", "If-Range": first.headers["ETag"]})
    assert (rest.status_code, rest.data) == (206, first.data[700:])
    ready = datetime.fromisoformat(ann.status("u")["ready"]) + timedelta(hours=0 if utc else 5.5)
    stem = f"data_{ready:%Y_%m_%d_%H_%M_%S}"
    assert first.headers["Content-Disposition"] == f'attachment; filename="{stem}.tar"'
    assert list(unpack(first.data)) == [f"{stem}/1/2/3/foo.txt"]


@pytest.mark.parametrize(
    ("name", "top", "header"),
    [
        ("data", "data", 'attachment; filename="data"'),
        ("my.tars.tar", "my.tars", 'attachment; filename="my.tars.tar"'),
        ("../../evil.tar", "evil", 'attachment; filename="evil.tar"'),
        (
            "donn\u00e9es.tar",
            "donn\u00e9es",
            "attachment; filename=\"donnees.tar\"; filename*=UTF-8''donn%C3%A9es.tar",
        ),
        ('a"b\r\nX: y', 'a"bX: y', "attachment; filename=\"a_bX: y\"; filename*=UTF-8''a%22bX%3A%20y"),
    ],
)
def test_a_name_is_cleaned(ann, foo, name, top, header):
    ann.makes("u", foo)
    answer = ann.get("u", filename=name)
    assert list(unpack(answer.data)) == [f"{top}/1/2/3/foo.txt"]
    assert answer.headers["Content-Disposition"] == header


def test_the_top_of_a_bundle_cart_is_its_uid(ann, foo):
    ann.makes("u.tar", foo, bundle=True)
    assert list(unpack(ann.get("u.tar", filename="x").data)) == ["u.tar/1/2/3/foo.txt"]


def test_an_empty_cart_is_an_empty_tar(ann, folder):
    ann.makes("u")
    assert ann.get("u").data == bytes(10240)


@pytest.mark.parametrize("query", [{}, {"filename": "x"}, {"format": "zip"}, {"bag": "1"}])
def test_head_says_how_long_it_is(ann, fetched, query):
    head = ann.client.head("/cart/u", query_string=query)
    assert head.status_code == 204
    assert head.headers["X-Content-Length"] == str(len(ann.get("u", **query).data))


def test_a_cart_that_is_not_ready_says_so(ann, archive):
    archive.hold("s", SMALL)
    ann.makes("u", entry(SMALL, "s"))
    answer = ann.get("u")
    assert (answer.status_code, answer.mimetype) == (202, "text/plain")
    assert answer.text == "The cart is not ready for download."
    assert "X-Content-Length" not in ann.head("u").headers
    assert ann.get("u/files/s").status_code == 409


def test_a_cart_that_there_is_not_says_so(ann):
    answer = ann.get("nothing")
    assert answer.status_code == 404
    assert answer.json["status"] == "404 Not Found"
    assert answer.json["message"] == "The cart does not exist or has already been deleted"
    assert answer.json["traceback"] == ""


def test_a_cart_that_failed_says_why(ann, folder):
    ann.makes("u", entry(SMALL, "gone"))
    answer = ann.get("u")
    assert answer.status_code == 500
    assert answer.json["status"] == "500 Internal Server Error"
    assert answer.json["message"] == ann.state("u")[2]


def test_others_cannot_have_it(ann, people, foo, app, api_key_factory):
    ann.makes("u", foo)
    bob = people("bob")
    for path in ("u", "u/files/1/2/3/foo.txt"):
        assert bob.get(path).status_code == 404
        assert Person(app).get(path).status_code == 401
    add_permissions(app, "cart_view_others", user_id=bob.id)
    assert bob.get("u").status_code == 200


def test_who_may_not_read_the_source_any_more_cannot_have_the_cart(ann, foo, folder, guarded):
    guarded.path = folder / "foo"
    ann.makes("u", foo | {"source": "guarded"})
    assert unpack(ann.get("u", filename="d").data) == {"d/1/2/3/foo.txt": SMALL}
    guarded.allowed = False
    assert ann.get("u").status_code == 404
    assert ann.get("u/files/1/2/3/foo.txt").status_code == 404
    assert "X-Content-Length" not in ann.head("u").headers


def test_a_file_that_changed_breaks_the_download_off(ann, foo, folder):
    ann.makes("u", foo)
    (folder / "foo").write_bytes(SMALL + b"more")
    with pytest.raises(NotFound, match="changed"):
        ann.get("u").data  # noqa: B018 - the body is read here
    assert ann.get("u/files/1/2/3/foo.txt").status_code == 404


def test_a_file_that_is_gone_breaks_the_download_off(ann, fetched, app):
    whole = ann.get("u", filename="x").data
    large = whole.index(LARGE[:100])
    root = app.extensions["pulsar_storage"].store.backend.root
    digest = hashlib.sha256(LARGE).hexdigest()
    path = root / "sha256" / digest[:2] / digest[2:]
    path.rename(root / "away")
    assert (
        ann.get("u", filename="x", headers={"Range": f"bytes={large + len(LARGE) + 1000}-"}).status_code
        == 206
    )
    with pytest.raises(NotFound):
        ann.get("u", filename="x").data  # noqa: B018
    (root / "away").write_bytes(LARGE[:-1])
    (root / "away").rename(path)
    with pytest.raises(BrokenBundle, match="fewer bytes"):
        ann.get("u", filename="x").data  # noqa: B018


def test_a_zip_has_the_same_files(ann, fetched):
    answer = ann.get("u", format="zip", filename="z.zip")
    assert answer.content_type == "application/zip"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="z.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert {one.filename: archive.read(one) for one in archive.infolist()} == {
            f"z/{path}": data for path, data in fetched.items()
        }
    part = ann.get("u", format="zip", filename="z.zip", headers={"Range": "bytes=1000-200000"})
    assert part.data == answer.data[1000:200001]


def test_a_bag_has_the_manifest(ann, fetched):
    found = unpack(ann.get("u", bag="1", filename="b").data)
    lines = found["b/manifest-sha256.txt"].decode().splitlines()
    assert lines == [
        f"{hashlib.sha256(data).hexdigest()}  data/{path}" for path, data in sorted(fetched.items())
    ]
    assert {name for name in found if not name.startswith("b/data/")} == {
        "b/bag-info.txt",
        "b/bagit.txt",
        "b/manifest-sha256.txt",
    }


UNREAD = [{"format": "zip"}, {"bag": "1"}, {"bag": "1", "format": "zip"}]


def unpack_any(data):
    if data[:2] != b"PK":
        return unpack(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {one.filename: archive.read(one) for one in archive.infolist()}


@pytest.fixture
def mixed(ann, archive, work, folder):
    """A cart ``u`` of files of the archive and files that are read in place."""
    files = {
        "a/fetched": LARGE,
        "b/local": SMALL,
        "c/fetched": SMALL * 2,
        "d/local": LARGE * 2,
        "e/local": b"",
    }
    entries = []
    for path, data in files.items():
        if path.endswith("local"):
            (folder / path[0]).write_bytes(data)
            entries.append(entry(data, path, path[0], source="directory"))
        else:
            archive.hold(path, data)
            entries.append(entry(data, path, source="archive"))
    ann.makes("u", *entries)
    work()
    assert ann.state("u") == READY
    return files


@pytest.mark.parametrize("query", UNREAD)
def test_what_nobody_has_read_is_summed_up_while_it_is_sent(ann, mixed, query):
    answer = ann.get("u", filename="x", **query)
    assert answer.status_code == 200
    assert answer.headers["Content-Length"] == str(len(answer.data))
    assert ann.client.head("/cart/u", query_string=query | {"filename": "x"}).headers[
        "X-Content-Length"
    ] == str(len(answer.data))
    found = unpack_any(answer.data)
    folder = "x/data" if "bag" in query else "x"
    for path, data in mixed.items():
        assert found[f"{folder}/{path}"] == data
    if "bag" in query:
        assert found["x/manifest-sha256.txt"].decode().splitlines() == [
            f"{hashlib.sha256(data).hexdigest()}  data/{path}" for path, data in mixed.items()
        ]


@pytest.mark.parametrize("query", UNREAD)
def test_no_part_of_it_is_promised(ann, mixed, query):
    whole = ann.get("u", **query)
    etag = whole.headers["ETag"]
    assert whole.headers["Accept-Ranges"] == "none"
    assert etag.startswith("W/")
    for headers in ({}, {"If-Range": etag}, {"If-Range": whole.headers["Last-Modified"]}):
        again = ann.get("u", headers={"Range": "bytes=100-", **headers}, **query)
        assert (again.status_code, again.data) == (200, whole.data)
    assert ann.get("u", headers={"If-None-Match": etag}, **query).status_code == 304
    assert ann.get("u", headers={"Range": "bytes=99999999-"}, **query).status_code == 200


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", lambda data: data])
@pytest.mark.parametrize("query", UNREAD)
def test_a_file_that_changes_on_its_way_breaks_the_download_off(ann, folder, query, change):
    (folder / "f").write_bytes(LARGE * 4)
    ann.makes("u", entry(LARGE * 4, "f"))
    answer = ann.client.get("/cart/u", query_string=query, buffered=False)
    blocks = iter(answer.response)
    next(blocks)
    (folder / "f").write_bytes(change(LARGE * 4))
    os.utime(folder / "f", (1_600_000_000, 1_600_000_000))
    with pytest.raises((NotFound, BrokenBundle)):
        b"".join(blocks)
    answer.close()


@pytest.mark.parametrize("query", [{"format": "rar"}, {"bag": "perhaps"}])
def test_an_unknown_kind_is_refused(ann, foo, query):
    ann.makes("u", foo)
    assert ann.get("u", **query).status_code == 400


def test_one_file_can_be_had_by_its_path(ann, fetched):
    for path in ("large", "s/07"):
        answer = ann.get(f"u/files/{path}")
        assert answer.status_code == 200
        assert answer.data == fetched[path]
        assert answer.headers["Content-Length"] == str(len(fetched[path]))
        assert answer.headers["ETag"] == f'"{hashlib.sha256(fetched[path]).hexdigest()}"'
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{path[-5:].lstrip("s/")}"'
    part = ann.get("u/files/large", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.data) == (206, LARGE[100:200])
    head = ann.client.head("/cart/u/files/large")
    assert (head.status_code, head.headers["Content-Length"], head.data) == (200, str(len(LARGE)), b"")


def test_one_local_file_can_be_had_by_its_path(ann, foo):
    ann.makes("u", foo)
    answer = ann.get("u/files/1/2/3/foo.txt")
    assert answer.data == SMALL
    assert answer.headers["Last-Modified"] == "Fri, 14 Jul 2017 02:40:00 GMT"


@pytest.mark.parametrize("path", ["1/2/3", "1/2/3/foo.txt/x", "../foo", "%00", "x" * 5000, "1/2/3/"])
def test_a_path_that_the_cart_has_not_is_not_found(ann, foo, path):
    ann.makes("u", foo)
    assert ann.get(f"u/files/{path}").status_code == 404


def test_a_download_is_a_use(ann, foo, freeze_time):
    def cart():
        db.session.rollback()
        return db.session.query(Cart).one()

    freeze_time(0)
    ann.makes("u", foo)
    made = cart().used_at
    assert cart().reading_until is None
    freeze_time(1000)
    ann.get("u").close()
    assert cart().used_at == made + timedelta(seconds=1000)
    until = cart().reading_until
    assert until > now() + timedelta(seconds=60)
    freeze_time(1020)
    ann.get("u").close()
    assert cart().reading_until == until, "what was said a moment ago is not said again"


def test_a_caller_who_hangs_up_leaves_nothing_open(ann, foo, folder):
    (folder / "large").write_bytes(LARGE * 4)
    ann.makes("u", foo, entry(LARGE * 4, "large"))
    ann.get("u").close()

    def open_files():
        return {
            os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if _is_open(name)
        }

    threads = threading.active_count()
    for _ in range(3):
        answer = ann.client.get("/cart/u", buffered=False)
        stream = iter(answer.response)
        for _ in range(2):
            next(stream)
        assert any(name.endswith("/large") for name in open_files())
        answer.close()
    assert not any(name.endswith(("/large", "/foo")) for name in open_files())
    assert threading.active_count() == threads


def _is_open(name):
    return os.path.exists(f"/proc/self/fd/{name}")


def test_a_table_is_written_once(ann, foo, monkeypatch):
    ann.makes("u", foo)
    first = ann.get("u").data

    def never(*_):
        raise AssertionError("it is there already")

    monkeypatch.setattr(tables, "write_table", never)
    assert ann.get("u").data == first
