"""What a push and an install leave behind when something dies in their middle, or a disk forgets a bit."""

import hashlib
import json
import os
import random
import re
import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from requests.adapters import HTTPAdapter

from pulsar_client import Client
from pulsar_client.errors import ConnectionFailed

# Small packs, and objects that are too large for one: so a push has many requests, and a middle.
SETTINGS = {"PULSAR_REGISTRY_PACK_BYTES": str(2**20), "PULSAR_REGISTRY_PACK_OBJECT_BYTES": str(2**14)}
SMALL, LARGE = 340, 60
SOME = 85  # blobs, as many as a pack holds; a fifth of all


@pytest.fixture
def tree(tmp_path):
    """A folder with files of 12 KiB, which travel in packs, and of 20 KiB, which travel alone."""
    source = random.Random(20130101)
    folder = tmp_path / "tree"
    for number in range(SMALL + LARGE):
        path = folder / f"{number % 10}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.randbytes(12 * 2**10 if number < SMALL else 20 * 2**10))
    return folder


@pytest.fixture
def first(tmp_path):
    """A folder with one small file, for a first revision."""
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / "readme.txt").write_text("the first revision\n")
    return folder


class Listening(HTTPAdapter):
    """The network, and a note of every blob of which the site has said that it has it."""

    def __init__(self):
        super().__init__()
        self.acknowledged = set()

    def send(self, request, **options):
        digests = set()
        path = urlsplit(request.url).path
        if path == "/api/objects/pack":
            request.body = b"".join(request.body)
            digests = set(digests_of(request.body))
        elif path.startswith("/blobs/"):
            digests = {path.removeprefix("/blobs/")}
        answer = super().send(request, **options)
        if answer.ok:
            self.acknowledged |= digests
        return answer


def digests_of(pack):
    start = 0
    while start < len(pack):
        yield pack[start : start + 32].hex()
        start += 40 + int.from_bytes(pack[start + 32 : start + 40], "big")


class Place(NamedTuple):
    """Where the bytes of a blob lie in the site's folder."""

    path: Path
    start: int
    size: int

    def read(self):
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size)


def stored(site):
    """Where each blob of the site is, by digest: alone in a file, or with others in a pack."""
    blobs = site.instance / "blobs"
    query = """SELECT digest, core_blobs.size, name, coalesce(pack_start, 0)
               FROM core_blobs LEFT JOIN core_packs ON core_packs.id = pack_id"""
    with closing(sqlite3.connect(site.instance / "pulsar.db")) as database:
        return {
            digest: Place(blobs / _path_of(digest, pack), start, size)
            for digest, size, pack, start in database.execute(query)
        }


def _path_of(digest, pack):
    return f"packs/{pack[:2]}/{pack[2:]}" if pack else f"sha256/{digest[:2]}/{digest[2:]}"


def assert_every_blob_is_whole(site):
    for digest, place in stored(site).items():
        assert hashlib.sha256(place.read()).hexdigest() == digest
    verified = site.run("flask", "storage", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def list_missing(person):
    """Which blobs of his store the site wants from somebody."""
    sizes = {path.name: path.stat().st_size for path in person.blobs.iterdir()}
    request = Request(
        f"{person.site.url}/api/objects/missing",
        json.dumps({"objects": sizes}).encode(),
        {"Authorization": f"Token {person.key}", "Content-Type": "application/json"},
    )
    with urlopen(request, timeout=30) as answer:
        return set(json.load(answer)["missing"])


def read_tree(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def is_one_line(text):
    return text.count("\n") == 1 and "Traceback" not in text


@pytest.mark.parametrize("victims", ["web", "everything"])
def test_what_was_acknowledged_outlives_the_server(victims, start_site, wait_until, tmp_path, tree, first):
    site = start_site(**SETTINGS)
    owner = site.person("admin", tmp_path / "owner")
    owner.does("build", "admin/data", first)
    owner.does("push", "admin/data")
    owner.does("build", "admin/data", tree)
    network = Listening()

    with (
        Client(site.url, owner.key, owner.home, transport=network, backoff=0) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        push = pool.submit(client.push, "admin/data")
        wait_until(lambda: len(network.acknowledged) >= SOME or push.done())
        for pid in site.web_processes() if victims == "web" else site.processes():
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(ConnectionFailed):
            push.result()
    site.process.wait(60)
    assert site.process.returncode == (1 if victims == "web" else -signal.SIGKILL)

    site = start_site(**SETTINGS)
    owner = owner.at(site)
    missing = list_missing(owner)
    assert missing, "the server died in the middle"
    assert not missing & network.acknowledged
    assert_every_blob_is_whole(site)
    # The old revision is there as a whole, of the new one nothing shows.
    before = owner.at(site, tmp_path / "before").export("admin/data", tmp_path / "old")
    assert before == read_tree(first)

    result = json.loads(owner.does("push", "admin/data", "--json"))
    assert result["sent"] == len(missing)
    assert owner.at(site, tmp_path / "after").export("admin/data", tmp_path / "new") == read_tree(tree)


def test_a_push_whose_client_is_killed_is_completed_by_the_next(start_site, wait_until, tmp_path, tree):
    site = start_site(**SETTINGS)
    owner = site.person("admin", tmp_path / "owner")
    owner.does("build", "admin/data", tree)

    push = owner.begins("push", "admin/data")
    wait_until(lambda: len(stored(site)) >= SOME or push.poll() is not None)
    push.kill()
    assert push.wait() == -signal.SIGKILL, "the push was over before it was killed"

    refused = owner.at(site, tmp_path / "reader").tries("install", "admin/data")
    assert refused.returncode == 1
    assert "does not exist" in refused.stderr
    assert_every_blob_is_whole(site)
    result = json.loads(owner.does("push", "admin/data", "--json"))
    assert 0 < result["sent"] < SMALL + LARGE - SOME + 1
    assert owner.at(site, tmp_path / "reader").export("admin/data", tmp_path / "out") == read_tree(tree)


def test_an_install_whose_client_is_killed_is_completed_by_the_next(start_site, wait_until, tmp_path, tree):
    site = start_site(**SETTINGS)
    owner = site.person("admin", tmp_path / "owner")
    owner.does("build", "admin/data", tree)
    owner.does("push", "admin/data")
    reader = owner.at(site, tmp_path / "reader")

    install = reader.begins("install", "admin/data")
    wait_until(
        lambda: (
            install.poll() is not None or (reader.blobs.exists() and len(os.listdir(reader.blobs)) >= SOME)
        )
    )
    install.kill()
    assert install.wait() == -signal.SIGKILL, "the install was over before it was killed"

    kept = read_tree(reader.blobs)
    assert all(hashlib.sha256(content).hexdigest() == digest for digest, content in kept.items())
    assert json.loads(reader.does("ls", "--json")) == []
    refused = reader.tries("export", "admin/data", tmp_path / "nothing")
    assert refused.returncode == 1
    assert is_one_line(refused.stderr)
    assert not (tmp_path / "nothing").exists()
    result = json.loads(reader.does("install", "admin/data", "--json"))
    assert result["fetched"] == SMALL + LARGE - len(kept)
    assert reader.export("admin/data", tmp_path / "out") == read_tree(tree)


def test_flipped_bytes_are_found_named_refused_and_repaired(start_site, tmp_path, tree):
    site = start_site(**SETTINGS)
    owner = site.person("admin", tmp_path / "owner")
    owner.does("build", "admin/data", tree)
    owner.does("push", "admin/data")
    packed, alone = (
        hashlib.sha256((tree / name).read_bytes()).hexdigest() for name in ("7/7.bin", "9/359.bin")
    )
    flip(stored(site)[packed])

    # Before anybody has noticed, whoever installs does.
    reader = owner.at(site, tmp_path / "reader")
    refused = reader.tries("install", "admin/data")
    assert refused.returncode == 1
    assert is_one_line(refused.stderr)
    assert packed[:12] in refused.stderr
    assert json.loads(reader.does("ls", "--json")) == []

    flip(stored(site)[alone])
    verified = site.run("flask", "storage", "verify")
    assert verified.returncode == 1
    for digest in (packed, alone):
        (line,) = [line for line in verified.stdout.splitlines() if digest in line]
        assert re.search(r"changed; referred to by registry_\w+\.\w+ \(1\)", line), line

    refused = reader.tries("install", "admin/data")
    assert refused.returncode == 1
    assert is_one_line(refused.stderr)
    assert json.loads(reader.does("ls", "--json")) == []

    # The store that has pushed it, and one that has pushed nothing yet, send exactly what is missing.
    result = json.loads(owner.does("push", "admin/data", "--json"))
    assert (result["sent"], result["unchanged"]) == (2, False)
    assert_every_blob_is_whole(site)
    assert json.loads(owner.does("push", "admin/data", "--json"))["unchanged"]
    flip(stored(site)[packed])
    assert site.run("flask", "storage", "verify").returncode == 1
    again = owner.at(site, tmp_path / "again")
    again.does("build", "admin/data", tree)
    assert json.loads(again.does("push", "admin/data", "--json"))["sent"] == 1
    assert_every_blob_is_whole(site)
    assert reader.export("admin/data", tmp_path / "out") == read_tree(tree)


def test_the_tree_of_a_revision_is_repaired_by_a_push(start_site, tmp_path, first):
    site = start_site(**SETTINGS)
    owner = site.person("admin", tmp_path / "owner")
    owner.does("build", "admin/data", first)
    owner.does("push", "admin/data")
    file = hashlib.sha256((first / "readme.txt").read_bytes()).hexdigest()
    (tree,) = stored(site).keys() - {file}
    flip(stored(site)[tree])
    assert site.run("flask", "storage", "verify").returncode == 1
    reader = owner.at(site, tmp_path / "reader")
    assert reader.tries("install", "admin/data").returncode == 1

    result = json.loads(owner.does("push", "admin/data", "--json"))

    assert (result["sent"], result["unchanged"]) == (0, False)
    assert_every_blob_is_whole(site)
    assert reader.export("admin/data", tmp_path / "out") == read_tree(first)


def flip(place):
    place.path.chmod(0o640)
    with place.path.open("r+b") as file:
        middle = place.start + place.size // 2
        file.seek(middle)
        (byte,) = file.read(1)
        file.seek(middle)
        file.write(bytes([byte ^ 1]))


def test_a_second_push_sends_nothing(start_site, tmp_path, tree):
    site = start_site(**SETTINGS)
    owner = site.person("admin", tmp_path / "owner")
    owner.does("build", "admin/data", tree)
    assert json.loads(owner.does("push", "admin/data", "--json"))["sent"] == SMALL + LARGE
    blobs = stored(site), times(site)

    end = len(site.printed)
    owner.does("build", "admin/data", tree)
    result = json.loads(owner.does("push", "admin/data", "--json"))
    assert (result["sent"], result["sent_bytes"], result["unchanged"]) == (0, 0, True)
    requests = re.findall(r"pulsar\.access: (\w+ \S+)", site.printed[end:])
    assert [request for request in requests if not request.startswith("GET ")] == []
    assert len(requests) == 1, requests

    # A store that does not remember the first push asks once, and sends nothing either.
    end = len(site.printed)
    other = owner.at(site, tmp_path / "other")
    other.does("build", "admin/data", tree)
    assert json.loads(other.does("push", "admin/data", "--json"))["sent"] == 0
    requests = re.findall(r"pulsar\.access: (\w+ \S+)", site.printed[end:])
    assert not [request for request in requests if "/blobs/" in request or request.endswith("/pack")]
    assert (stored(site), times(site)) == blobs


def times(site):
    """When each file of the store was last written."""
    files = (path for path in (site.instance / "blobs").rglob("*") if path.is_file())
    return {path: path.stat().st_mtime_ns for path in files}


def test_twenty_clients_push_one_package_at_once_and_none_is_lost(start_site, tmp_path):
    site = start_site()
    key = site.person("admin", tmp_path / "home").key
    barrier = threading.Barrier(20)

    def push(number):
        mine = tmp_path / f"{number}.txt"
        mine.write_text(f"of client {number}\n")
        with Client(site.url, key, tmp_path / f"home-{number}") as client:
            digest = client.build("admin/shared", [mine, Path(__file__)]).digest
            barrier.wait()
            assert client.push("admin/shared", message=str(number)).digest == digest
        return digest

    with ThreadPoolExecutor(20) as pool:
        pushed = list(pool.map(push, range(20)))

    with Client(site.url, key, tmp_path / "another") as client:
        entries = client.log("admin/shared")
        assert sorted((entry.digest, entry.message) for entry in entries) == sorted(
            (digest, str(number)) for number, digest in enumerate(pushed)
        )
        assert client.install("admin/shared").digest == entries[0].digest, "latest is the newest push"
