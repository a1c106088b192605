"""The site as its users meet it: started by its own command, in a folder of its own, on a free port."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
START_LIMIT = 60  # s


@dataclass
class Site:
    """A running site."""

    instance: Path
    port: int
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """For commands that shall speak to this site."""
        keep = {name: value for name, value in os.environ.items() if not name.startswith("PULSAR_")}
        return keep | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PULSAR_INSTANCE_PATH": str(self.instance),
            "PULSAR_CLIENT_URL": self.url,
        }

    def run(self, *command: str, input: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the site or of the client to its end."""
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment | environment,
            input=input,
            text=True,
            capture_output=True,
            timeout=300,
        )

    def key_of_new_user(self, name: str) -> str:
        """Make an ordinary user and a key."""
        made = self.run(
            "flask", "admin", "create", "--username", name, "--email", f"{name}@example.org",
            "--password-stdin", "--class", "User", input="correct horse 1!\n",
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        return self.run("flask", "admin", "key", name).stdout.strip()

    def stop(self, number: signal.Signals = signal.SIGINT) -> str:
        """Send a signal and wait; what the site had printed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.communicate(timeout=60)[0]


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_it_answers(site: Site) -> None:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        assert site.process.poll() is None, site.process.communicate()[0]
        try:
            urlopen(f"{site.url}/health", timeout=5).close()
        except (URLError, ConnectionError):
            continue
        return
    raise AssertionError("the site did not answer")


@pytest.fixture
def start_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """``start_site(name="instance", **settings)``: a site that answers. It stops with the test."""
    started: list[Site] = []

    def start(name: str = "instance", **settings: str) -> Site:
        site = Site(tmp_path / name, free_port(), None)  # type: ignore[arg-type]
        environment = site.environment | {"PORT": str(site.port)} | settings
        site.process = subprocess.Popen(
            [str(BIN / "flask"), "serve"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(site)
        wait_until_it_answers(site)
        return site

    yield start
    for site in started:
        site.stop()
        shutil.rmtree(site.instance, ignore_errors=True)
