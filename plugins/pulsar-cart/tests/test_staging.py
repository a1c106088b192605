"""Files are fetched from an archive that does as badly as it can."""

import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace

from cart_kit import LARGE, READY, SMALL, content, entry, stored_bytes
from sqlalchemy import func, select

from cart.models import Cart, File, Slot
from cart.services.changes import ASKED, Asked
from cart.services.staging import Staging
from cart.services.transfers import Transfers
from cart.sources import find_source
from core import storage
from core.db import db, now
from core.jobs.run import run_next
from core.storage.models import Pack


def files_on_disk():
    return {path for path in storage.store().backend.root.rglob("*") if path.is_file()}


def test_files_are_fetched_verified_and_stored(ann, archive, small, large, work):
    ann.makes("u", small, large)
    assert ann.state("u") == (202, "waiting", "")
    work()
    assert ann.state("u") == READY
    assert content("u", "s") == SMALL
    assert content("u", "l") == LARGE
    assert ann.status("u")["bytes"] == {"done": 6 + len(LARGE), "total": 6 + len(LARGE)}
    assert archive.count() == {(verb, name): 1 for verb in ("HEAD", "GET") for name in "sl"}


def test_many_small_files_share_a_file(ann, archive, work):
    files = [archive.hold(n, b"%d" % n) or entry(b"%d" % n, str(n)) for n in range(60)]
    ann.makes("u", *files)
    work()
    assert ann.state("u") == READY
    assert db.session.scalar(select(func.count()).select_from(Pack)) <= 2
    assert content("u", "59") == b"59"


def test_a_second_cart_of_the_same_files_is_ready_at_once(ann, people, archive, small, large, work):
    ann.makes("u", small, large)
    work()
    before = len(archive.requests)
    bob = people("bob")
    bob.makes("v", small | {"path": "elsewhere"}, large)
    assert bob.state("v") == READY
    assert len(archive.requests) == before
    assert stored_bytes() == 6 + len(LARGE)


def test_what_another_cart_brought_meanwhile_is_not_asked_for(ann, archive, small, large, work):
    ann.makes("u", small, large)
    ann.makes("v", small | {"path": "other"}, large)
    work()
    assert ann.state("u") == ann.state("v") == READY
    assert archive.count("HEAD") == archive.count("GET") == {"s": 1, "l": 1}
    assert (content("v", "other"), content("v", "l")) == (SMALL, LARGE)
    assert ann.status("v")["bytes"] == {"done": 6 + len(LARGE), "total": 6 + len(LARGE)}


def test_one_file_at_two_paths_is_fetched_once(ann, archive, large, work):
    ann.makes("u", large, large | {"path": "copy"})
    work()
    assert ann.state("u") == READY
    assert archive.count("GET") == {"l": 1}
    assert content("u", "copy") == LARGE


def test_a_file_without_a_hash_is_taken_as_it_comes(ann, archive, small, work):
    ann.makes("u", small | {"hashsum": ""})
    work()
    assert ann.state("u") == READY
    assert '"verified": false' in ann.client.get("/cart/u/manifest").text


def test_a_file_on_tape_is_asked_for_once_and_looked_at_ever_less_often(ann, archive, small, large, work):
    archive.files["s"].medium, archive.files["s"].looks = "tape", 10
    ann.makes("u", small, large)
    begun = now()
    work()
    assert ann.state("u") == READY
    assert archive.count("POST") == {"s": 1}
    assert archive.count("HEAD")["s"] == 11
    assert (now() - begun).total_seconds() > 60


def test_waiting_for_tape_occupies_no_worker_and_holds_nobody_up(ann, archive, app, small, large, work):
    archive.files["s"].medium, archive.files["s"].looks = "tape", 10
    ann.makes("slow", small)
    work(until=2)
    assert ann.state("slow")[:2] == (204, "staging")
    assert not run_next(app, "idle"), "nothing is due"
    ann.makes("fast", large)
    work(until=3)
    assert ann.state("fast") == READY
    assert ann.state("slow")[1] == "staging"


def test_two_carts_look_for_one_file_on_tape_once(ann, archive, small, work):
    archive.files["s"].medium, archive.files["s"].looks = "tape", 5
    ann.makes("u", small)
    ann.makes("v", small | {"path": "other"})
    work()
    assert ann.state("u") == READY
    assert ann.state("v") == READY
    assert archive.count("POST") == {"s": 1}
    assert archive.count("GET") == {"s": 1}
    assert archive.count("HEAD")["s"] <= 7  # each cart the first time, then one of them


def test_connections_are_shared_by_all_workers(ann, archive, app, settings, large, small):
    """While one worker has the only connection, another asks nothing."""
    settings(CART_ARCHIVE_CONNECTIONS=1)
    archive.gate = threading.Event()
    ann.makes("u", large)
    ann.makes("v", small)
    first = threading.Thread(target=run_next, args=(app, "first"))
    first.start()
    assert archive.entered.acquire(timeout=10)
    run_next(app, "second")
    assert archive.count("HEAD")["s"] == 0
    archive.gate.set()
    first.join()
    assert ann.state("u")[1] in ("staging", "ready")


@contextmanager
def held(archive, app):
    """Meanwhile a worker is in the middle of a file that does not get any further."""
    archive.gate = gate = threading.Event()
    worker = threading.Thread(target=run_next, args=(app, "first"))
    worker.start()
    assert archive.entered.acquire(timeout=10)
    archive.gate = None  # for others
    try:
        yield
    finally:
        gate.set()
        worker.join()


def work_until(app, condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        run_next(app, "second")
        assert time.monotonic() < end


def test_a_connection_that_is_not_used_is_for_others(ann, archive, app, large, small):
    ann.makes("u", large)
    with held(archive, app):
        ann.makes("v", small)
        work_until(app, lambda: ann.state("v") == READY)
        assert ann.state("u")[1] == "staging"


def test_waiting_for_what_another_cart_fetches_is_no_failed_attempt(
    ann, archive, app, large, work, freeze_time, settings
):
    settings(CART_RETRY_TIME=10)
    ann.makes("u", large)
    with held(archive, app):
        ann.makes("v", large)
        work_until(app, lambda: archive.count("HEAD")["l"] == 2)
        for seconds in range(1, 25):  # the lease of the first is 30 s
            freeze_time(seconds)
            run_next(app, "second")
        archive.files["l"].faults = ["500"]
        assert ann.delete("u").status_code == 200
    assert archive.count("GET") == {"l": 1}
    work()
    assert ann.state("v") == READY


def test_deleting_a_cart_stops_its_transfers_and_frees_what_came(ann, archive, app):
    archive.gate = threading.Event()
    files = [archive.hold(n, LARGE + b"%d" % n) or entry(LARGE + b"%d" % n, str(n)) for n in range(20)]
    ann.makes("u", *files)
    worker = threading.Thread(target=run_next, args=(app, "worker"))
    worker.start()
    assert archive.entered.acquire(timeout=10)
    assert ann.delete("u").status_code == 200
    assert ann.state("u")[0] == 404
    before = len(archive.requests)
    threading.Timer(1.2, archive.gate.set).start()
    worker.join()
    assert len(archive.requests) <= before + 4  # those that were under way
    assert stored_bytes() == 0
    assert db.session.scalar(select(func.count()).select_from(File)) == 0


def test_what_came_when_nobody_wanted_it_any_more_is_not_kept(ann, archive):
    files = [archive.hold(n, LARGE + b"%d" % n) or entry(LARGE + b"%d" % n, str(n)) for n in range(2)]
    ann.makes("u", *files)
    db.session.rollback()
    rows = db.session.execute(select(*ASKED)).all()
    wanted = [replace(Asked.of(row), size=len(LARGE) + 1) for row in rows]
    with closing(Transfers(2, lambda: None).pull(find_source("archive"), wanted)) as outcomes:
        next(outcomes)
        end = time.monotonic() + 30
        while stored_bytes() <= len(LARGE) + 1:
            assert time.monotonic() < end
    assert stored_bytes() == len(LARGE) + 1


def test_a_deleted_cart_frees_its_space_unless_another_has_the_files(ann, archive, app, small, large, work):
    before = files_on_disk()
    files = [archive.hold(n, b"%d" % n) or entry(b"%d" % n, str(n)) for n in range(20)]
    ann.makes("u", large, *files)
    ann.makes("v", small, large)
    work()
    assert ann.delete("u").status_code == 200
    assert stored_bytes() == 6 + len(LARGE)
    ann.delete("v")
    assert stored_bytes() == 0
    assert files_on_disk() <= before


def test_a_killed_worker_loses_nothing(ann, archive, app, large, small, freeze_time):
    """What a turn has written down by the time it is killed is not fetched again."""
    ann.makes("u", small, large)
    db.session.rollback()
    cart_id = db.session.scalar(select(Cart.id))

    class Killed(BaseException):
        pass

    def killed_later(count):
        left = [count]

        def checkpoint():
            db.session.commit()
            left[0] -= 1
            if left[0] <= 0:
                raise Killed

        return checkpoint

    for steps in range(2, 9):
        try:
            Staging(cart_id, f"victim {steps}", killed_later(steps), lambda *_: None).turn()
        except Killed:
            db.session.rollback()
        freeze_time(60 * steps)  # the leases of the dead run out
    while run_next(app, "heir"):
        pass
    assert ann.state("u") == READY
    assert archive.count("GET") == {"s": 1, "l": 1}
    assert db.session.scalar(select(func.count()).select_from(Slot).where(Slot.until.is_not(None))) in (0, 4)
