"""An archive interface for benchmarks, in a process of its own: its CPU is nobody else's.

It has the files of a folder, on disk, and answers ``GET /`` with how many requests for them there were.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote
from urllib.request import urlopen


class Handler(BaseHTTPRequestHandler):
    """One connection; head and body of an answer leave together."""

    protocol_version = "HTTP/1.1"
    wbufsize = 2**17
    disable_nagle_algorithm = True
    folder: Path
    count = 0  # requests for files; no lock, for what matters is whether there were any

    def do_HEAD(self) -> None:
        Handler.count += 1
        status = os.stat(self.folder / unquote(self.path[1:]))
        self.send_response(204)
        self.send_header("X-Content-Length", str(status.st_size))
        self.send_header("Last-Modified", str(status.st_mtime))
        self.send_header("X-Pacifica-File-Storage-Media", "disk")
        self.end_headers()

    def do_GET(self) -> None:
        if self.path == "/":
            data = json.dumps({"requests": self.count}).encode()
        else:
            Handler.count += 1
            data = (self.folder / unquote(self.path[1:])).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def count_requests(address: str) -> int:
    """For files, so far."""
    with urlopen(address, timeout=30) as answer:
        return int(json.load(answer)["requests"])


@contextlib.contextmanager
def archive(folder: Path) -> Iterator[str]:
    """An archive interface that has the files of a folder; its address."""
    serving = subprocess.Popen([sys.executable, __file__, str(folder)], stdout=subprocess.PIPE, text=True)
    assert serving.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(serving.stdout.readline())}/"
    finally:
        serving.terminate()
        serving.wait()
        serving.stdout.close()


def main() -> None:
    Handler.folder = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
