"""``?stream=1``: a tar that begins while its files are still being staged."""

import io
import signal
import socket
import tarfile
import threading
import time
from datetime import timedelta
from itertools import count

import pytest
from cart_kit import LARGE, READY, SMALL, entry

from cart.models import Cart
from cart.pieces import BrokenBundle
from core.db import db, now
from core.errors import NotFound
from core.jobs.run import run_next

pytestmark = pytest.mark.any_database

TREE = {
    "a/slow": b"it comes last",
    "b": SMALL,
    "caf\u00e9": LARGE,
    "d" * 120: b"",
    "e/" * 100 + "f": b"deep",
    "local": b"read in place",
}


@pytest.fixture(autouse=True)
def patience():
    """A download that waits for ever fails its test, and does not hold up the others."""

    def give_up(*_):
        raise TimeoutError("it still waits")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def begin(person, **options):
    """The answer, and what is still to be read of it."""
    query = {"stream": "1", "filename": "x"}
    answer = person.client.get("/cart/u", query_string=query, buffered=False, **options)
    return answer, iter(answer.response)


def unpack(data):
    with tarfile.open(fileobj=io.BytesIO(data), mode="r|") as tar:
        return {one.name.removeprefix("x/"): tar.extractfile(one).read() for one in tar}


@pytest.fixture
def slow(ann, archive, folder, settings, work):
    """A cart ``u`` of which all but one file has come; that one is on tape."""
    settings(CART_DEFAULT_SOURCE="archive")
    entries = []
    for path, data in TREE.items():
        archive.hold(path, data)
        entries.append(entry(data, path, source="archive") | {"hashsum": ""})
    (folder / "local").write_bytes(TREE["local"])
    entries[-1]["source"] = "directory"
    archive.files["a/slow"].medium, archive.files["a/slow"].looks = "tape", 4
    ann.makes("u", *entries)
    work(until=2)
    assert ann.status("u")["files"] == {"done": len(TREE) - 1, "failed": 0, "total": len(TREE)}
    return archive.files["a/slow"]


def test_a_slow_file_holds_up_no_other(ann, slow, work):
    answer, stream = begin(ann)
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"] == 'attachment; filename="x"'
    assert answer.headers["Accept-Ranges"] == "none"
    assert not {"ETag", "Last-Modified"} & set(answer.headers.keys())
    first = b""
    while len(first) < len(LARGE):
        first += next(stream)
    assert ann.state("u")[1] == "staging"
    assert TREE["a/slow"] not in first
    work()
    data = first + b"".join(stream)
    assert len(data) == int(answer.headers["Content-Length"])
    assert len(data) % 10240 == 0
    assert unpack(data) == TREE
    assert next(reversed(unpack(data))) == "a/slow"
    usual = ann.get("u", filename="x")
    assert len(usual.data) == len(data)
    assert unpack(usual.data) == TREE


def test_what_is_ready_is_the_usual_download(ann, slow, work):
    work()
    usual = ann.get("u", filename="x")
    answer = ann.get("u", filename="x", stream="1", headers={"Range": "bytes=100-199"})
    assert (answer.status_code, answer.data) == (206, usual.data[100:200])
    assert answer.headers["ETag"] == usual.headers["ETag"]


def test_files_are_sent_while_they_are_fetched(ann, archive, app, small, large):
    """Nobody has a file of it when the download begins."""
    tree = {f"{number:03}": b"%d" % number * 50 for number in range(100)}
    for path, data in tree.items():
        archive.hold(path, data)
    tree |= {"s": SMALL, "l": LARGE}
    archive.gate = threading.Event()
    ann.makes("u", *(entry(data, path) for path, data in tree.items()))
    worker = threading.Thread(target=lambda: [None for _ in range(3) if not run_next(app, "worker")])
    worker.start()
    assert archive.entered.acquire(timeout=60)
    answer, stream = begin(ann)
    assert answer.status_code == 200
    assert ann.status("u")["files"]["done"] == 0
    archive.gate.set()
    data = b"".join(stream)
    worker.join(60)
    assert len(data) == int(answer.headers["Content-Length"])
    assert unpack(data) == tree


def test_slow_files_among_many_come_last(ann, archive, folder, work):
    tree = {f"{number:04}": b"%d" % number for number in range(1300)}
    entries = []
    for path, data in tree.items():
        (folder / path).write_bytes(data)
        entries.append(entry(data, path) | {"hashsum": ""})
    for path, looks in (("0007", 12), ("0600", 3), ("1299", 3)):
        archive.hold(path, tree[path], medium="tape", looks=looks)
        entries[int(path)]["source"] = "archive"
    ann.makes("u", *entries)
    work(until=1)
    answer, stream = begin(ann)
    data = b""
    while len(data) < 1297 * 1024:
        data += next(stream)
    while (done := ann.status("u")["files"]["done"]) < 1299:
        work(turns=1)
    assert done == 1299
    data += next(stream)
    work()
    data += b"".join(stream)
    assert len(data) == int(answer.headers["Content-Length"])
    assert unpack(data) == tree
    assert list(unpack(data))[-3:] == ["0600", "1299", "0007"]


def test_while_a_size_is_not_known_it_is_not_ready(ann, archive, small, large, work):
    archive.files["s"].always = "500"
    ann.makes("u", small, large)
    assert ann.get("u", stream="1").status_code == 202  # nobody has begun
    work(until=2)
    assert ann.state("u")[1] == "staging"
    answer = ann.get("u", stream="1")
    assert (answer.status_code, answer.text) == (202, "The cart is not ready for download.")
    assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize("query", [{"format": "zip"}, {"bag": "1"}, {"stream": "0"}])
def test_only_a_tar_begins_early(ann, slow, query):
    assert ann.get("u", **{"stream": "1"} | query).status_code == 202


def test_a_part_cannot_be_had_of_it(ann, slow, work):
    answer, stream = begin(ann, headers={"Range": "bytes=100-199"})
    assert answer.status_code == 200
    work()
    assert unpack(b"".join(stream)) == TREE


def broken(stream):
    """What came before the connection broke."""
    got = []
    with pytest.raises((BrokenBundle, NotFound)):
        got.extend(stream)
    return b"".join(got)


def test_a_file_that_fails_breaks_it_off(ann, slow, work):
    answer, stream = begin(ann)
    next(stream)
    slow.always = "404"
    work()
    assert ann.state("u")[1] == "error"
    assert len(broken(stream)) < int(answer.headers["Content-Length"])


def test_one_file_that_failed_is_enough(ann, archive, work):
    for name, looks in (("bad", 3), ("late", 60)):
        archive.hold(name, SMALL, medium="tape", looks=looks)
    ann.makes("u", entry(SMALL, "bad"), entry(SMALL, "late"))
    work(until=2)
    _, stream = begin(ann)
    archive.files["bad"].always = "404"
    while not ann.status("u")["files"]["failed"]:
        work(turns=1)
    assert ann.state("u")[1] == "staging"
    broken(stream)


def test_a_file_that_is_not_as_long_as_was_promised_breaks_it_off(ann, slow, work):
    answer, stream = begin(ann)
    slow.data = b"of another length"
    work()
    assert ann.state("u") == READY
    assert len(broken(stream)) < int(answer.headers["Content-Length"])


def test_who_may_not_read_a_source_any_more_cannot_have_it(ann, archive, folder, guarded, settings, work):
    settings(CART_DEFAULT_SOURCE="archive")
    guarded.path = folder / "foo"
    guarded.path.write_bytes(SMALL)
    archive.hold("slow", SMALL, medium="tape", looks=4)
    ann.makes("u", entry(SMALL, "slow"), entry(SMALL, "foo", source="guarded"))
    work(until=2)
    answer, _ = begin(ann)
    assert answer.status_code == 200
    answer.close()
    guarded.allowed = False
    assert ann.get("u", stream="1").status_code == 404


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_cart_that_is_gone_breaks_it_off(ann, slow, how):
    answer, stream = begin(ann)
    if how == "deleted":
        assert ann.delete("u").status_code == 200
    else:
        ann.makes("u", entry(SMALL, "other"))
    assert len(broken(stream)) < int(answer.headers["Content-Length"])


def test_who_hangs_up_is_not_waited_for(ann, archive, work):
    """Even if writing, of which there is nothing, would not tell."""
    archive.hold("slow", SMALL, medium="tape", looks=60)
    ann.makes("u", entry(SMALL, "slow"))
    work(until=2)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        _, stream = begin(ann, environ_overrides={"gunicorn.socket": ours})
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(BrokenPipeError):
            b"".join(stream)


def test_who_waits_for_a_state_and_hangs_up_is_not_waited_for(ann, archive, work):
    archive.hold("slow", SMALL, medium="tape", looks=60)
    ann.makes("u", entry(SMALL, "slow"))
    work(until=2)
    began = time.monotonic()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.shutdown(socket.SHUT_WR)
        gone = {"gunicorn.socket": ours}
        answer = ann.client.get("/cart/u/status?wait=60", environ_overrides=gone)
    assert answer.json["state"] == "staging"
    assert time.monotonic() < began + 50  # not what was asked for


@pytest.fixture
def hurry(freeze_time):
    """The clock runs ahead, a minute in a moment."""
    enough = threading.Event()

    def run():
        for minute in count():
            freeze_time(60 * minute)
            if enough.wait(0.05):
                return

    runner = threading.Thread(target=run)
    runner.start()
    yield
    enough.set()
    runner.join()


def test_it_waits_for_long_but_not_for_ever_and_is_a_use_meanwhile(ann, slow, settings, hurry):
    settings(CART_STALL_TIMEOUT=1000)
    begun = now()
    broken(begin(ann)[1])
    assert now() > begun + timedelta(seconds=1000)
    db.session.rollback()
    cart = db.session.query(Cart).filter_by(uid="u").one()
    assert cart.reading_until > begun + timedelta(seconds=900)
    assert cart.state == "staging"


def test_some_at_a_time_may_wait(ann, slow, work):
    first, second = begin(ann), begin(ann)
    assert [first[0].status_code, second[0].status_code] == [200, 200]
    assert ann.get("u", stream="1").status_code == 202
    second[0].close()  # before a byte of it was read
    third = begin(ann)
    assert third[0].status_code == 200
    work()
    assert unpack(b"".join(third[1])) == TREE
    assert unpack(b"".join(first[1])) == TREE
    assert ann.state("u") == READY
