"""``flask`` commands in processes of their own that start in a tenth of the time.

Most of what a command costs is to import everything. So one process does it once, and each command is a
fork of it: with its own memory, signals, folder and environment, and the same words on its command line.
That the command starts from nothing too is seen where a test starts the real one.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from flask.cli import main

_context = get_context("forkserver")
# No plugin: its models would be known to sites that do not have it.
_context.set_forkserver_preload(
    [
        *("pytest", "forked", "core.app", "psycopg", "pymysql"),
        *("core.jobs.celery_app", "celery.apps.worker", "celery.worker.consumer", "kombu.transport.redis"),
        *sorted({entry.module for entry in entry_points(group="flask.commands")}),
    ]
)


class Forked:
    """What ``subprocess.Popen(["flask", ...])`` would be; the leader of a process group.

    :param output: file that standard output goes to.
    :param errors: file for standard error; default: the same.
    :param input: file to read standard input from.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        output: Path,
        errors: Path | None = None,
        input: Path = Path(os.devnull),
    ) -> None:
        self.arguments = ["flask", *arguments]
        files = (input, output, errors or output)
        self._process = _context.Process(target=_run, args=(self.arguments, cwd, dict(env), files))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, or the negative number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.arguments, timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], input: str = "", timeout: float
) -> subprocess.CompletedProcess[str]:
    """What ``subprocess.run(["flask", ...], capture_output=True, text=True)`` would be."""
    with TemporaryDirectory() as folder:
        given, output, errors = (Path(folder, name) for name in ("given", "output", "errors"))
        given.write_text(input, encoding="utf-8")
        process = Forked(arguments, cwd=cwd, env=env, output=output, errors=errors, input=given)
        code = process.wait(timeout)
        return subprocess.CompletedProcess(
            process.arguments, code, output.read_text("utf-8"), errors.read_text("utf-8")
        )


def _run(arguments: list[str], cwd: Path, env: dict[str, str], files: tuple[Path, Path, Path]) -> None:
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    for number, path in enumerate(files):
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT if number else os.O_RDONLY
        os.dup2(os.open(path, flags, 0o644), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for the life of the process
    sys.argv = arguments
    main()
