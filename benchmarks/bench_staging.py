"""Staging of carts through the real server and its worker, from an archive interface on the same machine.

The reference fetches the same bytes from the same archive over one connection that is kept, compares their
MD5, and writes each file into a folder. The candidate is a cart, from its POST until HEAD says that it is
ready. The archive has a process of its own, and of both sides only the time on the clock matters.
"""

import hashlib
import http.client
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

from archive import archive, count_requests
from bench_bundle import Caller
from harness import Measure, Result, Site, compare, family, report, running_site

KINDS = {"medium": (1000, 64 * 2**10), "small": (10_000, 2**10)}  # files, B of each
LOOK = 0.1  # s between two looks at whether a cart is ready
Entries = list[dict[str, str]]


def fill(folder: Path) -> dict[str, Entries]:
    """Random bytes, and how their files are posted."""
    found: dict[str, Entries] = {}
    for kind, (files, size) in KINDS.items():
        (folder / kind).mkdir(parents=True)
        found[kind] = []
        for number in range(files):
            data = os.urandom(size)
            path = f"{kind}/{number:05}.bin"
            (folder / path).write_bytes(data)
            digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
            found[kind].append({"id": path, "path": path, "hashtype": "md5", "hashsum": digest})
    return found


def fetch(address: str, entries: Entries, folder: Path) -> None:
    """Fetch, compare and write each file, one after the other."""
    folder.mkdir()
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    for number, entry in enumerate(entries):
        connection.request("GET", "/" + entry["id"].replace("/", "%2F"))
        data = connection.getresponse().read()
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != entry["hashsum"]:
            raise RuntimeError("the archive sent something else")
        (folder / str(number)).write_bytes(data)
    connection.close()
    shutil.rmtree(folder)


class Stager:
    """Makes carts of files that the site does not have."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self._names = (f"cart-{number}" for number in count())
        self._last = ""

    def stage(self, entries: Entries) -> Measure:
        """Have a new cart made ready; the one before is deleted first, which is not measured."""
        if self._last:
            self.caller.ask("DELETE", self._last).read()
        self._last = next(self._names)
        return self.again(entries, self._last)

    def again(self, entries: Entries, uid: str = "again") -> Measure:
        """Have a cart made ready of files some of which may be here."""
        body = json.dumps({"fileids": entries}).encode()

        def make() -> None:
            answer = self.caller.ask("POST", uid, body)
            if answer.status != 201:
                raise RuntimeError(f"no cart: {answer.read(2000)!r}")
            while (state := self.caller.ask("HEAD", uid).headers["X-Pacifica-Status"]) != "ready":
                if state == "error":
                    raise RuntimeError("the cart failed")
                time.sleep(LOOK)

        return self.caller.site.measured(make)


def benchmark() -> Sequence[Result]:
    results = []
    with tempfile.TemporaryDirectory() as name:
        files = Path(name) / "files"
        posted = fill(files)
        with archive(files) as address:
            settings = {"PULSAR_PLUGINS": '["cart"]', "PULSAR_CART_ARCHIVE_URL": address}
            with running_site(Path(name), **settings) as site:
                stager = Stager(Caller(site))
                for kind, bar in (("medium", "wall at most 3.0"), ("small", "candidate at most 60 s")):
                    number, size = KINDS[kind]
                    results.append(
                        compare(
                            f"{number:,} files of {size // 2**10} KiB until they are ready, against one"
                            " connection that fetches them",
                            partial(fetch, address, posted[kind], Path(name) / "fetched"),
                            partial(stager.stage, posted[kind]),
                            bar=bar,
                            rounds=3,
                        )
                    )
                    again(stager, posted[kind], address)
                print("\n".join(memory(site)))
    return results


def again(stager: Stager, entries: Entries, address: str) -> None:
    """A second cart of the same files, which are here."""
    before = count_requests(address)
    took = stager.again(entries)
    asked = count_requests(address) - before
    print(
        f"  a second cart of these: {took.wall:.2f} s (bar: 1 s), {took.cpu:.2f} s of CPU;"
        f" {asked} requests to the archive (bar: 0)"
    )
    stager.caller.ask("DELETE", "again").read()


def memory(site: Site) -> Iterator[str]:
    """The peak of each process of the site."""
    yield "  memory of the site at the peak:"
    for process in family(site.pid):
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        yield f"    {process.peak_bytes / 2**20:4.0f} MiB  {command[-40:]}"


if __name__ == "__main__":
    report(benchmark, __doc__)
