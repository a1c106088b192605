"""The published ``quilt`` client in an environment of its own, and people who use it.

It needs a Python that is older than the oldest of this site, with libraries from its time. They are
installed once, into ``.clients`` at the root of the repository, from wherever pip is set to take packages.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from inspect import getsource
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, build_opener

from old_pythons import NotInstalled, find_python

import install

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".clients" / "quilt-2.9.15"
# The newest of each that CPython 3.6 runs, and that the client of 2019 works with.
PIP = "pip==21.3.1"
PACKAGES = ("quilt==2.9.15", "pandas==1.1.5", "pyarrow==6.0.1", "xlrd==1.2.0")
INSTALL_LIMIT = 300  # s; it takes about 20
LIMIT = 120  # s for a command of the client; most take one


@cache
def installed() -> Path:
    """The folder with the client's commands; installs it if it is not there. One process at a time.

    :raises NotInstalled: if it cannot be installed here.
    """
    FOLDER.parent.mkdir(exist_ok=True)
    with (FOLDER.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp, wanted = FOLDER / "installed.json", json.dumps([str(FOLDER), PIP, *PACKAGES])
        if not (stamp.is_file() and stamp.read_text() == wanted and _starts(FOLDER / "bin")):
            python = find_python(6)
            shutil.rmtree(FOLDER, ignore_errors=True)
            _install(python)
            stamp.write_text(wanted)
    return FOLDER / "bin"


def _starts(commands: Path) -> bool:
    try:
        return subprocess.run([commands / "quilt", "--version"], capture_output=True).returncode == 0
    except OSError:
        return False


def _install(python: str) -> None:
    # Folders of wheels that a machine offers are for its own Pythons; these would win over what is asked for.
    nothing = FOLDER.parent / "no-wheels"
    nothing.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in install.FOREIGN}
    environment |= {"PIP_FIND_LINKS": str(nothing), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    pip: list[str | Path] = [
        FOLDER / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--retries",
        "1",
        "--timeout",
        "30",
    ]
    commands: list[list[str | Path]] = [
        [python, "-m", "venv", FOLDER],
        [*pip, PIP],
        [*pip, "--only-binary", ":all:", *PACKAGES],
    ]
    for command in commands:
        try:
            done = subprocess.run(
                command, env=environment, text=True, capture_output=True, timeout=INSTALL_LIMIT
            )
        except subprocess.TimeoutExpired:
            raise NotInstalled(f"installing the client took longer than {INSTALL_LIMIT} s") from None
        if done.returncode:
            reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
            raise NotInstalled(f"the client could not be installed: {reason}")


class Forks:
    """Commands of the client as forks of one process, which saves each a second; see ``quilt_forks.py``."""

    def __init__(self) -> None:
        program = Path(__file__).with_name("quilt_forks.py")
        self._process = subprocess.Popen(
            [installed() / "python", "-W", "ignore", program], env={"LC_ALL": "C.UTF-8"}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(
        self, arguments: tuple[str, ...], environment: dict[str, str], folder: Path, input: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with TemporaryDirectory() as place:
            files = {name: Path(place, name) for name in ("input", "output", "errors")}
            files["input"].write_text(input, encoding="utf-8")
            command = {"arguments": arguments, "environment": environment, "folder": str(folder)}
            command |= {name: str(path) for name, path in files.items()}
            print(json.dumps(command), file=self._process.stdin, flush=True)
            status = int(self._process.stdout.readline())
            output, errors = (files[name].read_text("utf-8") for name in ("output", "errors"))
        return subprocess.CompletedProcess(arguments, status, output, errors)

    def close(self) -> None:
        self._process.communicate()


@cache
def forks() -> Forks:
    """Those of this test process."""
    return Forks()


class _Form(HTMLParser):
    """The fields of a page, and where its form goes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = found["action"]
        elif tag == "input" and (name := found.get("name") or found.get("id")):
            self.fields[name] = found.get("value", "")


class Browser:
    """A browser without a window: it keeps cookies and fills in forms."""

    def __init__(self) -> None:
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()))
        self.url = ""
        self.form = _Form("")

    def open(self, url: str, form: dict[str, str] | None = None) -> None:
        with self._opener.open(url, urlencode(form).encode() if form else None, timeout=30) as page:
            self.url, self.form = page.url, _Form(page.read().decode())

    def fill_in(self, **fields: str) -> None:
        """Send the form of the page with these fields."""
        self.open(urljoin(self.url, self.form.action), self.form.fields | fields)


@dataclass
class QuiltUser:
    """Somebody with the published client at a machine of his own."""

    name: str
    home: Path
    url: str = ""  # of the site; empty: as ``quilt config`` said
    store: Path | None = None  # the local store; none: his own

    def __post_init__(self) -> None:
        """Set up the machine: what the client takes for a browser writes down what it shall open."""
        self.bin = installed()
        (self.home / "bin").mkdir(parents=True)
        browser = self.home / "bin" / "xdg-open"
        part = f"{self.opened}.part"
        browser.write_text(f'#!/bin/sh\necho "$1" > "{part}"\nmv "{part}" "{self.opened}"\n')
        browser.chmod(0o755)

    @property
    def opened(self) -> Path:
        """Holds the address that the client told the browser to open."""
        return self.home / "opened"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "XDG_DATA_HOME": str(self.home / "data"),
            "PATH": f"{self.home}/bin:{self.bin}:/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",  # the client prints what people wrote
            **({"QUILT_PKG_URL": self.url} if self.url else {}),
            **({"QUILT_PRIMARY_PACKAGE_DIR": str(self.store)} if self.store else {}),
        }

    def begins(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Begin a command of the client, which may ask for something."""
        return subprocess.Popen(
            [str(self.bin / "quilt"), *map(str, arguments)], env=self.environment, cwd=self.home, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def tries(self, *arguments: str | Path, input: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command of the client that may fail."""
        return forks().run(tuple(map(str, arguments)), self.environment, self.home, input)

    def does(self, *arguments: str | Path, input: str = "") -> str:
        """Run a command of the client that has to succeed; its standard output."""
        done = self.tries(*arguments, input=input)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def fails(self, *arguments: str | Path, input: str = "") -> str:
        """Run a command of the client that has to fail with a sentence; its last line."""
        done = self.tries(*arguments, input=input)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stderr.strip().splitlines()[-1]

    def runs(self, program: str, *arguments: str) -> str:
        """Run a Python program that imports the client; its standard output."""
        done = subprocess.run(
            [self.bin / "python", "-W", "ignore", "-c", program, *arguments],
            env=self.environment, cwd=self.home, text=True, capture_output=True, timeout=LIMIT,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def push(self, *arguments: str) -> str:
        """Push; the address that the client shows in the end."""
        printed = self.does("push", *arguments)
        assert "Push complete." in printed
        return printed.strip().splitlines()[-1]

    def hash_of(self, package: str) -> str:
        """The top hash of the local ``latest``."""
        folder = self.home / "data" / "QuiltCli" / "quilt_packages" / "pkgs" / "Quilt" / package
        return (folder / "tags" / "latest").read_text()

    def auth(self) -> dict[str, str]:
        """What the client keeps of its sign-in."""
        (found,) = json.loads((self.home / "data" / "QuiltCli" / "auth.json").read_text()).values()
        return found

    def frames(self, package: str, *paths: str) -> dict[str, Any]:
        """Tables of an installed package, as the client loads them; see :func:`describe`."""
        program = f"import hashlib, json, sys\nimport quilt\n{getsource(describe)}{LOAD_FRAMES}"
        found: dict[str, Any] = json.loads(self.runs(program, package, *paths))
        return found


LOAD_FRAMES = """
root, found = quilt.load(sys.argv[1]), {}
for path in sys.argv[2:]:
    node = root
    for name in path.split("/"):
        node = node[name]
    found[path] = describe(node())
print(json.dumps(found))
"""


def describe(frame):
    """A table of any pandas: number of values and digest of each column, a missing value being empty text.

    The client's Python runs it too.
    """

    def text(value):
        return "" if value is None or value != value else str(value)

    columns = {str(name): [text(value) for value in frame[name]] for name in frame.columns}
    return {name: [len(c), hashlib.sha256(repr(c).encode()).hexdigest()] for name, c in columns.items()}
