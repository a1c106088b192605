"""Between a client and a site: passes on so many bytes of what is answered, and then no more."""

import socket
import threading
from contextlib import closing, suppress
from urllib.parse import urlsplit

PIECE = 2**16  # B


class Relay:
    """A port that leads to the site at ``url``; a context manager.

    :param limit: B of all answers together that it passes on; then its connections hang.
    """

    def __init__(self, url: str, limit: int) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._site = (parts.hostname, parts.port)
        self._left = limit
        self._lock = threading.Lock()
        self.is_stuck = threading.Event()
        self._ended = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> "Relay":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                site = socket.create_connection(self._site)
                threading.Thread(target=self._pass_on, args=(client, site), daemon=True).start()
                threading.Thread(target=self._answer, args=(site, client), daemon=True).start()

    def _pass_on(self, client: socket.socket, site: socket.socket) -> None:
        with suppress(OSError), closing(site):
            while piece := client.recv(PIECE):
                site.sendall(piece)

    def _answer(self, site: socket.socket, client: socket.socket) -> None:
        with suppress(OSError), closing(client):
            while piece := site.recv(PIECE):
                with self._lock:
                    self._left -= len(piece)
                    is_open = self._left > 0
                if not is_open:
                    self.is_stuck.set()
                    self._ended.wait(60)
                    return
                client.sendall(piece)
