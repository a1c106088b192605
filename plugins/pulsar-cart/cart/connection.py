"""The connection to the client, where gunicorn shows it: used for what a server cannot do by itself.

No framework, no database.
"""

import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cart.pieces import BrokenBundle, Piece

__all__ = ["has_hung_up", "send", "socket_of"]


def socket_of(environ: Mapping[str, Any]) -> socket.socket | None:
    """The connection to the client, if what is written to it goes to the client as it is.

    gunicorn tells it; what is encrypted, or framed as HTTP/2, it has to send itself.
    """
    found = environ.get("gunicorn.socket")
    is_plain = type(found) is socket.socket and environ.get("SERVER_PROTOCOL") in ("HTTP/1.0", "HTTP/1.1")
    return found if is_plain else None


def send(pieces: Iterable[Piece], connection: socket.socket) -> Iterator[bytes]:
    """Send all of it; what is left for the server is to send the head of the answer before.

    :raises BrokenBundle: a file has become shorter.
    :raises OSError: the client is gone.
    """
    yield b""
    for piece in pieces:
        if isinstance(piece, bytes):
            connection.sendall(piece)
            continue
        start, left = piece.start, piece.size
        while left:
            count = os.sendfile(connection.fileno(), piece.descriptor, start, left)
            if not count:
                raise BrokenBundle("a file has fewer bytes than were promised")
            start, left = start + count, left - count


def has_hung_up(environ: Mapping[str, Any]) -> bool:
    """Whether the client has closed its connection, which a server sees when it writes; False if unknown."""
    connection = socket_of(environ)
    if connection is None:
        return False
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
