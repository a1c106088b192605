"""Where a revision comes from: noted by `build`, told by `push`, shown in the site's log.

Everything in it is optional. A note is a small JSON file in ``cache/``; without it a push tells less.
"""

import hashlib
import json
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pulsar_client import __version__
from pulsar_client.files import write_atomically
from pulsar_client.handles import Handle
from pulsar_client.store import Store

CLIENT = f"pulsar-client {__version__}"
MAX_ARGUMENTS = 50  # of a command that are kept; a shell may have made thousands of one *
MAX_ARGUMENT = 500  # characters
GIT_TIMEOUT = 10  # s


def note(
    store: Store,
    package: Handle,
    digest: str,
    *,
    parent: str | None,
    command: Sequence[str],
    recipes: Iterable[str],
) -> None:
    """Keep how a revision was built. One that was there before keeps its first note.

    :param parent: the local ``latest`` before, if there was one.
    :param command: as it was typed; empty if none was.
    :param recipes: what was done with the files, such as ``csv:1:pyarrow-26.0.0``.
    """
    path = _get_path(store, package, digest)
    if path.exists():
        return
    transform = ", ".join(sorted(set(recipes)))
    found = {
        "command": _shorten(command),
        "git_commit": find_git_commit(Path.cwd()),
        "parent": None if parent == digest else parent,
        "transform": transform,
    }
    write_atomically(path, json.dumps({key: value for key, value in found.items() if value}).encode())


def recall(store: Store, package: Handle, digest: str) -> dict[str, Any]:
    """All that can be told of a revision; always at least which client tells it."""
    try:
        found = json.loads(_get_path(store, package, digest).read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        found = {}
    return {"client": CLIENT, **(found if isinstance(found, dict) else {})}


def forget(store: Store, package: Handle, digest: str) -> None:
    """Remove the note of a revision that is removed."""
    _get_path(store, package, digest).unlink(missing_ok=True)


def find_git_commit(folder: Path) -> str | None:
    """The commit that is checked out in ``folder``; None if it is in no repository, or Git is not there."""
    if not any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        return None
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--verify", "HEAD"],  # noqa: S607 - the Git that the user has
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _shorten(command: Sequence[str]) -> list[str]:
    kept = [argument[:MAX_ARGUMENT] for argument in command[:MAX_ARGUMENTS]]
    left_out = len(command) - len(kept)
    return [*kept, f"... and {left_out} more"] if left_out else kept


def _get_path(store: Store, package: Handle, digest: str) -> Path:
    name = hashlib.sha256(f"{package.package} {digest}".encode()).hexdigest()[:32]
    return store.cache / f"provenance-{name}.json"
