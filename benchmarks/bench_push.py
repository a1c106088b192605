"""Push and install of 10,000 files of 4 KiB, against ``tar`` and ``sha256sum`` of the same tree.

Both client and site count, and all bytes are new in each round. The first result is ``pulsar push`` alone,
the second ``pulsar build`` and ``pulsar push``, which read and hash what the reference reads and hashes,
the third ``pulsar install`` of the same package into an empty store.

Then nothing has changed and all is pushed again, against a bare scan of the tree (``os.scandir`` and
``stat``): in one process that runs already, and as commands, where starting Python is most of it.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness import Measure, Result, Site, command, compare, measured, report, running_site, together
from pulsar_client import Client

FILES = 10_000
FILE_BYTES = 4096
PER_FOLDER = 100
REPEATS = 10  # scans, and pushes of what is unchanged, that count as one: the site's clock ticks in 10 ms
BAR = "CPU at most 2"
PULSAR = Path(sys.executable).with_name("pulsar")
PACKAGE = "admin/many"
# $1 the tree, $2 what comes out.
REFERENCE = (
    'tar -cf "$2" -C "$1" . && find "$1" -type f -print0 | xargs -0 sha256sum > "$2.sums"'
    ' && sync "$2" "$2.sums"'
)
SCAN = """
import os, sys
def scan(folder):
    for entry in os.scandir(folder):
        if entry.is_dir():
            scan(entry.path)
        else:
            entry.stat()
"""


class Tree:
    """A tree whose files are all new when asked for, and a local store that is empty then."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.folder, self.site = folder, site
        self.tree, self.home = folder / "tree", folder / "home"
        self.number = 0
        self.key = site.key()
        self.environment = site.environment | {"PULSAR_CLIENT_KEY": self.key}
        self.pushes: list[Measure] = []
        self.installs: list[Measure] = []

    def renew(self) -> None:
        # Nothing is removed before the end: ext4 makes files ten times slower while others were just deleted.
        self.number += 1
        self.home = self.folder / f"home{self.number}"
        for number in range(FILES):
            path = self.tree / f"{number // PER_FOLDER:03}" / f"{number:05}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(FILE_BYTES))
        os.sync()  # otherwise whoever syncs first pays for these files too

    def reference(self) -> Measure:
        """``tar`` and ``sha256sum`` of a new tree."""
        self.renew()
        return command("sh", "-ec", REFERENCE, "sh", self.tree, self.folder / "tree.tar")

    def candidate(self) -> Measure:
        """Build and push of the same tree; the push alone and an install are noted beside it."""
        build = self._pulsar("build", PACKAGE, self.tree)
        push = self._pulsar("push", PACKAGE)
        self.pushes.append(push)
        self.installs.append(self._pulsar("install", PACKAGE, home=Path(f"{self.home}-installed")))
        return together(build, push)

    def _pulsar(self, *arguments: str | Path, home: Path | None = None) -> Measure:
        environment = self.environment | {"PULSAR_CLIENT_HOME": str(home or self.home)}
        return self.site.client(
            PULSAR, *arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def scans(self) -> None:
        """A bare scan, again and again."""
        for _ in range(REPEATS):
            scan(str(self.tree))

    def unchanged_pushes(self) -> Measure:
        """Build and push of what is unchanged, again and again, by one process."""
        before = self.site.cpu()
        with Client(self.site.url, self.key, self.home) as client:
            measure = measured(lambda: self._build_and_push(client))
        return Measure(measure.wall, measure.cpu + self.site.cpu() - before)

    def _build_and_push(self, client: Client) -> None:
        for _ in range(REPEATS):
            client.build(PACKAGE, self.tree)
            if not client.push(PACKAGE).unchanged:
                raise RuntimeError("The second push was not recognised.")

    def scan_command(self) -> Measure:
        """A bare scan by a Python of its own."""
        return command(sys.executable, "-c", SCAN + "scan(sys.argv[1])", self.tree)

    def unchanged_commands(self) -> Measure:
        """``pulsar build`` and ``pulsar push`` of what is unchanged."""
        return together(self._pulsar("build", PACKAGE, self.tree), self._pulsar("push", PACKAGE))


def scan(folder: str) -> None:
    """Look at every file of a tree, and at nothing in it."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                scan(entry.path)
            else:
                entry.stat()


def requests(log: str) -> list[str]:
    """Method and path of each request but those for the site's health."""
    found = re.findall(r"pulsar\.access: (\w+ \S+)", log)
    return [request for request in found if not request.endswith("/health")]


def benchmark() -> Sequence[Result]:
    with tempfile.TemporaryDirectory() as name, running_site(Path(name)) as site:
        tree = Tree(Path(name), site)
        built = compare(
            f"build and push of {FILES} files against tar + sha256sum",
            tree.reference,
            tree.candidate,
            bar="none; the store of the client is written and synced too",
            seconds=90,
        )
        rounds = len(built.candidates)
        pushed, installed = (
            Result(f"{what} of {FILES} files against tar + sha256sum", bar, built.references, some[-rounds:])
            for what, bar, some in (("push", BAR, tree.pushes), ("install", "none", tree.installs))
        )
        for result in (pushed, installed):
            print("\n".join(result.lines()))
        told = requests(site.log())
        print(f"  {len(told) / len(tree.pushes):.0f} requests for a push and an install")
        print(f"  peak of a process of the site: {site.peak_bytes() / 2**20:.0f} MiB")
        warm = compare(
            f"build and push of {FILES} unchanged files against a scan, {REPEATS} times in one process",
            tree.scans,
            tree.unchanged_pushes,
            bar=BAR,
            seconds=20,
        )
        before = len(requests(site.log()))
        cold = compare(
            f"pulsar build and pulsar push of {FILES} unchanged files against a scan by python",
            tree.scan_command,
            tree.unchanged_commands,
            bar="none; Python and its modules are loaded twice",
            seconds=20,
        )
        told = requests(site.log())[before:]
        number = len(told) / (len(cold.candidates) + 1)
        print(f"  {number:.0f} requests for a push: {', '.join(sorted(set(told)))}")
        return [pushed, built, installed, warm, cold]


if __name__ == "__main__":
    report(benchmark, __doc__)
