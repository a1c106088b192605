"""Runs the published client in forks of one process, for the client's own Python (3.6).

Most of what a command costs is to import pandas and pyarrow. They are imported once; the client itself is
imported by each fork, because it decides while it is imported where its files are. A line of standard input
is a command: ``{"arguments", "environment", "folder", "input", "output", "errors"}``, the last three being
paths. The answer is a line with its exit status.
"""

import importlib
import json
import os
import sys
import traceback

import pandas  # noqa: F401 - so that the forks have it
import pyarrow.parquet  # noqa: F401
import requests  # noqa: F401


def run(command):
    os.chdir(command["folder"])
    os.environ.clear()
    os.environ.update(command["environment"])
    for number, key in enumerate(("input", "output", "errors")):
        flags = os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY
        os.dup2(os.open(command[key], flags, 0o644), number)
    sys.stdin = open(0, closefd=False)
    sys.argv = ["quilt"] + command["arguments"]
    client = importlib.import_module("quilt.tools.main")
    return client.main() or 0


def answer(command):
    pid = os.fork()
    if pid:
        status = os.waitpid(pid, 0)[1]
        return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
    status = 1
    try:
        status = run(command)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


for line in sys.stdin:
    print(answer(json.loads(line)), flush=True)
