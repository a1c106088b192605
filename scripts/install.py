"""Bring .venv to what Pipfile.lock asks for, and do nothing if it is there already.

The Makefile calls this before every target that needs the environment, so the common case is a look at one
file. Pipenv lives in .tools, apart from what it installs. Each of the two folders gets a stamp when it is
complete, and loses it before it is touched: a folder without a stamp was left half-done and is built again
from nothing.
"""

from __future__ import annotations  # so that an older Python gets as far as the sentence at the end

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
VENV = ROOT / ".venv"
PIPENV = "pipenv==2026.10.3"
SETTINGS = {
    "PIPENV_PIPFILE": str(ROOT / "Pipfile"),
    "PIPENV_VENV_IN_PROJECT": "1",
    "PIPENV_IGNORE_VIRTUALENVS": "1",
    "PIPENV_NOSPIN": "1",
    "PIPENV_QUIET": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}
# What is active or set in the caller's shell for another project is not ours to install into or from.
FOREIGN = {
    "VIRTUAL_ENV",
    "PYTHONHOME",
    "PYTHONPATH",
    "PIPENV_ACTIVE",
    "PIPENV_PYTHON",
    "PIP_USER",
    "PIP_TARGET",
}


def run(*command: str | Path) -> None:
    """Run a command of the installation from the root of the repository.

    :raises SystemExit: if it fails; the command has then said why.
    """
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN} | SETTINGS
    status = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL).returncode
    if status:
        sys.exit(f"Installing failed: {' '.join(map(str, command))} ended with status {status}.")


def stamp_of(folder: Path) -> Path:
    return folder / "installed.json"


def python_version(folder: Path) -> str:
    """Full version of a virtual environment's Python, asked of that Python itself."""
    program = "import platform; print(platform.python_version())"
    answer = subprocess.run([folder / "bin" / "python", "-I", "-c", program], capture_output=True, check=True)
    return answer.stdout.decode().strip()


def read_stamp(folder: Path) -> dict[str, Any]:
    """What a virtual environment was completed with; empty if it is not to be trusted.

    It is not when its Python no longer starts or has changed, nor when it was moved or copied (its commands
    name it by its full path), nor when it is of another minor version than the Python that runs this.
    """
    try:
        stamp: dict[str, Any] = json.loads(stamp_of(folder).read_text())
        version = python_version(folder)
        in_place = stamp["folder"] == str(folder) and stamp["python"] == version
    except (OSError, ValueError, KeyError, TypeError, subprocess.CalledProcessError):
        return {}
    return stamp if in_place and version.startswith("{}.{}.".format(*sys.version_info)) else {}


@contextlib.contextmanager
def building(folder: Path, **contents: Any) -> Iterator[None]:
    """Open a complete virtual environment, or make a new one, and stamp it when the block has succeeded."""
    if not read_stamp(folder):
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
        run(sys.executable, "-m", "venv", folder)
    stamp_of(folder).unlink(missing_ok=True)
    yield
    contents |= {"folder": str(folder), "python": python_version(folder)}
    stamp_of(folder).write_text(json.dumps(contents))


def declared() -> str:
    """Digest of everything that decides what is installed: the lock, and what our packages declare."""
    digest = hashlib.sha256()
    packages = [*ROOT.glob("*/pyproject.toml"), *ROOT.glob("plugins/*/pyproject.toml")]
    for path in (ROOT / "Pipfile.lock", *sorted(packages)):
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def install_tools() -> None:
    """Put pipenv into .tools."""
    if read_stamp(TOOLS).get("pipenv") == PIPENV:
        return
    print("Installing pipenv into .tools ...", flush=True)
    with building(TOOLS, pipenv=PIPENV):
        run(TOOLS / "bin" / "python", "-m", "pip", "install", "--quiet", PIPENV)


def install(dev: bool) -> None:
    """Put what the server needs into .venv, and with ``dev`` what its developers need as well."""
    stamp = read_stamp(VENV)
    if stamp.get("declared") == declared() and (stamp["dev"] or not dev):
        return
    # What was installed for developers stays when only the server is asked for.
    dev = dev or bool(stamp.get("dev"))
    install_tools()
    print(f"Installing the server{' and the development tools' if dev else ''} into .venv ...", flush=True)
    with building(VENV, declared=declared(), dev=dev):
        # "install --deploy" would mistake a package index of the user's own for a changed Pipfile.
        run(TOOLS / "bin" / "pipenv", "sync", *(["--dev"] if dev else []))


def take_turns() -> None:
    """Wait until no other installation works in this folder; the lock is held until this process ends."""
    fcntl.flock(os.open(ROOT, os.O_RDONLY), fcntl.LOCK_EX)


def main() -> None:
    parser = argparse.ArgumentParser(description="Install what the server needs into .venv.")
    parser.add_argument("--dev", action="store_true", help="also what tests and checks need")
    arguments = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever has only an older one shall be told
        sys.exit("pulsar needs Python 3.11 or later. Name one: make run PYTHON=python3.11")
    take_turns()
    install(arguments.dev)


if __name__ == "__main__":
    main()
