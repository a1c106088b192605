"""Bytes in and out over HTTP, by signed links."""

import gzip
import hashlib
from functools import partial
from urllib.parse import urlsplit

import pytest
from sqlalchemy import func, select, update

from core import storage
from core.db import db
from core.storage import Blob, BlobProof
from core.users.models import User

pytestmark = pytest.mark.any_database

DATA = bytes(range(256)) * 40
SIZE = len(DATA)
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def client(client):
    """The client of the kit, reading each answer to its end and closing it, as a server does."""
    client.open = partial(client.open, buffered=True)
    return client


@pytest.fixture
def kept(site_store, folder):
    """The app's store."""
    return site_store(folder)


@pytest.fixture
def make_link(app):
    """``make_link.download(...)``, ``make_link.upload(...)``: path and query of a link."""

    class Maker:
        def download(self, digest=DIGEST, life=60, **more):
            return self._path(lambda links: links.download(digest, **more), life)

        def upload(self, digest=DIGEST, size=SIZE, user_id=1, life=60):
            return self._path(lambda links: links.upload(digest, size, user_id), life)

        def _path(self, make, life):
            with app.test_request_context():
                split = urlsplit(make(storage.links(life)))
            return f"{split.path}?{split.query}"

    return Maker()


@pytest.fixture
def url(kept, make_link):
    """A link to bytes that are there."""
    kept.put(DATA)
    return make_link.download()


def test_sent_bytes_can_be_fetched(client, kept, make_link):
    sent = client.put(make_link.upload(), data=DATA)
    assert (sent.status_code, sent.data) == (201, b"")

    found = client.get(make_link.download())
    assert (found.status_code, found.data) == (200, DATA)
    assert found.headers["Content-Length"] == str(len(DATA))
    assert found.headers["ETag"] == f'"{DIGEST}"'
    assert found.headers["Content-Type"] == "application/octet-stream"
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in found.headers["Content-Security-Policy"]
    assert "no-transform" in found.headers["Cache-Control"]
    assert "Content-Encoding" not in found.headers
    assert "Content-Disposition" not in found.headers


def test_head_says_the_size_and_sends_nothing(client, url):
    found = client.head(url)

    assert (found.status_code, found.data) == (200, b"")
    assert found.headers["Content-Length"] == str(len(DATA))


def test_a_name_and_a_media_type_travel_in_the_link(client, kept, make_link):
    kept.put(DATA)

    found = client.get(make_link.download(name="Lauf 7: Größe.csv", media_type="text/csv"))

    assert found.headers["Content-Type"] == "text/csv"
    assert "filename*=UTF-8''Lauf%207%3A%20Gr%C3%B6%C3%9Fe.csv" in found.headers["Content-Disposition"]


def test_a_media_type_of_json_is_not_wrapped(client, kept, make_link):
    digest = kept.put(b'{"a": 1}').digest

    assert client.get(make_link.download(digest, media_type="application/json")).data == b'{"a": 1}'


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-", 0, 10240),
        ("bytes=5-9", 5, 10),
        ("bytes=-5", 10235, 10240),
        ("bytes=10239-99999", 10239, 10240),
    ],
)
def test_a_range_is_answered_with_that_part(client, url, header, start, stop):
    found = client.get(url, headers={"Range": header})

    assert (found.status_code, found.data) == (206, DATA[start:stop])
    assert found.headers["Content-Range"] == f"bytes {start}-{stop - 1}/10240"
    assert found.headers["Content-Length"] == str(stop - start)


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "bytes=5-2", "nonsense"])
def test_other_ranges_give_everything(client, url, header):
    found = client.get(url, headers={"Range": header})

    assert (found.status_code, found.data) == (200, DATA)
    assert "Content-Range" not in found.headers


def test_a_range_outside_is_refused(client, url):
    found = client.get(url, headers={"Range": "bytes=10240-"})

    assert found.status_code == 416
    assert found.headers["Content-Range"] == "bytes */10240"


def test_an_empty_blob_is_sent_and_fetched(client, kept, make_link):
    digest = hashlib.sha256(b"").hexdigest()
    assert client.put(make_link.upload(digest, 0), data=b"").status_code == 201

    for headers in ({}, {"Range": "bytes=0-"}):
        found = client.get(make_link.download(digest), headers=headers)
        assert (found.status_code, found.data, found.headers["Content-Length"]) == (200, b"", "0")


def test_what_the_caller_has_is_not_sent(client, url):
    found = client.get(url, headers={"If-None-Match": f'"{DIGEST}"'})
    assert (found.status_code, found.data) == (304, b"")

    assert client.get(url, headers={"If-None-Match": '"other"'}).data == DATA


def test_a_part_is_only_sent_of_the_same_bytes(client, url):
    ranged = {"Range": "bytes=0-4"}

    assert client.get(url, headers=ranged | {"If-Range": f'"{DIGEST}"'}).data == DATA[:5]
    assert client.get(url, headers=ranged | {"If-Range": '"other"'}).data == DATA
    assert client.get(url, headers=ranged | {"If-Range": "Wed, 21 Oct 2015 07:28:00 GMT"}).data == DATA


@pytest.mark.parametrize("method", ["get", "head", "put"])
def test_without_a_link_nothing_opens(authed_client, kept, method):
    kept.put(DATA)

    assert getattr(authed_client, method)(f"/blobs/{DIGEST}").status_code == 403


def test_a_link_opens_only_what_it_is_for(client, kept, make_link):
    kept.put(DATA)
    download, upload = make_link.download(), make_link.upload()

    assert client.get(upload).status_code == 403
    assert client.put(download, data=DATA).status_code == 403
    assert client.get(download.replace("op=get", "op=put")).status_code == 403
    assert client.get(download.replace(DIGEST, "0" * 64)).status_code == 403
    assert client.post(download).status_code == 405


def test_a_link_ends(client, kept, make_link):
    kept.put(DATA)

    found = client.get(make_link.download(life=-1))

    assert found.status_code == 403
    assert found.json["error"]["code"] == "link_expired"


def test_credentials_of_any_kind_do_not_matter(client, url):
    for value in ("Token nonsense", "Bearer nonsense", "Basic !!"):
        assert client.get(url, headers={"Authorization": value}).status_code == 200


def test_a_blob_that_is_gone_is_404_and_a_damaged_one_503(client, kept, make_link, url):
    assert client.get(make_link.download("0" * 64)).status_code == 404

    kept.backend.local_path(DIGEST).unlink()
    found = client.get(url)
    assert found.status_code == 503
    assert str(kept.backend.root) not in found.text

    kept.backend.local_path(DIGEST).write_bytes(DATA[:-1])
    assert client.get(url).status_code == 503
    assert client.head(url).status_code == 503


def nothing_is_kept(kept):
    db.session.rollback()
    rows = [db.session.scalar(select(func.count()).select_from(model)) for model in (Blob, BlobProof)]
    return (
        rows == [0, 0] and not list(kept.backend.iter_found()) and not list(kept.backend.root.glob("tmp/*"))
    )


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b"x" + DATA[1:], {}, "wrong_digest"),
        (DATA[:-1], {}, "wrong_size"),
        (DATA + b"x", {}, "wrong_size"),
        (b"", {}, "wrong_size"),
        (b"not gzip", {"Content-Encoding": "gzip"}, "wrong_size"),
        (gzip.compress(DATA)[:-9], {"Content-Encoding": "gzip"}, "wrong_size"),
        (gzip.compress(b"\0" * 10**7), {"Content-Encoding": "gzip"}, "wrong_size"),
    ],
)
def test_other_bytes_than_the_link_is_for_are_refused(client, kept, make_link, body, headers, code):
    sent = client.put(make_link.upload(), data=body, headers=headers)

    assert (sent.status_code, sent.json["error"]["code"]) == (400, code)
    assert nothing_is_kept(kept)


def test_gzipped_bytes_are_unzipped_on_arrival(client, kept, make_link):
    sent = client.put(make_link.upload(), data=gzip.compress(DATA), headers={"Content-Encoding": "gzip"})

    assert sent.status_code == 201
    assert client.get(make_link.download()).data == DATA


def test_an_unknown_encoding_is_refused(client, kept, make_link):
    sent = client.put(make_link.upload(), data=DATA, headers={"Content-Encoding": "br"})

    assert sent.status_code == 415
    assert nothing_is_kept(kept)


def test_the_limit_of_json_bodies_is_not_for_blobs(app, client, kept, make_link):
    data = b"x" * (app.config["MAX_CONTENT_LENGTH"] + 1)
    digest = hashlib.sha256(data).hexdigest()

    assert client.put(make_link.upload(digest, len(data)), data=data).status_code == 201


def test_a_sender_is_told_only_of_what_he_has_sent(client, kept, make_link):
    kept.put(DATA, user_id=2)

    assert client.head(make_link.upload(user_id=1)).status_code == 404
    assert client.put(make_link.upload(user_id=1), data=DATA).status_code == 201
    assert client.head(make_link.upload(user_id=1)).status_code == 200
    assert client.head(make_link.upload(user_id=3)).status_code == 404
    assert client.head(make_link.upload(user_id=None)).status_code == 404


@pytest.mark.parametrize("change", [{"locked": True}, {"enabled": False}])
def test_who_may_no_longer_sign_in_sends_nothing(client, kept, make_link, change):
    link = make_link.upload(user_id=3)
    db.session.execute(update(User).where(User.id == 3).values(**change))
    db.session.commit()

    assert client.put(link, data=DATA).status_code == 403
    assert client.put(make_link.upload(user_id=99), data=DATA).status_code == 403
    assert nothing_is_kept(kept)


def test_a_full_store_is_507(client, kept, make_link):
    kept.backend.reserve = 2**62

    sent = client.put(make_link.upload(), data=DATA)

    assert (sent.status_code, sent.json["error"]["code"]) == (507, "no_space")
    assert nothing_is_kept(kept)


def test_downloads_are_sent_to_the_object_store(client, site_store, s3, make_link):
    site_store(s3).put(DATA)

    found = client.get(make_link.download())
    assert found.status_code == 302
    assert found.headers["Location"].startswith(s3.client.meta.endpoint_url)
    assert "X-Amz-Signature" in found.headers["Location"]
    head = client.head(make_link.download())
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(DATA)))


def test_downloads_pass_through_where_the_object_store_is_out_of_reach(
    app, client, site_store, s3, make_link
):
    site_store(s3).put(DATA)
    app.config["STORAGE_S3_REDIRECT"] = False
    try:
        assert client.get(make_link.download()).data == DATA
        assert client.get(make_link.download(), headers={"Range": "bytes=5-9"}).data == DATA[5:10]
    finally:
        app.config["STORAGE_S3_REDIRECT"] = True


def test_uploads_reach_the_object_store(client, site_store, s3, make_link):
    store = site_store(s3)

    assert client.put(make_link.upload(), data=DATA).status_code == 201
    with store.open(DIGEST) as found:
        assert found.read() == DATA


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_a_blob_that_shares_its_file_is_served_alone(client, site_store, make_link, place, request):
    store = site_store(request.getfixturevalue(place))
    blobs = [b"%03d of many" % number for number in range(30)]
    digest = store.put_many((None, None, data) for data in blobs)[7].sha256
    link = make_link.download(digest)

    found = client.get(link)
    assert (found.status_code, found.data) == (200, blobs[7])
    assert found.headers["Content-Length"] == str(len(blobs[7]))
    assert found.headers["ETag"] == f'"{digest}"'
    assert client.head(link).headers["Content-Length"] == str(len(blobs[7]))
    part = client.get(link, headers={"Range": "bytes=-4"})
    assert (part.status_code, part.data) == (206, b"many")
    assert part.headers["Content-Range"] == "bytes 7-10/11"
    assert client.get(link, headers={"Range": "bytes=11-"}).status_code == 416
    store.backend.delete([one.name for one in store.backend.iter_packs()])
    assert client.get(link).status_code == 503


def test_links_use_the_public_address(app):
    with app.test_request_context(base_url="http://inside:5000/"):
        assert storage.links().download(DIGEST).startswith(f"http://inside:5000/blobs/{DIGEST}?")
    with app.app_context():
        with pytest.raises(RuntimeError):
            storage.links()
        app.config["PUBLIC_URL"] = "https://data.example.org/pulsar"
        try:
            assert (
                storage.links()
                .upload(DIGEST, 1)
                .startswith(f"https://data.example.org/pulsar/blobs/{DIGEST}?")
            )
        finally:
            app.config["PUBLIC_URL"] = ""


def test_the_site_is_not_healthy_without_its_store(client, kept):
    assert client.get("/health").status_code == 200

    kept.backend.root.parent.mkdir(exist_ok=True)
    kept.backend.root.rename(kept.backend.root.with_name("moved"))
    kept.backend.root.write_text("not a folder")
    assert client.get("/health").status_code == 503
