"""An archive that fails in every way. What the site does then is the same on every database."""

import hashlib
import threading

import pytest
from cart_kit import LARGE, READY, SMALL, content, entry

from core.db import now
from core.jobs.run import run_next

pytestmark = pytest.mark.any_database


@pytest.mark.parametrize("fault", ["500", "503", "break", "garbage", "wrong", "short", "long"])
@pytest.mark.parametrize("which", ["small", "large"])
def test_a_passing_fault_is_tried_again(ann, archive, work, request, which, fault):
    file = request.getfixturevalue(which)
    held = archive.files[file["id"]]
    held.faults += [fault] if fault in ("500", "503", "break", "garbage") else []
    held.faults += [""] if not held.faults else []  # the first answer to HEAD
    held.faults.append(fault)
    ann.makes("u", file)
    work()
    assert ann.state("u") == READY
    assert content("u", file["path"]) == held.data


@pytest.mark.parametrize(
    ("always", "words"),
    [
        ("500", "the archive answered 500"),
        ("wrong", "File hash does not match provided hash"),
        ("short", "less than"),
        ("long", "more than"),
        ("no size", "does not say how large"),
        ("no medium", "does not say where"),
        ("404", "no such file"),
    ],
)
def test_a_lasting_fault_fails_the_cart_and_names_the_file(ann, archive, small, large, work, always, words):
    archive.files["s"].always = always
    ann.makes("u", small, large)
    work()
    status, state, message = ann.state("u")
    assert (status, state) == (500, "error")
    assert words in message
    assert "(id s)" in message
    assert "1 of 2 files" in message
    assert "secret" not in message
    shown = ann.status("u")
    assert [one["id"] for one in shown["errors"]] == ["s"]
    assert shown["files"] == {"done": 1, "failed": 1, "total": 2}  # the other one was fetched all the same


def test_a_fault_is_tried_five_times_and_for_two_minutes(ann, archive, small, work):
    archive.files["s"].always = "500"
    begun = now()
    ann.makes("u", small)
    work()
    assert archive.count("HEAD")["s"] >= 5
    assert (now() - begun).total_seconds() >= 120


def test_a_file_that_is_not_there_fails_after_the_same_patience(ann, archive, work):
    ann.makes("u", entry(b"x", "gone"))
    work()
    assert ann.state("u")[0] == 500
    assert archive.count("HEAD")["gone"] >= 5


def test_an_archive_that_is_down_for_a_while_fails_nothing(ann, archive, small, work, settings, app):
    url = app.config["CART_ARCHIVE_URL"]
    settings(CART_ARCHIVE_URL="http://127.0.0.1:9/")
    ann.makes("u", small)
    work(until=60)
    assert ann.state("u")[:2] == (204, "staging")
    settings(CART_ARCHIVE_URL=url)
    work()
    assert ann.state("u") == READY


def test_ids_are_escaped(ann, archive, work):
    name = "a/b?c#d%20 é"
    archive.hold(name, SMALL)
    ann.makes("u", entry(SMALL, "x", name))
    work()
    assert ann.state("u") == READY


@pytest.mark.parametrize(
    ("said", "mtime"),
    [
        ("1795219060.6686318", 1795219060),
        ("-1.5", -2),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1445412480),
        ("nan", 0),
        ("(1,)", 0),
        ("", 0),
    ],
)
def test_the_time_of_a_file_is_read_as_the_archive_writes_it(ann, archive, small, work, said, mtime):
    archive.files["s"].mtime = said
    ann.makes("u", small)
    work()
    assert f'"mtime": {mtime},' in ann.client.get("/cart/u/manifest").text


def test_a_tape_that_never_comes_fails_the_cart(ann, archive, small, work, settings):
    settings(CART_TAPE_TIMEOUT=600)
    archive.files["s"].medium, archive.files["s"].looks = "tape", 10**6
    ann.makes("u", small)
    work()
    assert "did not come from tape within 600 s" in ann.state("u")[2]


def test_no_more_connections_than_allowed_are_used(ann, archive, app, settings, work):
    settings(CART_ARCHIVE_CONNECTIONS=2)
    files = [archive.hold(n, LARGE + b"%d" % n) or entry(LARGE + b"%d" % n, str(n)) for n in range(12)]
    ann.makes("u", *files)
    archive.gate = threading.Event()
    worker = threading.Thread(target=run_next, args=(app, "worker"))
    worker.start()
    assert archive.entered.acquire(timeout=10)
    assert archive.entered.acquire(timeout=10)
    archive.gate.set()
    worker.join()
    work()
    assert ann.state("u") == READY
    assert archive.most_at_once == 2


def test_hashes_of_any_kind_are_verified_while_the_bytes_come(ann, archive, large, work):
    digest = hashlib.sha3_512(LARGE).hexdigest()
    ann.makes("u", large | {"hashtype": "sha3-512", "hashsum": digest})
    ann.makes("v", large | {"hashtype": "sha256", "hashsum": hashlib.sha256(LARGE).hexdigest()})
    work()
    assert ann.state("u") == READY
    assert ann.state("v") == READY


def test_a_size_that_was_announced_is_held_against_the_archives(ann, archive, small, work):
    ann.makes("u", small | {"size": 7})
    work()
    assert "has 6 bytes, not 7" in ann.state("u")[2]
