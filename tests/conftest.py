"""The site as its users meet it: started by its own command, in a folder of its own, on a free port."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen
from uuid import uuid4

import forked
import pytest
from forked import Forked

from core.testing import databases_for, make_database, why_not
from harness import family

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
START_LIMIT = 60  # s
LIMIT = 300  # s for a command
PAUSE = 0.005  # s between two looks at what is waited for


@dataclass
class Site:
    """A running site. What it prints goes to a file: nobody reads a pipe, and a full one stops its writer."""

    instance: Path
    port: int
    process: subprocess.Popen[bytes] | Forked

    @property
    def log(self) -> Path:
        return self.instance.with_name(f"{self.instance.name}-{self.port}.log")

    @property
    def printed(self) -> str:
        """What the site has printed so far, a line for each request included."""
        return self.log.read_text(encoding="utf-8", errors="replace")

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

    def run(
        self, *command: str, input: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the site or of the client to its end."""
        env = self.environment | environment
        if command[0] == "flask":
            return forked.run(command[1:], cwd=ROOT, env=env, input=input or "", timeout=LIMIT)
        return subprocess.run(
            command, cwd=ROOT, env=env, input=input, text=True, capture_output=True, timeout=LIMIT
        )

    def types(self, script: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Type commands of a page into a shell; the address in them becomes that of this site."""
        (folder / "wsgi.py").write_text((ROOT / "wsgi.py").read_text(encoding="utf-8"), encoding="utf-8")
        return subprocess.run(
            ["bash", "-c", script.replace("http://127.0.0.1:5000", self.url)],
            cwd=folder,
            env=self.environment,
            text=True,
            capture_output=True,
            timeout=LIMIT,
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
        self.process.wait(60)
        return self.printed

    def processes(self) -> list[int]:
        """The site's own process, the web server's, and the worker's."""
        return [member.pid for member in family(self.process.pid)]

    def web_processes(self) -> list[int]:
        """Those of the web server: of the site's two children the one that has children itself."""
        children = [member for member in family(self.process.pid) if member.parent == self.process.pid]
        trees = [[member.pid for member in family(child.pid)] for child in children]
        (found,) = [tree for tree in trees if len(tree) > 1]
        return found

    def person(self, name: str, home: Path) -> "Person":
        """A new user, or the first administrator; with a key and an empty local store."""
        key = self.run("flask", "admin", "key", name).stdout.strip() if name == "admin" else ""
        return Person(self, key or self.key_of_new_user(name), home)


@dataclass
class Person:
    """Somebody who uses the ``pulsar`` command with a store of his own."""

    site: Site
    key: str
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"PULSAR_CLIENT_KEY": self.key, "PULSAR_CLIENT_HOME": str(self.home)}

    @property
    def blobs(self) -> Path:
        """The blobs of the local store."""
        return self.home / "quilt_packages" / "objs"

    def at(self, site: Site, home: Path | None = None) -> "Person":
        """The same person, at the same site after another start, or at another machine."""
        return Person(site, self.key, home or self.home)

    def tries(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command of the client that may fail."""
        return self.site.run("pulsar", *map(str, arguments), **self.environment)

    def does(self, *arguments: str | Path) -> str:
        """Run a command of the client that has to succeed; its standard output."""
        done = self.tries(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def begins(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Begin a command of the client."""
        environment = self.site.environment | self.environment
        return subprocess.Popen(["pulsar", *map(str, arguments)], cwd=ROOT, env=environment)

    def export(self, package: str, folder: Path) -> dict[str, bytes]:
        """Install and export a package: its bytes by path."""
        self.does("install", package)
        self.does("export", package, folder)
        return read_tree(folder)


def read_tree(folder: Path) -> dict[str, bytes]:
    """The bytes of all files by their paths below ``folder``."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Look again and again until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        threading.Event().wait(PAUSE)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of ``address`` runs on the databases that one of ``database`` would run on."""
    if "address" in metafunc.fixturenames:
        metafunc.parametrize("address", databases_for(metafunc), indirect=True)


@pytest.fixture
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of its own for one test."""
    if reason := why_not(request.param):
        pytest.skip(reason)
    yield from make_database(request.param, tmp_path, f"site_{uuid4().hex[:12]}")


def answers(site: Site) -> bool:
    assert site.process.poll() is None, site.printed
    with suppress(URLError, ConnectionError), urlopen(f"{site.url}/health", timeout=5):
        return True
    return False


@pytest.fixture(name="wait_until")
def _wait_until() -> Callable[..., None]:
    """``wait_until(condition, seconds=30)``: instead of a sleep."""
    return wait_until


@contextmanager
def running_sites(folder: Path) -> Iterator[Callable[..., Site]]:
    """``start(name="instance", **settings)``: a site in ``folder`` that answers. All stop at the end.

    ``start(fresh=True)`` starts it as a user does, from nothing, which takes longer.
    """
    started: list[Site] = []

    def start(name: str = "instance", fresh: bool = False, **settings: str) -> Site:
        site = Site(folder / name, free_port(), None)  # type: ignore[arg-type]
        environment = site.environment | {"PORT": str(site.port)} | settings
        if fresh:
            with site.log.open("wb") as log:
                site.process = subprocess.Popen(
                    [str(BIN / "flask"), "serve"], cwd=ROOT, env=environment, stdout=log, stderr=log
                )
        else:
            site.process = Forked(["serve"], cwd=ROOT, env=environment, output=site.log)
        started.append(site)
        wait_until(lambda: answers(site), START_LIMIT)
        return site

    yield start
    for site in started:
        site.stop()
        shutil.rmtree(site.instance, ignore_errors=True)


@pytest.fixture
def start_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """``start_site(name="instance", **settings)``, as :func:`running_sites` has it; stops with the test."""
    with running_sites(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def start_common_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Site]]:
    """The same for a site that all tests of a file use."""
    with running_sites(tmp_path_factory.mktemp("common")) as start:
        yield start
