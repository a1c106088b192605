"""Who gets space, who makes room, and who must not."""

import pytest
from cart_kit import READY, entry, stored_bytes
from sqlalchemy import select, update

from cart.models import Cart, Entry
from cart.services import carts, space
from core import storage
from core.db import now, own_transaction
from core.errors import NoSpace, Unavailable
from core.jobs.run import run_next

SIZE = 100_000


@pytest.fixture
def files(archive):
    """``files("a")``: an entry for a file of 100,000 bytes."""

    def make(name, size=SIZE):
        data = name.encode() * size
        archive.hold(name, data[:size])
        return entry(data[:size], name)

    return make


def test_a_cart_that_is_larger_than_everything_fails_at_once_and_evicts_nobody(ann, files, settings, work):
    settings(CART_CACHE_BYTES=2 * SIZE)
    ann.makes("small", files("a"))
    work()
    ann.makes("large", files("b"), files("c"), files("d"))
    work()
    assert ann.state("large") == (500, "error", "Not enough space to download file")
    assert ann.state("small") == READY


def test_the_cart_that_was_not_used_for_longest_makes_room(ann, files, settings, work, freeze_time):
    settings(CART_CACHE_BYTES=3 * SIZE)
    ann.makes("one", files("a"))
    ann.makes("two", files("b"))
    ann.makes("three", files("c"))
    work()
    with own_transaction() as session:  # a download of the first is a use
        session.execute(update(Cart).where(Cart.uid == "one").values(used_at=now()))
    ann.makes("four", files("d"))
    work()
    assert ann.state("four") == READY
    assert {uid: ann.state(uid)[0] for uid in ("one", "two", "three")} == {
        "one": 204,
        "two": 404,
        "three": 204,
    }
    assert stored_bytes() == 3 * SIZE


def test_what_two_carts_share_is_not_room(ann, files, settings, work):
    settings(CART_CACHE_BYTES=2 * SIZE)
    ann.makes("one", files("a"))
    ann.makes("two", files("a"), files("b"))
    work()
    ann.makes("three", files("c"))
    work()
    assert ann.state("three") == READY
    assert ann.state("two")[0] == 404
    assert stored_bytes() <= 2 * SIZE


def test_two_carts_that_fit_only_one_by_one_do_not_both_begin(ann, files, settings):
    settings(CART_CACHE_BYTES=3 * SIZE)
    ann.makes("one", files("a"), files("b"))
    ann.makes("two", files("c"), files("d"))
    with own_transaction() as session:  # both know what they need before either has fetched anything
        session.execute(update(Entry).values(size=SIZE, mtime=0, state="staging"))
        first, second = session.scalars(select(Cart.id).order_by(Cart.id)).all()
    space.reserve(first)
    with pytest.raises(NoSpace):
        space.reserve(second)
    space.reserve(first)  # again, after a crash
    assert ann.delete("one").status_code == 200
    space.reserve(second)


def test_a_cart_that_was_used_lately_is_safe(ann, files, settings, work):
    settings(CART_CACHE_BYTES=SIZE, CART_LRU_BUFFER_TIME=3600)
    ann.makes("one", files("a"))
    work()
    ann.makes("two", files("b"))
    work()
    assert ann.state("one") == READY
    assert "space" in ann.state("two")[2]


def test_a_cart_that_is_being_downloaded_is_safe(ann, files, settings, work):
    settings(CART_CACHE_BYTES=SIZE)
    ann.makes("one", files("a"))
    work()
    with own_transaction() as session:
        session.execute(update(Cart).values(reading_until=now().replace(year=2200)))
    ann.makes("two", files("b"))
    work()
    assert ann.state("one") == READY
    assert "space" in ann.state("two")[2]


def test_without_purging_nothing_is_evicted_and_space_is_looked_at_still(ann, files, settings, work):
    settings(CART_CACHE_BYTES=SIZE, CART_LRU_PURGE=False)
    ann.makes("one", files("a"))
    work()
    ann.makes("two", files("b"))
    work()
    assert ann.state("one") == READY
    assert "space" in ann.state("two")[2]


def test_a_disk_that_fills_up_fails_the_cart_and_leaves_nothing_behind(ann, files, work, monkeypatch):
    backend = storage.store().backend
    monkeypatch.setattr(type(backend), "_write", lambda *_: (_ for _ in ()).throw(NoSpace()))
    ann.makes("one", files("a"))
    work()
    assert ann.state("one") == (500, "error", "Not enough space to download file")
    assert stored_bytes() == 0
    assert list((backend.root / "tmp").iterdir()) == []


def test_a_small_free_disk_counts_like_a_small_limit(ann, files, work, monkeypatch):
    monkeypatch.setattr(type(storage.store().backend), "free_bytes", lambda _: SIZE - 1)
    ann.makes("one", files("a"))
    work()
    assert "space" in ann.state("one")[2]


def test_local_files_need_no_space(ann, folder, settings):
    settings(CART_CACHE_BYTES=1)
    (folder / "big").write_bytes(b"x" * SIZE)
    ann.makes("u", entry(b"x" * SIZE, "big"))
    assert ann.state("u") == READY


def test_a_cart_whose_files_cannot_be_removed_stays_and_says_so(ann, files, work, monkeypatch):
    ann.makes("u", files("a"))
    work()
    with monkeypatch.context() as patched:
        patched.setattr(carts.space, "release", lambda _: (_ for _ in ()).throw(Unavailable()))
        answer = ann.delete("u")
    assert answer.status_code == 500
    assert answer.json["message"] == "The files could not be removed."
    assert ann.state("u")[:2] == (500, "error")
    assert ann.delete("u").status_code == 200
    assert ann.state("u")[0] == 404


def test_replacing_a_cart_frees_what_only_the_old_one_had(ann, files, work):
    ann.makes("u", files("a"), files("b"))
    work()
    ann.makes("u", files("b"), files("c"))
    work()
    assert ann.state("u") == READY
    assert stored_bytes() == 2 * SIZE


def test_a_cart_that_failed_for_space_is_made_when_there_is_some(ann, files, settings, work, app):
    settings(CART_CACHE_BYTES=1)
    ann.makes("u", files("a"))
    work()
    assert "space" in ann.state("u")[2]
    settings(CART_CACHE_BYTES=0)
    ann.makes("u", files("a"))
    work()
    assert ann.state("u") == READY
    assert not run_next(app, "nobody")
