"""``pulsar cart`` as people use it: against a running site with packages, a folder and an archive."""

import hashlib
import json
import os
import subprocess
import threading

import pytest
from archive_server import Archive
from click.testing import CliRunner
from relay import Relay

from pulsar_client import cli

MIB = 2**20
LARGE = 100 * MIB + 7
PART = 16 * MIB  # that the client asks for at a time
PASSED = 70 * MIB  # of which at least one of the four parts that come at a time is whole
TAPE = b"from the archive\n"


@pytest.fixture
def archive():
    with Archive() as made:
        made.hold("7", TAPE)
        yield made


@pytest.fixture
def site(start_site, archive, tmp_path):
    """A site with a package of ann, ``files/large`` and ``files/sub/small`` in a folder, and an archive."""
    folder = tmp_path / "files"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "small").write_bytes(b"small\n")
    with (folder / "large").open("wb") as file:
        file.truncate(LARGE)
        file.write(os.urandom(1000))
    yield start_site(
        PULSAR_PLUGINS='["registry", "cart"]',
        PULSAR_CART_DIRECTORY=str(folder),
        PULSAR_CART_ARCHIVE_URL=archive.url,
    )
    for path in tmp_path.rglob("large*"):
        if path.is_file():
            path.unlink()  # pytest keeps what is left of some runs


class Ann:
    """Somebody who types commands. In this process, which spares each of them its start."""

    def __init__(self, site, home):
        person = site.person("ann", home)
        self.environment = site.environment | person.environment

    def tries(self, *arguments):
        """Exit status, what was printed, and what was said."""
        with CliRunner(env=self.environment).isolation() as (out, err, _):
            status = cli.run(list(map(str, arguments)))
            return status, out.getvalue().decode(), err.getvalue().decode()

    def does(self, *arguments):
        status, printed, said = self.tries(*arguments)
        assert status == 0, said
        return printed


@pytest.fixture
def ann(site, tmp_path):
    person = Ann(site, tmp_path / "home")
    (tmp_path / "flights").mkdir()
    (tmp_path / "flights" / "note.txt").write_text("hello\n")
    person.does("build", "ann/flights", tmp_path / "flights")
    person.does("push", "ann/flights")
    return person


def document(tmp_path, *entries):
    path = tmp_path / "files.json"
    path.write_text(json.dumps(entries))
    return path


def test_carts_from_the_first_to_the_last_command(site, ann, archive, wait_until, tmp_path):
    a_package_is_fetched_and_verified(ann, tmp_path)
    a_cart_is_looked_at_while_it_is_staged(ann, archive, tmp_path)
    a_large_cart_is_fetched_in_parts_and_goes_on_after_a_kill(site, ann, wait_until, tmp_path)
    a_damaged_file_is_named(ann, tmp_path)
    carts_are_listed_and_removed(ann)


def a_package_is_fetched_and_verified(ann, tmp_path):
    assert ann.does("cart", "create", "--package", "ann/flights", "--uid", "pkg") == "pkg\n"
    unpacked = ann.does("cart", "get", "pkg", "-o", tmp_path, "--unpack", tmp_path / "out").strip()
    assert unpacked == str(tmp_path / "out" / "pkg")
    assert (tmp_path / "out" / "pkg" / "note.txt").read_text() == "hello\n"
    assert list(tmp_path.glob("pkg.tar*")) == []
    ann.does("cart", "verify", "pkg", unpacked)
    status, _, said = ann.tries("cart", "create", "--package", "ann/nothing", "--uid", "gone")
    assert status == 1
    assert "not available" in said


def a_cart_is_looked_at_while_it_is_staged(ann, archive, tmp_path):
    """And one that is not ready is refused, or waited for."""
    archive.gate = threading.Event()
    listed = {"source": "archive", "id": "7", "path": "tape.txt"}
    ann.does("cart", "create", document(tmp_path, listed), "--uid", "tape")
    assert archive.entered.acquire(timeout=60)
    assert ann.does("cart", "status", "tape") == f"staging, 0/1 files, 0 B/{len(TAPE)} B\n"
    said = "pulsar: The cart tape is not ready. Wait for it with --wait.\n"
    assert ann.tries("cart", "get", "tape") == (1, "", said)
    archive.gate.set()
    ann.does("cart", "get", "tape", "-o", tmp_path, "--unpack", tmp_path / "out", "--wait")
    assert (tmp_path / "out" / "tape" / "tape.txt").read_bytes() == TAPE
    assert ann.does("cart", "status", "tape") == f"ready, 1/1 files, {len(TAPE)} B\n"


def a_large_cart_is_fetched_in_parts_and_goes_on_after_a_kill(site, ann, wait_until, tmp_path):
    files = tmp_path / "files"
    with (files / "large").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    listed = [
        {"source": "directory", "id": "large", "path": "large", "hashtype": "sha256", "hashsum": digest},
        {"source": "directory", "id": "sub/small", "path": "sub/small"},
    ]
    ann.does("cart", "create", document(tmp_path, *listed), "--uid", "large", "--wait")
    tar, notes = tmp_path / "large.tar", tmp_path / "large.tar.part.json"
    with Relay(site.url, PASSED) as relay:
        command = ["pulsar", "cart", "get", "large", "-o", str(tar)]
        client = subprocess.Popen(command, env=ann.environment | {"PULSAR_CLIENT_URL": relay.url})
        wait_until(lambda: relay.is_stuck.is_set() and notes.exists(), 120)
        done = json.loads(notes.read_text())["done"]
        client.kill()
        client.wait(60)
    assert not tar.exists()
    assert done

    result = json.loads(ann.does("cart", "get", "large", "-o", tar, "--json"))
    assert result["unverified"] == ["sub/small"]
    kept = sum(min(PART, result["size"] - start) for start in done)
    assert 0 < result["fetched_bytes"] <= result["size"] - kept
    assert [path.name for path in tmp_path.glob("large.tar*")] == ["large.tar"]
    assert site.printed.count("GET /cart/large 206") > LARGE // PART


def a_damaged_file_is_named(ann, tmp_path):
    ann.does("cart", "get", "large", "-o", tmp_path, "--unpack", tmp_path / "out")
    large = tmp_path / "out" / "large" / "large"
    ann.does("cart", "verify", "large", large.parent)
    with large.open("r+b") as file:
        file.seek(LARGE // 2)
        file.write(b"!")
    said = "pulsar: 1 of 2 files are damaged or missing: get the cart again.\n"
    assert ann.tries("cart", "verify", "large", large.parent) == (1, "damaged large\n", said)


def carts_are_listed_and_removed(ann):
    states = [line.split(",")[0].split() for line in ann.does("cart", "ls").splitlines()]
    assert states == [["large", "ready"], ["tape", "ready"], ["gone", "error"], ["pkg", "ready"]]
    ann.does("cart", "rm", "tape")
    assert [cart["uid"] for cart in json.loads(ann.does("cart", "ls", "--json"))] == ["large", "gone", "pkg"]
    assert ann.tries("cart", "rm", "tape") == (1, "", "pulsar: There is no cart tape.\n")
