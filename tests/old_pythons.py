"""Pythons older than the oldest of this site, which published clients of their time need."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

__all__ = ["NotInstalled", "find_python"]


class NotInstalled(Exception):
    """A client cannot be had on this machine; the message says why."""


def find_python(minor: int) -> str:
    """The command of a CPython 3.``minor``. :raises NotInstalled: if none starts here."""
    for candidate in _list_candidates(f"3.{minor}"):
        # A shim of pyenv may be there for a version that is not chosen; it only complains.
        asked = subprocess.run(
            [candidate, "-c", "import ssl, sys; print(*sys.version_info[:2], sep='.')"],
            text=True,
            capture_output=True,
        )
        if asked.stdout.strip() == f"3.{minor}":
            return candidate
    raise NotInstalled(f"there is no CPython 3.{minor}, neither on the PATH nor of pyenv")


def _list_candidates(version: str) -> Iterator[str]:
    """Those on the PATH, then those of pyenv, where it is found or usually is."""
    for folder in os.environ["PATH"].split(os.pathsep):
        if found := shutil.which(f"python{version}", path=folder):
            yield found
    root = os.environ.get("PYENV_ROOT") or str(Path.home() / ".pyenv")
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], text=True, capture_output=True).stdout.strip() or root
    yield from map(str, sorted(Path(root, "versions").glob(f"{version}.*/bin/python")))
