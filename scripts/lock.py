"""Choose the versions of everything, write them to Pipfile.lock, and take out where they came from.

Pipenv notes the package index it asked, in a list of sources and by a label on some entries. Without them
the lock works with whatever index the person who installs has configured. The list must stay, though empty:
pipenv wants it.
"""

import json
import sys
from typing import Any

import install


def strip(lock: dict[str, Any]) -> None:
    """Remove every trace of an index from a lock.

    :raises SystemExit: if an entry is a file of the machine that made the lock, which is nowhere else.
    """
    lock["_meta"]["sources"] = []
    for section in ("default", "develop"):
        for name, entry in lock[section].items():
            entry.pop("index", None)
            if "file" in entry:
                sys.exit(f"{name} was found at {entry['file']}, where no other machine will find it.")


def main() -> None:
    # Newer versions of some libraries do not run on the oldest Python we support; only that one leaves them
    # out.
    if sys.version_info[:2] != (3, 11):
        sys.exit(
            "The lock is made on Python 3.11, so that every later one can use it: make lock PYTHON=python3.11"
        )
    install.take_turns()
    install.install_tools()
    path = install.ROOT / "Pipfile.lock"
    with install.building(install.VENV, declared=None, dev=False):
        install.run(install.TOOLS / "bin" / "pipenv", "lock")
        lock = json.loads(path.read_text())
        strip(lock)
        path.write_text(json.dumps(lock, indent=4, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
