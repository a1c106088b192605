"""An archive interface that holds what a test gives it, and does as badly as a test wants.

It says what the published one says, with its spelling and its times; faults are asked for file by file.
"""

import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Held:
    """A file of the archive.

    :param faults: what the next requests for it do, the first one first: ``500``, ``break``, ``short``,
        ``long``, ``wrong``, ``no size``, ``no medium``, ``garbage``.
    :param looks: HEADs after which it is on disk, once it was asked for; None if it is there.
    """

    data: bytes
    mtime: str = "1500000000.75"
    medium: str = "disk"
    faults: list[str] = field(default_factory=list)
    looks: int | None = None
    staged: bool = False
    always: str = ""


class Archive:
    """A server on a port of its own; a context manager."""

    def __init__(self):
        self.files = {}
        self.requests = []
        self.open_requests = 0
        self.most_at_once = 0
        self.gate = None
        self.pause = 0.0  # s before each answer
        self.entered = threading.Semaphore(0)
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"archive": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        if self.gate:
            self.gate.set()
        self._server.shutdown()
        self._server.server_close()

    def hold(self, name, data, **more):
        """Have a file, and say how it is posted."""
        self.files[str(name)] = Held(data, **more)

    def count(self, method=None):
        """How many requests there were, by method and id; of one method by id."""
        if method:
            return Counter(name for verb, name in self.requests if verb == method)
        return Counter(self.requests)

    def begin(self, method, name):
        with self._lock:
            self.requests.append((method, name))
            self.open_requests += 1
            self.most_at_once = max(self.most_at_once, self.open_requests)

    def end(self):
        with self._lock:
            self.open_requests -= 1


class _Handler(BaseHTTPRequestHandler):
    archive: Archive
    protocol_version = "HTTP/1.1"
    wbufsize = 2**16

    def log_message(self, *_):
        """Say nothing."""

    def do_HEAD(self):
        self._answer("HEAD")

    def do_GET(self):
        self._answer("GET")

    def do_POST(self):
        self._answer("POST")

    def _answer(self, method):
        name = unquote(urlsplit(self.path).path[1:])
        self.archive.begin(method, name)
        threading.Event().wait(self.archive.pause)
        try:
            self._serve(method, name)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.archive.end()

    def _serve(self, method, name):
        held = self.archive.files.get(name)
        fault = (held.faults.pop(0) if held.faults else held.always) if held else "500"
        if fault == "break":
            self.close_connection = True
            self.connection.close()
            return
        if fault == "garbage":
            self.wfile.write(b"\x00\xff nothing of HTTP\r\n\r\n")
            self.close_connection = True
            return
        if fault.isdigit():
            self._send(int(fault), b'{"traceback": "File /srv/secret/archive.py"}', method)
            return
        if method == "POST":
            assert self.headers["Content-Length"] == "0", "the archive wants a length"
            held.staged = True
            self._send(200, b'{"message": "File was staged"}', method)
        elif method == "HEAD":
            self._look(held, fault)
        else:
            self._pull(held, fault)

    def _look(self, held, fault):
        if held.looks is not None and held.staged:
            held.looks -= 1
            if held.looks <= 0:
                held.looks, held.medium = None, "disk"
        self.send_response(204)
        self.send_header("X-Pacifica-Messsage", "File was found")
        self.send_header("X-Pacifica-File", "/srv/secret/file")
        if fault != "no size":
            self.send_header("X-Content-Length", str(len(held.data)))
        self.send_header("Last-Modified", held.mtime)
        self.send_header("X-Pacifica-Bytes-Per-Level", f"({len(held.data)},)")
        if fault != "no medium":
            self.send_header("X-Pacifica-File-Storage-Media", held.medium)
        self.end_headers()

    def _pull(self, held, fault):
        gate = self.archive.gate
        data = held.data
        if fault == "wrong":
            data = bytes(255 - byte for byte in data)
        elif fault == "short":
            data = data[:-1]
        elif fault == "long":
            data += b"!"
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        half = len(data) // 2
        for piece in (data[:half], data[half:]):
            if piece:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.wfile.flush()
            if gate is not None:
                self.archive.entered.release()
                gate.wait(60)
        if fault == "cut":
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, status, body, method):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if method != "HEAD":
            self.wfile.write(body)
