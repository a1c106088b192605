"""Push and install of one file of 1 GiB, against ``cp`` and ``sha256sum`` of the same file.

Both client and site count, and the bytes are new in each round. A push reads the client's store, and an
install fills an empty one. What each of them writes is on the disk when it ends, so the reference's copy is
synced too.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness import Measure, Result, Site, command, compare, report, running_site, together

SIZE = 2**30  # B
PIECE = 2**20  # B, of what is written at a time
SECONDS = 90.0  # for the rounds; making the file and the round that does not count come on top
BAR = "none; a push hashes on one side, an install on the other"
PULSAR = Path(sys.executable).with_name("pulsar")
PACKAGE = "admin/large"


class Large:
    """A file whose beginning changes in each round."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.folder, self.site = folder, site
        self.source, self.copy = folder / "source.bin", folder / "copy.bin"
        self.environment = site.environment | {"PULSAR_CLIENT_KEY": site.key()}
        self.number = 0
        self.installs: list[Measure] = []
        with self.source.open("wb") as file:
            for _ in range(SIZE // PIECE):
                file.write(os.urandom(PIECE))

    def reference(self) -> Measure:
        """``sha256sum`` and a synced copy."""
        self.copy.unlink(missing_ok=True)
        hashed = command("sha256sum", self.source, stdout=subprocess.DEVNULL)
        return together(hashed, command("cp", self.source, self.copy), command("sync", self.copy))

    def candidate(self) -> Measure:
        """Push of bytes that the site does not have; an install of them is noted beside it."""
        self.number += 1
        with self.source.open("r+b") as file:
            file.write(self.number.to_bytes(8, "big"))
        self._pulsar("build", PACKAGE, self.source)
        push = self._pulsar("push", PACKAGE)
        self._empty()
        self.installs.append(self._pulsar("install", PACKAGE))
        self._empty()
        for blob in (self.site.instance / "blobs" / "sha256").glob("*/*"):
            # Behind the site's back, so that the disk need not hold all rounds.
            if blob.stat().st_size == SIZE:
                blob.unlink()
        return push

    def _pulsar(self, *arguments: str | Path) -> Measure:
        environment = self.environment | {"PULSAR_CLIENT_HOME": str(self.folder / "home")}
        return self.site.client(
            PULSAR, *arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def _empty(self) -> None:
        shutil.rmtree(self.folder / "home")


def benchmark() -> Sequence[Result]:
    with tempfile.TemporaryDirectory() as name, running_site(Path(name)) as site:
        large = Large(Path(name), site)
        before = site.peak_bytes()
        pushed = compare(
            "push of 1 GiB against cp + sha256sum",
            large.reference,
            large.candidate,
            bar=BAR,
            seconds=SECONDS,
        )
        installs = large.installs[-len(pushed.candidates) :]
        installed = Result("install of 1 GiB against cp + sha256sum", BAR, pushed.references, installs)
        print("\n".join(installed.lines()))
        growth = site.peak_bytes() - before
        print(f"a process of the site held at most {before / 2**20:.0f} MiB before the first byte and")
        print(f"{growth / 2**20:.0f} MiB more afterwards")
        return [pushed, installed]


if __name__ == "__main__":
    report(benchmark, __doc__)
