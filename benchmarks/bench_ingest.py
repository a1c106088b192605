"""Ingest of 1 GiB over HTTP by a running site, against ``sha256sum`` and ``cp`` of the same file.

The bytes are sent to a signed link, as ``pulsar push`` sends large blobs, and are new to the site each time.
Of the candidate only the site's processes count; the sender just copies a file into a socket. Both sides end
with the copy on the disk: the site syncs before it answers, and so does the reference.

``sha256sum`` may be slower than it need be: many distributions build it without the processor's SHA
instructions, which OpenSSL, and so the site, uses where there are any. Therefore the second result has
hashlib in its place. It is the harder one on such machines.
"""

import functools
import http.client
import json
import os
import subprocess
import sys
import tempfile
from hashlib import file_digest
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from harness import Measure, Result, Site, command, compare, report, running_site, together

SIZE = 2**30  # B
PIECE = 2**20  # B, of what the sender reads and writes at a time
SECONDS = 55.0  # for the rounds; making the file and the round that does not count come on top
BAR = "CPU at most 1.5 where SHA-256 has no hardware help"
HASH = "import hashlib, sys; print(hashlib.file_digest(open(sys.argv[1], 'rb'), 'sha256').hexdigest())"


class Ingest:
    """A file whose beginning changes each time it is sent, and the two ways in which it is stored."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.source = folder / "source"
        self.copy = folder / "copy"
        self.site = site
        self.headers = {"Authorization": f"Token {site.key()}", "Content-Type": "application/json"}
        self.number = 0
        self.with_hashlib: list[Measure] = []
        with self.source.open("wb") as file:
            for _ in range(SIZE // PIECE):
                file.write(os.urandom(PIECE))

    def reference(self) -> Measure:
        """``sha256sum`` and a synced copy; hashlib in place of ``sha256sum`` is noted beside it."""
        self.copy.unlink(missing_ok=True)
        copied = together(command("cp", self.source, self.copy), command("sync", self.copy))
        hashed = command("sha256sum", self.source, stdout=subprocess.DEVNULL)
        again = command(sys.executable, "-c", HASH, self.source, stdout=subprocess.DEVNULL)
        self.with_hashlib.append(together(again, copied))
        return together(hashed, copied)

    def candidate(self) -> Measure:
        """The site takes bytes that it does not have."""
        self.number += 1
        with self.source.open("r+b") as file:
            file.write(self.number.to_bytes(8, "big"))
        with self.source.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        measure = self.site.measured(functools.partial(self._send, self._ask_for_link(digest)))
        # Behind the site's back, so that the disk need not hold all rounds.
        (self.site.instance / "blobs" / "sha256" / digest[:2] / digest[2:]).unlink()
        return measure

    def _ask_for_link(self, digest: str) -> str:
        question = json.dumps({"objects": {digest: SIZE}}).encode()
        request = Request(f"{self.site.url}/api/objects/missing", question, self.headers)
        with urlopen(request) as answer:
            return str(json.load(answer)["missing"][digest])

    def _send(self, link: str) -> None:
        parts = urlsplit(link)
        connection = http.client.HTTPConnection(urlsplit(self.site.url).netloc, blocksize=PIECE, timeout=120)
        try:
            with self.source.open("rb") as file:
                connection.request("PUT", f"{parts.path}?{parts.query}", file, {"Content-Length": str(SIZE)})
                answer = connection.getresponse()
                text = answer.read()
        finally:
            connection.close()
        if answer.status != 201:
            raise RuntimeError(f"The site answered {answer.status}: {text[:500]!r}")


def benchmark() -> list[Result]:
    with tempfile.TemporaryDirectory() as name, running_site(Path(name)) as site:
        ingest = Ingest(Path(name), site)
        before = site.peak_bytes()
        result = compare(
            "ingest of 1 GiB against sha256sum + cp",
            ingest.reference,
            ingest.candidate,
            bar=BAR,
            seconds=SECONDS,
        )
        rounds = len(result.candidates)
        harder = Result(
            "ingest of 1 GiB against hashlib + cp",
            "none; with hardware help, BLAKE3 and CRC-32 weigh more than SHA-256",
            ingest.with_hashlib[-rounds:],
            result.candidates,
        )
        print("\n".join(harder.lines()))
        growth = site.peak_bytes() - before
        print(f"a process of the site held at most {before / 2**20:.0f} MiB before the first byte and")
        print(f"{growth / 2**20:.0f} MiB more after {(rounds + 1) * SIZE / 2**30:.0f} GiB")
        return [result, harder]


if __name__ == "__main__":
    report(benchmark, __doc__)
