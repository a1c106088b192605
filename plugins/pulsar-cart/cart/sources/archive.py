"""The archive interface of Pacifica, as a client. Nothing that it says is believed before it is checked."""

import http.client
import io
import math
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, Final, cast
from urllib.parse import quote, urlsplit

from cart.sources import Status
from core.errors import NotFound, PulsarError, Unavailable
from core.identity import Identity

__all__ = ["ArchiveDown", "ArchiveSession", "ArchiveSource"]

SIZE_MAX: Final = 2**62  # B
DRAIN: Final = 2**16  # B of a body nobody wants that are read to keep the connection
MEDIA: Final = {"disk": "disk", "tape": "tape"}


class ArchiveDown(Unavailable):
    """The archive cannot be reached."""

    code = "archive_down"


class ArchiveSource:
    """The source ``archive``. What there is, is asked when the files are fetched.

    :param url: with a scheme, and a slash at its end.
    :param connect: s that a connection may take; ``read``: s without a byte.
    :param block: B that are read at a time.
    """

    kind = "remote"

    def __init__(self, url: str, *, connect: float, read: float, block: int) -> None:
        self.url = url
        self.connect = connect
        self.read = read
        self.block = block

    def resolve(
        self, wanted: Sequence[Mapping[str, Any]], identity: Identity
    ) -> Sequence[Iterable[Mapping[str, Any]] | str]:
        return [[{"id": entry["id"]}] if "id" in entry else "the archive has no packages" for entry in wanted]

    def may_read(self, container: str, identity: Identity) -> bool:
        return True

    @contextmanager
    def session(self) -> Iterator["ArchiveSession"]:
        made = ArchiveSession(self)
        try:
            yield made
        finally:
            made.close()


class ArchiveSession:
    """One connection, used again as long as the archive keeps it open."""

    def __init__(self, source: ArchiveSource) -> None:
        parts = urlsplit(source.url)
        self._source = source
        self._base = parts.path
        host = parts.hostname or ""
        if parts.scheme == "https":
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, parts.port, timeout=source.connect, context=ssl.create_default_context()
            )
        else:
            self._connection = http.client.HTTPConnection(host, parts.port, timeout=source.connect)

    def close(self) -> None:
        """Give the connection up."""
        self._connection.close()

    def status(self, identifier: str) -> Status:
        answer = self._ask("HEAD", identifier)
        self._finish(answer)
        return _status_of(answer.headers)

    def stage(self, identifier: str) -> None:
        self._finish(self._ask("POST", identifier))

    @contextmanager
    def open(self, identifier: str, size: int) -> Iterator[BinaryIO]:
        answer = self._ask("GET", identifier)
        length = answer.headers.get("Content-Length")
        if length is not None and length.strip() != str(size):
            self.close()
            raise Unavailable(f"the archive announces {length[:20]!r} bytes instead of {size}")
        body = _Body(answer, size, self._source.block)
        try:
            yield cast(BinaryIO, body)
        finally:
            if not body.is_read:
                self.close()  # what is left of it is not the beginning of another answer

    def _ask(self, method: str, identifier: str) -> http.client.HTTPResponse:
        """The answer, if it is a good one.

        :raises NotFound: 404; :raises Unavailable: anything else that is not 2xx, or no answer.
        """
        path = self._base + quote(identifier, safe="")
        headers = {"Content-Length": "0"} if method == "POST" else {}
        answer = self._send(method, path, headers)
        if 200 <= answer.status < 300:
            return answer
        status = answer.status
        self._finish(answer)
        if status == 404:
            raise NotFound("the archive has no such file")
        raise Unavailable(f"the archive answered {status}")

    def _send(self, method: str, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        was_open = self._connection.sock is not None
        try:
            return self._exchange(method, path, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as exc:
            self.close()
            if not was_open:
                raise Unavailable("the archive broke the connection off") from exc
        except (OSError, http.client.HTTPException) as exc:
            self.close()
            raise _explained(exc) from exc
        # It had closed the connection since the last request, which is no fault.
        try:
            return self._exchange(method, path, headers)
        except (OSError, http.client.HTTPException) as exc:
            self.close()
            raise _explained(exc) from exc

    def _exchange(self, method: str, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        connection = self._connection
        if connection.sock is None:
            try:
                connection.connect()
            except OSError as exc:
                raise ArchiveDown("the archive cannot be reached") from exc
            cast(socket.socket, connection.sock).settimeout(self._source.read)
        connection.request(method, path, headers=headers)
        return connection.getresponse()

    def _finish(self, answer: http.client.HTTPResponse) -> None:
        """Read a short body, so that the connection can be used again; or close it."""
        with suppress(OSError, http.client.HTTPException, ValueError):
            answer.read(DRAIN)
            if answer.isclosed():
                return
        self.close()


class _Body(io.RawIOBase):
    """The body of an answer, which must have exactly ``size`` bytes."""

    def __init__(self, answer: http.client.HTTPResponse, size: int, block: int) -> None:
        self._answer = answer
        self._left = size
        self._size = size
        self._block = block
        self.is_read = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: self._block]
        if not len(view):
            return 0
        try:
            count = self._answer.readinto(view)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise _explained(exc) from exc
        self._left -= count
        if self._left < 0 or (not count and self._left):
            raise Unavailable(
                f"the archive sent {'more' if self._left < 0 else 'less'} than {self._size} bytes"
            )
        if not count:
            self.is_read = self._answer.isclosed()
        return count


def _explained(exc: Exception) -> PulsarError:
    """What may be told of a fault: no word of the archive's."""
    if isinstance(exc, PulsarError):
        return exc
    if isinstance(exc, TimeoutError):
        return Unavailable("the archive did not answer in time")
    if isinstance(exc, OSError):
        return Unavailable("the connection to the archive broke")
    return Unavailable("the archive did not answer as HTTP wants it")


def _status_of(headers: http.client.HTTPMessage) -> Status:
    """:raises NotFound: if size or medium are missing, or are none: it would say the same again."""
    text = headers.get("X-Content-Length", "").strip()
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= SIZE_MAX):
        raise NotFound("the archive does not say how large the file is")
    medium = MEDIA.get(headers.get("X-Pacifica-File-Storage-Media", "").strip().lower())
    if medium is None:
        raise NotFound("the archive does not say where the file is, or it has lost it")
    return Status(int(text), _seconds(headers.get("Last-Modified", "")), medium)


def _seconds(text: str) -> int:
    """Whole seconds since 1970 of a decimal fraction, or of a date as HTTP has it; 0 for what is neither."""
    with suppress(ValueError, OverflowError):
        number = float(text)
        if math.isfinite(number) and abs(number) < 2**40:
            return math.floor(number)
    with suppress(ValueError, TypeError, OverflowError):
        return math.floor(parsedate_to_datetime(text).timestamp())
    return 0
