"""Pieces: what the kernel sends by itself is what reading would have given, or breaks off."""

import socket
import ssl
import threading

import pytest

from cart.connection import send, socket_of
from cart.pieces import BrokenBundle, Stretch, as_bytes

pytestmark = pytest.mark.any_database


def sent(pieces):
    """What arrives at the other end of a connection, as far as it came, and the error that ended it."""
    ours, theirs = socket.socketpair()
    arrived = bytearray()

    def receive():
        while data := theirs.recv(2**16):
            arrived.extend(data)

    receiver = threading.Thread(target=receive)
    receiver.start()
    error = None
    try:
        for piece in send(pieces, ours):
            ours.sendall(piece)
    except BrokenBundle as exc:
        error = exc
    finally:
        ours.close()
        receiver.join(30)
        theirs.close()
    return bytes(arrived), error


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 4096)
    with path.open("rb") as opened:
        yield opened


def test_what_is_sent_is_what_would_be_read(file):
    content = bytes(range(256)) * 4096
    pieces = [b"head", Stretch(file.fileno(), 1000, 700_000), b"", b"tail", Stretch(file.fileno(), 5, 1)]
    whole = b"head" + content[1000:701_000] + b"tail" + content[5:6]
    assert b"".join(as_bytes(pieces)) == whole
    assert sent(pieces) == (whole, None)
    assert file.tell() == 0


def test_a_file_that_has_become_shorter_ends_it(file):
    pieces = [b"head", Stretch(file.fileno(), 2**20 - 10, 20)]
    with pytest.raises(BrokenBundle, match="fewer bytes"):
        list(as_bytes(pieces))
    arrived, error = sent(pieces)
    assert len(arrived) == 14
    assert "fewer bytes" in str(error)


def test_only_a_plain_connection_is_written_to():
    plain, other = socket.socketpair()
    with plain, other:
        assert socket_of({"gunicorn.socket": plain, "SERVER_PROTOCOL": "HTTP/1.1"}) is plain
        assert socket_of({"gunicorn.socket": plain, "SERVER_PROTOCOL": "HTTP/2"}) is None
        encrypted = ssl.create_default_context().wrap_socket(
            plain, server_hostname="localhost", do_handshake_on_connect=False
        )
        assert socket_of({"gunicorn.socket": encrypted, "SERVER_PROTOCOL": "HTTP/1.1"}) is None
        encrypted.close()
    assert socket_of({}) is None
