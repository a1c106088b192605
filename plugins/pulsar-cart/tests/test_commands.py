"""What operators type."""

import json
import re

import pytest
from cart_kit import LARGE, READY, SMALL, entry
from sqlalchemy import func, select, update

from cart.models import Cart, File
from cart.services import staging
from cart.services.upkeep import parse_age
from core.db import db, now, own_transaction
from core.storage.models import Blob

pytestmark = pytest.mark.any_database


def run(runner, *arguments):
    db.session.rollback()  # a command sees what is stored by now
    done = runner.invoke(args=["cart", *arguments])
    return done.exit_code, done.output


@pytest.fixture
def broken(ann, archive, small, large, work):
    """A cart of which one file could not be had, and now can."""
    archive.files["s"].always = "404"
    ann.makes("u", small, large)
    work()
    assert ann.state("u")[0] == 500
    archive.files["s"].always = ""
    db.session.rollback()


def test_fixit_fetches_what_is_missing_and_nothing_else(ann, archive, broken, runner):
    before = archive.count()
    status, output = run(runner, "fixit", "--cartid", "u")
    assert (status, output.splitlines()[-1]) == (0, "u: ready")
    assert ann.state("u") == READY
    assert archive.count() - before == {("HEAD", "s"): 1, ("GET", "s"): 1}


def test_fixit_says_what_is_still_wrong_and_what_there_is_not(archive, broken, runner, monkeypatch):
    archive.files["s"].always = "404"
    monkeypatch.setattr(staging, "TURN", 0)
    status, output = run(runner, "fixit", "--cartid", "u")
    assert status == 1
    assert "u: error: Failed to pull file" in output
    status, output = run(runner, "fixit", "--cartid", "gone")
    assert status == 1
    assert "No cart with uid gone found" in output


def test_dump_has_all_carts_with_their_files_as_text(ann, folder, runner):
    (folder / "a").write_bytes(b"a")
    for uid in ("first", "second", "third"):
        ann.makes(uid, entry(b"a", 'x"\n: y', "a"))
    ann.makes("empty")
    ann.delete("second")
    status, output = run(runner, "dump", "--json")
    assert status == 0
    found = json.loads(output)
    assert [cart["cart_uid"] for cart in found] == ["empty", "third", "first"]
    assert found[1]["status"] == "ready"
    (file,) = found[1]["files"]
    assert file["file_name"] == "a"
    assert file["bundle_path"] == 'x"\n: y'
    assert all(isinstance(value, str) for value in file.values())
    status, output = run(runner, "dump")
    assert re.findall(r"^- id: ", output, re.M) == ["- id: "] * 3
    assert '  - id: "0"\n' in output
    assert "  files: []\n" in output


def test_purge_deletes_what_is_old(ann, folder, runner):
    (folder / "a").write_bytes(b"a")
    ann.makes("old", entry(b"a", "a"))
    ann.makes("new", entry(b"a", "a"))
    with own_transaction() as session:
        old = update(Cart).where(Cart.uid == "old")
        session.execute(old.values(updated_at=now().replace(year=2020)))
    assert run(runner, "purge", "--dry-run")[1].startswith("would delete old (updated 2020-")
    assert ann.state("old") == READY
    assert run(runner, "purge", "--time-ago", "7 days ago")[1].startswith("deleted old")
    assert run(runner, "purge") == (0, "")
    assert ann.state("old")[0] == 404
    assert ann.state("new") == READY


def test_an_age_is_a_number_a_unit_and_ago():
    assert parse_age("7 days ago").days == 7
    assert parse_age(" 1 Week ago").days == 7
    assert parse_age("5 microseconds ago").microseconds == 5
    for text in ("7 days", "days ago", "7 fortnights ago", "-1 days ago", "999999999 weeks ago"):
        with pytest.raises(ValueError, match="ago"):
            parse_age(text)


def test_gc_removes_what_no_cart_has(ann, archive, small, large, work, runner):
    ann.makes("u", small, large)
    work()
    with own_transaction() as session:
        session.execute(Cart.__table__.delete())
    status, output = run(runner, "gc", "--json")
    assert status == 0
    assert json.loads(output)["files"] == 2
    db.session.rollback()
    assert db.session.scalar(select(func.count()).select_from(File)) == 0
    assert db.session.scalar(select(func.count()).select_from(Blob)) == 0
    assert len(SMALL) < len(LARGE)


def test_the_worker_makes_carts_ready(ann, archive, small, runner):
    ann.makes("u", small)
    db.session.rollback()
    for _ in range(20):
        run(runner, "worker", "--drain", "--threads", "1")
        if ann.state("u") == READY:
            return
    raise AssertionError(ann.state("u"))
