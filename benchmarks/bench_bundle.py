"""Downloads of carts through the real server, against GNU tar through a pipe.

Of the candidate only the site's processes count, of the reference only tar: who receives throws the bytes
away in both. Files that are read in place lie in the folder that tar packs; fetched ones come from an archive
interface, and lie in the site's own store. A cart of 100,000 files shows
how long the first byte takes, at the start and in the middle, and what it takes of memory.
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from archive import archive
from harness import Measure, Result, Site, command, compare, report, running_site, together

SMALL_FILES, SMALL_BYTES = 1000, 64 * 2**10
LARGE_BYTES = 512 * 2**20
MANY_FILES = 100_000
REPEATS = 10  # downloads that count as one: the site's clock ticks in 10 ms
PIECE = 2**20  # B, of what the receiver reads at a time
SECONDS = 25.0  # for the rounds of one comparison


class Caller:
    """Somebody who makes carts and throws away what is in them."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.address = urlsplit(site.url).netloc
        self.headers = {"Authorization": "Basic " + b64encode(f"admin:{site.key()}".encode()).decode()}

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self.address, timeout=600)
        connection.request(method, f"/cart/{path}", body, self.headers | headers)
        return connection.getresponse()

    def make(self, uid: str, entries: list[dict[str, str]]) -> None:
        """Make a cart and wait until it is ready."""
        answer = self.ask("POST", uid, json.dumps({"fileids": entries}).encode())
        if answer.status != 201:
            raise RuntimeError(f"no cart: {answer.read(2000)!r}")
        while (state := json.load(self.ask("GET", f"{uid}/status?wait=30"))["state"]) != "ready":
            if state == "error":
                raise RuntimeError("the cart failed")
        self.ask("HEAD", uid).read()

    def download(self, uid: str) -> int:
        """How many bytes it has."""
        with self.ask("GET", f"{uid}?filename=data") as answer:
            buffer, count = bytearray(PIECE), 0
            while got := answer.readinto(buffer):
                count += got
            if count != int(answer.headers["Content-Length"]):
                raise RuntimeError("the download broke off")
            return count

    def first_byte(self, uid: str, start: int = 0) -> float:
        """Seconds until the first byte from ``start`` on is here."""
        began = time.perf_counter()
        answer = self.ask("GET", f"{uid}?filename=data", Range=f"bytes={start}-")
        answer.read(1)
        took = time.perf_counter() - began
        answer.close()
        return took


def fill(folder: Path) -> None:
    """Random bytes, in small files and a large one, and very many tiny ones."""
    for name in ("small", "large", "many"):
        (folder / name).mkdir(parents=True)
    for number in range(SMALL_FILES):
        (folder / "small" / f"{number:04}.bin").write_bytes(os.urandom(SMALL_BYTES))
    with open(folder / "large" / "large.bin", "wb") as file:
        for _ in range(LARGE_BYTES // PIECE):
            file.write(os.urandom(PIECE))
    for number in range(MANY_FILES):
        if number % 1000 == 0:
            (folder / "many" / f"{number // 1000:03}").mkdir()
        (folder / "many" / f"{number // 1000:03}" / f"{number:06}.txt").write_bytes(b"%d\n" % number)


def entries(folder: Path, name: str, source: str) -> list[dict[str, str]]:
    return [
        {"id": path, "path": path, "hashtype": "md5", "hashsum": "", "source": source}
        for path in sorted(
            str(one.relative_to(folder)) for one in (folder / name).rglob("*") if one.is_file()
        )
    ]


# As Pacifica's cart daemon does it: one thread packs into a pipe, another sends what comes out of it.
STREAM = """
import os, socket, sys, tarfile, threading
source, sink = os.pipe()
def pack():
    with open(sink, "wb") as file, tarfile.open(fileobj=file, mode="w|") as tar:
        tar.add(sys.argv[1])
threading.Thread(target=pack).start()
connection = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
while piece := os.read(source, 65536):
    connection.sendall(piece)
"""


def tarfile_stream(folder: Path) -> Callable[[], Measure]:
    """Send the small files some times, packed by Python's tarfile."""

    def send(server: socket.socket) -> Measure:
        receiver = threading.Thread(target=throw_away, args=(server,))
        receiver.start()
        took = command(sys.executable, "-c", STREAM, "small", str(server.getsockname()[1]), cwd=folder)
        receiver.join()
        return took

    def send_all() -> Measure:
        with socket.create_server(("127.0.0.1", 0)) as server:
            return together(*(send(server) for _ in range(REPEATS)))

    return send_all


def throw_away(server: socket.socket) -> None:
    """Receive all that one client sends."""
    connection, _ = server.accept()
    buffer = bytearray(PIECE)
    with connection:
        while connection.recv_into(buffer):
            pass


def tar(folder: Path, name: str) -> Callable[[], Measure]:
    """Pack a folder some times; the cost of tar."""

    def pack() -> Measure:
        cpu, began = 0.0, time.perf_counter()
        for _ in range(repeats(name)):
            packing = subprocess.Popen(["tar", "-cf", "-", name], cwd=folder, stdout=subprocess.PIPE)
            assert packing.stdout is not None
            subprocess.run(["cat"], stdin=packing.stdout, stdout=subprocess.DEVNULL, check=True)
            packing.stdout.close()
            _, _, used = os.wait4(packing.pid, 0)
            packing.returncode = 0
            cpu += used.ru_utime + used.ru_stime
        return Measure(time.perf_counter() - began, cpu)

    return pack


def repeats(name: str) -> int:
    return 1 if name == "large" else REPEATS


def benchmark() -> Sequence[Result]:
    results = []
    with tempfile.TemporaryDirectory() as name:
        files = Path(name) / "files"
        fill(files)
        with archive(files) as address:
            settings = {
                "PULSAR_PLUGINS": '["cart"]',
                "PULSAR_CART_DIRECTORY": str(files),
                "PULSAR_CART_ARCHIVE_URL": address,
            }
            with running_site(Path(name), **settings) as site:
                caller = Caller(site)
                for source in ("directory", "archive"):
                    for kind in ("small", "large"):
                        caller.make(f"{kind}-{source}", entries(files, kind, source))
                        results.append(compare_with_tar(caller, files, kind, source))
                results.append(compare_with_tarfile(caller, files))
                caller.make("one", entries(files, "large", "directory"))
                caller.make("many", entries(files, "many", "directory"))
            with running_site(Path(name), **settings) as site:  # whose processes have not made them
                results += look_at_many(Caller(site))
    return results


def compare_with_tar(caller: Caller, files: Path, kind: str, source: str) -> Result:
    uid = f"{kind}-{source}"

    def download() -> Measure:
        return caller.site.measured(lambda: [caller.download(uid) for _ in range(repeats(kind))])

    what = f"{SMALL_FILES} files of 64 KiB" if kind == "small" else f"one file of {LARGE_BYTES // 2**20} MiB"
    where = "read in place" if source == "directory" else "from the store"
    return compare(
        f"{what}, {where}, against GNU tar",
        tar(files, kind),
        download,
        bar="CPU at most 1.5" if kind == "small" else "wall and CPU at most 1.0",
        seconds=SECONDS,
    )


def compare_with_tarfile(caller: Caller, files: Path) -> Result:
    def download() -> Measure:
        return caller.site.measured(lambda: [caller.download("small-directory") for _ in range(REPEATS)])

    return compare(
        f"{SMALL_FILES} files of 64 KiB, read in place, against Python's tarfile through a pipe and a socket",
        tarfile_stream(files),
        download,
        bar="CPU at most 0.25",
        seconds=SECONDS,
    )


def look_at_many(caller: Caller) -> Sequence[Result]:
    """The first byte of a cart of very many files, and what sending it takes of memory."""
    caller.download("one")
    before = caller.site.peak_bytes()
    size = int(
        caller.ask("GET", "many?filename=data", Range="bytes=0-0").headers["Content-Range"].split("/")[1]
    )

    def ask(uid: str, start: int = 0) -> Callable[[], Measure]:
        return lambda: Measure(min(caller.first_byte(uid, start) for _ in range(5)), 0)

    first = compare(
        f"first byte of {MANY_FILES} files against that of one", ask("one"), ask("many"), bar="at most 100 ms"
    )
    middle = compare(
        "first byte in the middle against the start", ask("many"), ask("many", size // 2), bar="1"
    )
    took = caller.site.measured(lambda: caller.download("many"))
    growth = caller.site.peak_bytes() - before
    print(
        f"  {MANY_FILES} files, {size / 2**20:.0f} MiB: {took.wall:.2f} s, {took.cpu:.2f} s of CPU;"
        f" memory grew by {growth / 2**20:.1f} MiB (bar: 16)"
    )
    return [first, middle]


if __name__ == "__main__":
    report(benchmark, __doc__)
