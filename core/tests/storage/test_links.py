"""A link opens one blob for one thing until a set time, and cannot be bent."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Forbidden
from core.storage.disposition import content_disposition
from core.storage.links import Grant, Links

DIGEST = "ab" * 32
links = Links("a secret")


def parts(url):
    split = urlsplit(url)
    return split.path.rpartition("/")[2], dict(parse_qsl(split.query, keep_blank_values=True))


@given(name=st.text(), media_type=st.text())
def test_a_download_link_says_what_was_put_in(name, media_type):
    digest, args = parts(links.download(DIGEST, 1000, name=name, media_type=media_type))

    assert links.open(digest, args, ("get",), 999) == Grant(
        "get", DIGEST, 1000, name=name, media_type=media_type
    )


def test_an_upload_link_says_what_was_put_in():
    digest, args = parts(links.upload(DIGEST, 1000, size=5, user_id=7))

    assert links.open(digest, args, ("put",), 999) == Grant("put", DIGEST, 1000, size=5, user_id=7)


def test_an_upload_link_without_a_size_says_how_much_is_taken():
    digest, args = parts(links.upload(DIGEST, 1000, max_bytes=9, user_id=7))

    assert links.open(digest, args, ("put",), 999) == Grant("put", DIGEST, 1000, max_bytes=9, user_id=7)
    for change in ({"max": "10"}, {"size": "9"}, {"max": "", "size": "9"}):
        with pytest.raises(Forbidden, match="not valid"):
            links.open(digest, args | change, ("put",), 0)


@pytest.mark.parametrize(
    "change",
    [
        {"op": "put"},
        {"until": "1001"},
        {"until": "٣"},
        {"until": "1" * 5000},
        {"name": "b.txt"},
        {"name": ""},
        {"type": "text/html"},
        {"sig": ""},
        {"sig": "ä"},
        {"op": ""},
    ],
)
def test_a_changed_download_link_is_refused(change):
    digest, args = parts(links.download(DIGEST, 1000, name="a.txt", media_type="text/plain"))

    with pytest.raises(Forbidden, match="not valid"):
        links.open(digest, args | change, ("get", "put"), 0)


@pytest.mark.parametrize("change", [{"size": "6"}, {"user": "8"}, {"user": ""}, {"op": "get"}, {"size": ""}])
def test_a_changed_upload_link_is_refused(change):
    digest, args = parts(links.upload(DIGEST, 1000, size=5, user_id=7))

    with pytest.raises(Forbidden, match="not valid"):
        links.open(digest, args | change, ("get", "put"), 0)


def test_a_link_is_for_one_blob_one_site_and_one_purpose():
    digest, args = parts(links.upload(DIGEST, 1000, size=5))

    with pytest.raises(Forbidden):
        links.open("cd" * 32, args, ("put",), 0)
    with pytest.raises(Forbidden):
        links.open(digest, args, ("get",), 0)
    with pytest.raises(Forbidden):
        Links("another secret").open(digest, args, ("put",), 0)


def test_a_link_ends():
    digest, args = parts(links.download(DIGEST, 1000))

    with pytest.raises(Forbidden) as refusal:
        links.open(digest, args, ("get",), 1000)
    assert refusal.value.code == "link_expired"


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("run 7.csv", 'attachment; filename="run 7.csv"'),
        ("Größe.csv", "attachment; filename=\"Groe.csv\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe.csv"),
        ('a"b\r\nX: y', "attachment; filename=\"a_b__X: y\"; filename*=UTF-8''a%22b%0D%0AX%3A%20y"),
        ("日本", "attachment; filename=\"download\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC"),
    ],
)
def test_a_download_is_saved_under_its_name(name, header):
    assert content_disposition(name) == header


@given(st.text())
def test_no_name_ends_the_header(name):
    header = content_disposition(name)

    assert header.isascii()
    assert header.isprintable()
