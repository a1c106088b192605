"""The published archive interface, downloader and command line of Pacifica, in an environment of their own.

They need a Python that is older than the oldest of this site. They are installed once, into ``.clients`` at
the root of the repository, from wherever pip is set to take packages.
"""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path

from old_pythons import NotInstalled, find_python

import install

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".clients" / "pacifica"
PACKAGES = ("pacifica-archiveinterface==0.4.2", "pacifica-downloader==0.4.1", "pacifica-cli==0.5.2")
INSTALL_LIMIT = 600  # s; it takes about 60
START_LIMIT = 60  # s


@cache
def installed() -> Path:
    """The folder with the commands; installs them if they are not there. One process at a time.

    :raises NotInstalled: if they cannot be installed here.
    """
    FOLDER.parent.mkdir(exist_ok=True)
    with (FOLDER.parent / "pacifica.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp, wanted = FOLDER / "installed.json", json.dumps([str(FOLDER), *PACKAGES])
        if not (stamp.is_file() and stamp.read_text() == wanted):
            python = find_python(8)
            shutil.rmtree(FOLDER, ignore_errors=True)
            _run(python, "-m", "venv", str(FOLDER))
            _run(
                str(FOLDER / "bin" / "python"), "-m", "pip", "install", "--quiet", "--retries", "1", *PACKAGES
            )
            stamp.write_text(wanted)
    return FOLDER / "bin"


def _run(*command: str) -> None:
    # Folders of wheels that a machine offers are for its own Pythons.
    environment = {name: value for name, value in os.environ.items() if name not in install.FOREIGN}
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    try:
        done = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=INSTALL_LIMIT)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"installing took longer than {INSTALL_LIMIT} s") from None
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise NotInstalled(f"they could not be installed: {reason}")


@contextmanager
def archive_interface(folder: Path) -> Iterator[str]:
    """The published archive interface over a folder, on a free port; its address."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    folder.mkdir()
    config = folder.parent / "archive.ini"
    config.write_text("[/]\nrequest.dispatch = cherrypy.dispatch.MethodDispatcher()\n")
    command: list[str | Path] = [installed() / "pacifica-archiveinterface", "-t", "posix", "--prefix", folder]
    command += ["--cherrypy-config", config, "-c", folder.parent / "none.ini"]
    with (folder.parent / "archive.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-a", "127.0.0.1", "-p", str(port)], cwd=folder.parent, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + START_LIMIT
        while not _answers(port):
            assert process.poll() is None, (folder.parent / "archive.log").read_text()
            assert time.monotonic() < deadline, "the archive interface does not answer"
            threading.Event().wait(0.05)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
