"""The routes behind the real server, over real sockets."""

import hashlib
import http.client
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from core.app import create_app
from core.db import Base, db
from core.storage import links

MiB = 2**20


class Site:
    """A site that gunicorn serves in a process of its own."""

    def __init__(self, instance: Path, process: subprocess.Popen, port: int) -> None:
        self.instance, self.process, self.port = instance, process, port
        self.app = create_app(instance, TESTING=True, PUBLIC_URL="http://site")

    def connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.connect()
        return connection

    def download(self, digest: str) -> str:
        with self.app.app_context():
            return self._path(links(600).download(digest))

    def upload(self, digest: str, size: int) -> str:
        with self.app.app_context():
            return self._path(links(600).upload(digest, size))

    def kept(self) -> set[str]:
        return {path.name for path in (self.instance / "blobs").rglob("*") if path.is_file()}

    def peak(self) -> int:
        """Bytes of memory that the worker has had at most."""
        pid = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0]
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024

    @staticmethod
    def _path(url: str) -> str:
        split = urlsplit(url)
        return f"{split.path}?{split.query}"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    instance = tmp_path_factory.mktemp("served")
    (instance / "config.py").write_text("SECRET_KEY = 'a secret for tests'\nLOG_LEVEL = 'ERROR'\n")
    app = create_app(instance)
    with app.app_context():
        Base.metadata.create_all(db.engine)
        db.engine.dispose()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # for who connects before gunicorn sets it
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--bind",
        f"fd://{listener.fileno()}",
        "--worker-class",
        "gthread",
    ]
    command += ["--threads", "4", "--keep-alive", "60", "--graceful-timeout", "5", "core.app:create_app()"]
    environment = os.environ | {"PULSAR_INSTANCE_PATH": str(instance)}
    process = subprocess.Popen(command, pass_fds=[listener.fileno()], env=environment)
    made = Site(instance, process, listener.getsockname()[1])
    listener.close()  # the server has its own; what connects before it is ready waits
    yield made
    process.terminate()
    process.wait(30)


@pytest.fixture
def connection(site):
    made = site.connect()
    yield made
    made.close()


def ask(connection, method, url, body=None, **headers):
    connection.request(method, url, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer, answer.read()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_many_small_blobs_go_through_one_connection(site, connection):
    first = connection.sock
    for number in range(100):
        data = b"blob %d" % number
        put = site.upload(sha256(data), len(data))
        assert ask(connection, "HEAD", put)[0].status == 404
        assert ask(connection, "PUT", put, data)[0].status == 201
        answer, found = ask(connection, "GET", site.download(sha256(data)), Range="bytes=0-")
        assert (answer.status, found) == (206, data)
    assert connection.sock is first, "the connection was closed on the way"


@pytest.mark.parametrize("size", [10, 100_000, 2 * MiB])
def test_a_refused_upload_does_not_poison_the_connection(site, connection, size):
    data = os.urandom(size)
    first = connection.sock
    forged = site.upload(sha256(data), size).replace("sig=", "sig=x")
    wrong = site.upload(sha256(b"other"), size)

    assert ask(connection, "PUT", forged, data)[0].status == 403
    assert ask(connection, "PUT", wrong, data)[0].status == 400
    assert ask(connection, "PUT", site.upload(sha256(b"other"), size - 1), data)[0].status == 400
    assert ask(connection, "PUT", site.upload(sha256(data), size), data)[0].status == 201
    assert ask(connection, "GET", site.download(sha256(data)))[1] == data
    assert connection.sock is first, "the connection was closed on the way"


def test_a_chunked_upload_is_taken(site, connection):
    data = os.urandom(3 * MiB)
    put = site.upload(sha256(data), len(data))
    chunks = (data[start : start + 100_000] for start in range(0, len(data), 100_000))

    connection.request("PUT", put, chunks, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    answer = connection.getresponse()
    answer.read()

    assert answer.status == 201
    assert ask(connection, "GET", site.download(sha256(data)))[1] == data


@pytest.mark.parametrize("chunked", [True, False])
def test_a_sender_who_goes_away_leaves_nothing(site, connection, chunked):
    data = os.urandom(2 * MiB)
    before = site.kept()
    connection.putrequest("PUT", site.upload(sha256(data), len(data)))
    connection.putheader(
        *(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(data))))
    )
    connection.endheaders()
    connection.send((b"100000\r\n" if chunked else b"") + data[:MiB])
    connection.sock.shutdown(socket.SHUT_WR)

    connection.sock.makefile("rb").read()  # the server is done when it closes

    assert site.kept() == before


def test_ranges_of_a_large_blob_are_exact(site, connection):
    data = os.urandom(5 * MiB)
    assert ask(connection, "PUT", site.upload(sha256(data), len(data)), data)[0].status == 201
    url = site.download(sha256(data))

    for start, stop in ((0, len(data)), (1, 2), (3 * MiB - 1, 3 * MiB + 70_000), (len(data) - 1, len(data))):
        answer, found = ask(connection, "GET", url, Range=f"bytes={start}-{stop - 1}")
        assert (answer.status, found) == (206, data[start:stop])
    assert ask(connection, "HEAD", url)[0].getheader("Content-Length") == str(len(data))
    assert ask(connection, "GET", url, Range="bytes=9999999999-")[0].status == 416
    assert ask(connection, "GET", url)[1] == data


def test_memory_does_not_grow_with_the_blob(site, connection):
    small, large = os.urandom(8 * MiB), bytes(200 * MiB)
    for data in (small, large):
        peak = site.peak()
        assert ask(connection, "PUT", site.upload(sha256(data), len(data)), data)[0].status == 201
        assert len(ask(connection, "GET", site.download(sha256(data)))[1]) == len(data)
        if data is large:
            assert site.peak() - peak < 16 * MiB
