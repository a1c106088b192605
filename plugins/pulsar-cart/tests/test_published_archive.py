"""The published archive interface, unmodified: what it really says, and how it really fails."""

import json
import os
import time
from urllib.request import Request, urlopen

import pytest
from cart_kit import READY, content, entry
from old_pythons import NotInstalled
from pacifica_clients import archive_interface, installed

pytestmark = pytest.mark.any_database


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    try:
        installed()
    except NotInstalled as exc:
        pytest.skip(f"the published archive interface was not tried: {exc}")
    with archive_interface(tmp_path_factory.mktemp("published") / "archive") as found:
        yield found


@pytest.fixture
def put(url, settings):
    """``put(id, data)``: a file of the archive, and its entry."""
    settings(CART_ARCHIVE_URL=url, CART_DEFAULT_SOURCE="archive", CART_ARCHIVE_CONNECTIONS=1)

    def make(name, data):
        headers = {"Content-Type": "application/octet-stream"}
        with urlopen(Request(f"{url}{name}", data, headers, method="PUT"), timeout=30) as answer:
            assert answer.status == 201
        return entry(data, f"some/{name}", name)

    return make


def test_its_files_are_fetched_and_verified(ann, put, work):
    files = {"1": b"", "2": b"small\n", "3": os.urandom(300_000)}
    ann.makes("u", *(put(name, data) for name, data in files.items()))
    work()
    assert ann.state("u") == READY
    assert {name: content("u", f"some/{name}") for name in files} == files
    lines = map(json.loads, ann.client.get("/cart/u/manifest").text.splitlines())
    assert all(abs(line["mtime"] - time.time()) < 3600 for line in lines)  # it says when it got them


def test_a_file_that_it_does_not_have_is_said_so_without_its_traceback(ann, put, work):
    ann.makes("u", put("4", b"here"), entry(b"x", "gone", "404"))
    work()
    status, state, message = ann.state("u")
    assert (status, state) == (500, "error")
    assert "the archive answered 500): gone (id 404); 1 of 2 files failed" in message
    assert ann.status("u")["files"]["done"] == 1
