"""The parent of the process that reads Parquet files: hands it bytes, and ends it when it takes too much.

See :mod:`registry.parquet` for what is spoken. A crash, or a file that takes too long, costs that file its
description and the next one the start of another process. No framework, no database.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

__all__ = ["Reader", "Undescribed"]

SCRIPT: Final = Path(__file__).with_name("parquet.py")
SECONDS: Final = 30.0  # on the clock, for one file
READ_BYTES: Final = 64 * 2**20  # of one file, in all
READS: Final = 10_000  # of one file
LINE: Final = 16 * 2**20  # B, longest line that is taken from the child
PASSED_ON: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "TZDIR")  # of the environment; no secrets
COLUMN: Final = frozenset({"name", "type", "nulls", "min", "max"})


class Undescribed(Exception):
    """The file cannot be described; the message says why."""


class _Broken(Exception):
    """The child has ended, was ended, or says what it should not."""


class Reader:
    """Describes files, one after the other; a context manager.

    :param seconds: on the clock, for one file.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def describe(self, size: int, read: Callable[[int, int], bytes]) -> dict[str, Any]:
        """What :func:`registry.parquet.describe` finds in a file of ``size`` bytes.

        :param read: gives the bytes ``start`` to ``stop`` of the file; what it raises comes out here.
        :raises Undescribed: it is no Parquet file, a broken one, or one that takes too much.
        """
        process = self._process = self._process or _start()
        expired = threading.Event()

        def end() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(self._seconds, end)
        timer.start()
        try:
            return _checked(_talk(process, size, read))
        except _Broken as exc:
            self._stop()
            raise Undescribed("the file takes too long, too much memory, or breaks its reader") from exc
        except Undescribed:
            raise
        except BaseException:
            self._stop()  # it waits for bytes that will not come
            raise
        finally:
            timer.cancel()
            timer.join()
            if expired.is_set():
                self._stop()

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()  # closes the pipes, and waits


def _start() -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    # The system's allocator: others reserve far more addresses than they use, and those are limited.
    environment |= {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(  # noqa: S603 - nothing in the command comes from anybody
        # -P: or `import parquet` and the like would find the modules beside the script.
        [sys.executable, "-P", str(SCRIPT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd="/",
    )


def _talk(process: subprocess.Popen[bytes], size: int, read: Callable[[int, int], bytes]) -> dict[str, Any]:
    """:raises _Broken: the child ended, or says what it should not."""
    _tell(process, {"size": size})
    left = READ_BYTES
    for _ in range(READS):
        said = _listen(process)
        if isinstance(found := said.get("found"), dict):
            return found
        if "wrong" in said:
            raise Undescribed(str(said["wrong"]))
        try:
            start, count = map(int, said["read"])
        except (KeyError, TypeError, ValueError) as exc:
            raise _Broken from exc
        if 0 <= start <= start + count <= size and count <= left:
            content = read(start, start + count)
            left -= len(content)
            _tell(process, {"bytes": len(content)}, content)
        else:
            _tell(process, {"refused": "too many bytes are asked for"})
    raise _Broken


def _tell(process: subprocess.Popen[bytes], what: dict[str, Any], content: bytes = b"") -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(what).encode() + b"\n" + content)
        process.stdin.flush()
    except OSError as exc:
        raise _Broken from exc


def _listen(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    try:
        found = json.loads(process.stdout.readline(LINE))
    except (OSError, ValueError, RecursionError) as exc:
        raise _Broken from exc
    if not isinstance(found, dict):
        raise _Broken
    return found


def _checked(found: dict[str, Any]) -> dict[str, Any]:
    """``found`` if it has the shape that others rely on: who broke into the child could say anything."""
    rows, columns, head = found.get("rows"), found.get("columns"), found.get("head")
    good = (
        isinstance(rows, int)
        and 0 <= rows < 2**63
        and isinstance(columns, list)
        and all(isinstance(column, dict) and column.keys() == COLUMN for column in columns)
        and isinstance(found.get("n_columns"), int)
        and (head is None or (isinstance(head, dict) and _is_head(head.get("columns"), head.get("rows"))))
    )
    if not good:
        raise Undescribed("the file breaks its reader")
    return found


def _is_head(columns: Any, rows: Any) -> bool:
    return (
        isinstance(columns, list)
        and isinstance(rows, list)
        and all(isinstance(row, list) and len(row) == len(columns) for row in rows)
    )
