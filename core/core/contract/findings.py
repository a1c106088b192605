"""What is found wrong, and where."""

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Finding", "find_line", "shown"]


@dataclass(frozen=True)
class Finding:
    """One breach of the contract: file and line, and one sentence."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def find_line(path: Path, text: str) -> str:
    """``path:line`` of the first line of ``path`` that has ``text``; of its first line if none has."""
    number = 1
    if path.is_file():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        number = next((at for at, line in enumerate(lines, start=1) if text in line), 1)
    return shown(f"{path}:{number}")


def shown(where: str) -> str:
    """``where`` as seen from the working directory, if it lies in it."""
    return where.removeprefix(os.getcwd() + os.sep)
