"""``GET /api/package/...`` of a tree with 10,000 objects, against serialising the same JSON.

Of the candidate only the site's processes count; the reader throws the answer away. The reference is Python's
own ``json`` with the answer of the site, in one process that runs already.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.request import Request, urlopen

from harness import Measure, Result, Site, command, compare, report, running_site

FILES = 10_000
PER_FOLDER = 100
REPEATS = 10  # answers that count as one: the site's clock ticks in 10 ms
BAR = "CPU at most 3"
PULSAR = Path(sys.executable).with_name("pulsar")
PACKAGE = "admin/many"


class Answer:
    """A package of many small files, and what the site says of it."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.site = site
        key = site.key()
        environment = site.environment | {
            "PULSAR_CLIENT_KEY": key,
            "PULSAR_CLIENT_HOME": str(folder / "home"),
        }
        for number in range(FILES):
            path = folder / "tree" / f"{number // PER_FOLDER:03}" / f"{number:05}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(16))
        for arguments in (("build", PACKAGE, folder / "tree"), ("push", PACKAGE)):
            command(PULSAR, *arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.headers = {"Authorization": f"Token {key}"}
        digest = json.loads(self._get(f"/api/tag/{PACKAGE}/latest"))["hash"]
        self.path = f"/api/package/{PACKAGE}/{digest}"
        self.content = json.loads(self._get(self.path))
        if len(self.content["urls"]) != FILES:
            raise RuntimeError(f"{FILES} objects were pushed, {len(self.content['urls'])} are in the answer.")

    def _get(self, path: str) -> bytes:
        with urlopen(Request(self.site.url + path, headers=self.headers)) as answer:
            return bytes(answer.read())

    def serialised(self) -> None:
        """The same JSON by Python's own ``json``, again and again."""
        for _ in range(REPEATS):
            json.dumps(self.content, separators=(",", ":")).encode()

    def answered(self) -> Measure:
        """The whole tree, again and again."""
        return self.site.measured(lambda: [self._get(self.path) for _ in range(REPEATS)])


def benchmark() -> Sequence[Result]:
    with tempfile.TemporaryDirectory() as name, running_site(Path(name)) as site:
        answer = Answer(Path(name), site)
        return [
            compare(
                f"GET of a tree of {FILES} objects against serialising it, {REPEATS} times",
                answer.serialised,
                answer.answered,
                bar=BAR,
                seconds=30,
            )
        ]


if __name__ == "__main__":
    report(benchmark, __doc__)
