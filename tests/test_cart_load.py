"""The cart as a running site has it: many carts and clients at once, and everything killed in the middle."""

import hashlib
import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import tarfile
import threading
from base64 import b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from typing import Any

import pytest
from archive_server import Archive
from cart_kit import entry

from harness import process

pytestmark = pytest.mark.any_database

MIB = 2**20
PAST = "2000-01-01 00:00:00.000000"


@dataclass
class Caller:
    """Somebody who makes carts."""

    site: Any
    key: str

    def ask(self, method, path, body=None):
        with closing(self.begin(method, path, body)) as connection:
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def begin(self, method, path, body=None):
        connection = HTTPConnection("127.0.0.1", self.site.port, timeout=60)
        word = b64encode(f"admin:{self.key}".encode()).decode()
        connection.request(method, f"/cart/{path}", body, {"Authorization": f"Basic {word}"})
        return connection

    def makes(self, uid, entries):
        status, _, text = self.ask("POST", uid, json.dumps({"fileids": entries}).encode())
        assert status == 201, text

    def state(self, uid):
        _, headers, _ = self.ask("HEAD", uid)
        return headers["X-Pacifica-Status"]

    def ends(self, uid):
        """What becomes of a cart; the server tells when it is decided."""
        while True:
            status, _, text = self.ask("GET", f"{uid}/status?wait=30")
            if status == 404 or (state := json.loads(text)["state"]) in ("ready", "error"):
                return "gone" if status == 404 else state

    def message(self, uid):
        return self.ask("HEAD", uid)[1]["X-Pacifica-Message"]

    def files(self, uid):
        """The bytes of a cart by their paths."""
        status, _, text = self.ask("GET", f"{uid}?filename=top")
        assert status == 200, text
        with tarfile.open(fileobj=io.BytesIO(text), mode="r:") as tar:
            return {one.name.removeprefix("top/"): tar.extractfile(one).read() for one in tar}


@pytest.fixture(scope="module")
def common_archive():
    with Archive() as made:
        yield made


@pytest.fixture
def archive(common_archive):
    """An archive that holds nothing yet."""
    common_archive.files.clear()
    common_archive.requests.clear()
    common_archive.pause, common_archive.most_at_once = 0.0, 0
    yield common_archive
    if common_archive.gate:
        common_archive.gate.set()
        common_archive.gate = None


def begin(start, archive, key=None, **settings):
    """Somebody at a site with this archive, perhaps with a key from before."""
    given = {
        "PULSAR_PLUGINS": '["cart"]',
        "PULSAR_CART_ARCHIVE_URL": archive.url,
        "PULSAR_WEB_PROCESSES": "1",
        "PULSAR_CART_RATE_LIMIT": "null",
    }
    site = start(**given | settings)
    return Caller(site, key or site.run("flask", "admin", "key", "admin").stdout.strip())


@pytest.fixture(scope="module")
def common_site(start_common_site, common_archive):
    """A site for several tests, which takes less time than one for each."""
    return begin(start_common_site, common_archive)


@pytest.fixture
def caller(common_site):
    """Somebody at a site without carts."""
    yield common_site
    _, _, text = common_site.ask("GET", "")
    for one in json.loads(text)["carts"]:
        assert common_site.ask("DELETE", one["uid"])[0] == 200


@pytest.fixture
def start(start_site, archive):
    """``start(**settings)``: somebody at a site of one's own."""
    return partial(begin, start_site, archive)


def hold(archive, count, size):
    """Have so many files, and say how they are posted."""
    bytes_of = random.Random(20130101).randbytes
    entries = []
    for number in range(count):
        data = bytes_of(size)
        archive.hold(number, data)
        entries.append(entry(data, f"{number % 10}/{number}", str(number)))
    return entries


def assert_whole(caller, uid, entries, archive):
    assert caller.files(uid) == {one["path"]: archive.files[one["id"]].data for one in entries}


def worker_of(site):
    """The process that works on jobs: of the site's children the one that has none."""
    members = [process(pid) for pid in site.processes()]
    parents = {member.parent for member in members if member}
    found = [one for one in members if one and one.parent == site.process.pid and one.pid not in parents]
    return found[0].pid if found else None


def test_twenty_carts_at_once_fetch_each_file_once(caller, archive):
    entries = hold(archive, 390, 200)
    carts = {f"u{n}": entries[10 * n : 10 * n + 200] for n in range(20)}
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(caller.makes, carts, carts.values()))
    assert {caller.ends(uid) for uid in carts} == {"ready"}
    assert archive.count("GET") == Counter(one["id"] for one in entries)
    assert archive.most_at_once <= 4
    for uid in ("u0", "u10", "u19"):
        assert_whole(caller, uid, carts[uid], archive)


def test_a_small_cart_overtakes_a_big_slow_one_that_stops_when_it_is_deleted(caller, archive, wait_until):
    *big, one, other = hold(archive, 322, 201)
    caller.makes("big", big)
    wait_until(lambda: len(archive.requests) > 300)
    archive.pause = 0.1
    wait_until(lambda: archive.count("GET"))
    caller.makes("small", [one, other])
    assert caller.ends("small") == "ready"
    assert caller.state("big") == "staging"

    assert caller.ask("DELETE", "big")[0] == 200
    threading.Event().wait(2)  # so long it may take
    asked = len(archive.requests)
    assert asked < 2 * len(big)
    threading.Event().wait(1)
    assert len(archive.requests) == asked


def test_clients_that_hang_up_leave_nothing_behind(caller, archive, wait_until):
    entries = hold(archive, 4, 8 * MIB)
    caller.makes("u", entries)
    assert caller.ends("u") == "ready"

    def hang_up(_):
        with closing(caller.begin("GET", "u")) as connection:
            answer = connection.getresponse()
            assert len(answer.read(MIB)) == MIB
            answer.close()

    def open_now():
        """Threads, sockets and files of the store that the server has."""
        found = Counter()
        for pid in caller.site.web_processes():
            found["threads"] += len(os.listdir(f"/proc/{pid}/task"))
            for number in os.listdir(f"/proc/{pid}/fd"):
                with suppress(FileNotFoundError):
                    target = os.readlink(f"/proc/{pid}/fd/{number}")
                    found["sockets"] += target.startswith("socket:")
                    found["files"] += "/blobs/" in target
        return found

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(hang_up, range(50)))  # now all threads there may be are there
        wait_until(lambda: not open_now()["files"])
        before = open_now()
        list(pool.map(hang_up, range(50)))
    wait_until(lambda: open_now() <= before)
    with closing(sqlite3.connect(caller.site.instance / "pulsar.db")) as database:
        (is_busy, *_) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert not is_busy, "somebody still reads the database"
    assert_whole(caller, "u", entries, archive)
    assert caller.ask("DELETE", "u")[0] == 200
    assert "Traceback" not in caller.site.printed


def test_a_cart_outlives_killed_workers_and_servers(start, archive, wait_until):
    entries = hold(archive, 300, 200) + hold_large(archive)
    archive.pause = 0.01
    caller = start()
    caller.makes("u", entries)
    for method, count in (("HEAD", 20), ("HEAD", 250), ("GET", 5), ("GET", 150)):
        wait_until(lambda: sum(archive.count(method).values()) >= count)  # noqa: B023
        wait_until(lambda: worker_of(caller.site))
        os.kill(worker_of(caller.site), signal.SIGKILL)
        let_leases_run_out(caller.site)
    for count in (200, 280):
        wait_until(lambda: sum(archive.count("GET").values()) >= count)  # noqa: B023
        for pid in caller.site.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        caller.site.process.wait(60)
        let_leases_run_out(caller.site)
        caller = start(caller.key)
    assert caller.ends("u") == "ready"
    assert_whole(caller, "u", entries, archive)
    assert caller.site.run("flask", "storage", "verify").returncode == 0


def hold_large(archive):
    """Files that are stored each by itself."""
    found = []
    for name in ("a", "b", "c"):
        data = hashlib.sha256(name.encode()).digest() * 2**13
        archive.hold(name, data)
        found.append(entry(data, f"large/{name}", name))
    return found


def let_leases_run_out(site):
    """What half a minute does to those of a worker that was killed."""
    with closing(sqlite3.connect(site.instance / "pulsar.db", timeout=30)) as database, database:
        database.execute("UPDATE core_jobs SET due_at = ? WHERE kind = 'cart.stage'", [PAST])
        for table in ("cart_slots", "cart_files"):
            database.execute(f"UPDATE {table} SET until = ? WHERE until IS NOT NULL", [PAST])


def test_of_two_carts_that_fit_one_by_one_one_is_always_made(start, archive):
    entries = hold(archive, 80, MIB)
    caller = start(PULSAR_CART_CACHE_BYTES=str(60 * 10**6))
    carts = {"u": entries[:40], "v": entries[40:]}
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(caller.makes, carts, carts.values()))
    for uid in carts:
        caller.ends(uid)  # perhaps ready, until the other one needs its space
    ends = {caller.ends(uid): uid for uid in carts}
    assert ends.keys() in ({"ready", "error"}, {"ready", "gone"})
    assert_whole(caller, ends["ready"], carts[ends["ready"]], archive)
    if other := ends.get("error"):
        assert caller.message(other) == "Not enough space to download file"
        assert caller.ask("DELETE", ends["ready"])[0] == 200
        caller.makes(other, carts[other])
        assert caller.ends(other) == "ready"


def test_documents_of_very_many_entries_take_bounded_memory(caller, archive):
    def post(count):
        """The answer to so many entries, and B by which the server has grown."""
        line = '{"id":"%d","path":"%d","hashtype":"md5","hashsum":""}'
        body = '{"fileids":[' + ",".join(line % (n, n) for n in range(count)) + "]}"
        before = peaks(caller.site)
        status, _, text = caller.ask("POST", "many", body.encode())
        grown = max(now - before.get(pid, 0) for pid, now in peaks(caller.site).items())
        return status, json.loads(text), grown

    status, answer, grown = post(1_000_000)
    assert (status, answer["code"]) == (413, "too_large")
    assert grown < 256 * MIB
    status, _, grown = post(100_000)
    assert status == 201
    assert grown < 256 * MIB


def peaks(site):
    """The most memory that each process of the server has had, in B."""
    return {pid: found.peak_bytes for pid in site.web_processes() if (found := process(pid))}


@pytest.fixture
def volume(tmp_path):
    """A file system of 60 MB."""
    folder = tmp_path / "volume"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60m", "none", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a full disk was not tried: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_somebody_else_fills_fails_the_cart_and_keeps_no_part(start, archive, volume, wait_until):
    entries = hold(archive, 4, 10 * MIB)
    archive.gate = threading.Event()
    caller = start(PULSAR_STORAGE_URL=f"file:{volume}/blobs", PULSAR_STORAGE_RESERVE_BYTES="0")
    caller.makes("u", entries)
    assert archive.entered.acquire(timeout=30)
    with suppress(OSError), open(volume / "other", "wb", buffering=0) as file:
        while True:
            file.write(bytes(MIB))
    archive.gate.set()
    assert caller.ends("u") == "error"
    assert caller.message("u") == "Not enough space to download file"
    assert files_below(volume / "blobs") <= named_by_carts(
        caller.site
    )  # no part, and nothing that nobody has

    (volume / "other").unlink()
    caller.makes("u", entries)
    assert caller.ends("u") == "ready"
    assert_whole(caller, "u", entries, archive)


def files_below(folder):
    """The names of all files, as blobs are called."""
    return {path.parent.name + path.name for path in folder.rglob("*") if path.is_file()}


def named_by_carts(site):
    with closing(sqlite3.connect(site.instance / "pulsar.db")) as database:
        return {digest for (digest,) in database.execute("SELECT digest FROM cart_entries")}
