"""Requests of the site to addresses on the web that somebody gave it.

Such an address must not open what only the site can reach: its own machine, the network it stands in, the
services of its cloud. So the name is looked up once, every address behind it is checked, and the connection
goes to one of these very addresses; a second look-up could answer something else.
"""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from typing import Any, Final
from urllib.parse import urlsplit

from core.errors import Unavailable

__all__ = ["is_public", "post"]

READ_MOST: Final = 4096  # B of an answer's body; nobody looks at them
NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # an IPv4 address in the last 32 bits


def post(
    url: str, body: bytes, headers: Mapping[str, str], *, timeout: float, allow_private: bool = False
) -> int:
    """Send ``body`` and return the status of the answer. Redirects are not followed, proxies not used.

    :param timeout: seconds for all of it; one that sends its answer byte by byte gets no more.
    :param allow_private: whether the address may be one that is not public.
    :raises Unavailable: if there is no answer. The message names the host and nothing else of the address.
    """
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    deadline = time.monotonic() + timeout
    try:
        addresses = _look_up(host, port, allow_private)
        with closing(_connect(addresses, deadline)) as plain, _cut_at(deadline, plain):
            context = ssl.create_default_context() if secure else None
            with context.wrap_socket(plain, server_hostname=host) if context else plain as connected:
                connection = HTTPConnection(host, port)
                connection.sock = connected
                connection.request(
                    "POST", path, body, {"Host": parts.netloc, "Connection": "close", **headers}
                )
                with closing(connection.getresponse()) as answer:
                    if time.monotonic() >= deadline:  # for http.client, headers may just end
                        raise TimeoutError
                    # So that the other side can end; what it says does not change what it did.
                    with suppress(OSError, HTTPException):
                        answer.read(READ_MOST)
                    return answer.status
    except (OSError, UnicodeError, HTTPException) as exc:
        late = isinstance(exc, TimeoutError) or time.monotonic() >= deadline
        reason = "no answer in time" if late else getattr(exc, "strerror", None) or type(exc).__name__
        raise Unavailable(f"{host} could not be reached: {reason}.") from exc


def _look_up(host: str, port: int, allow_private: bool) -> list[tuple[int, Any]]:
    """Family and address of everything that ``host`` stands for."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not allow_private and not all(is_public(str(address[0])) for *_, address in found):
        raise Unavailable(f"{host} is at an address that is not public.")
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def is_public(text: str) -> bool:
    """Whether an address is one of the open internet: not private, local, multicast or reserved."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped
        if address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if address.sixtofour or address.teredo or address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _connect(addresses: list[tuple[int, Any]], deadline: float) -> socket.socket:
    """A connection to the first of ``addresses`` that accepts one; each gets its share of the time."""
    reason: OSError = TimeoutError()
    for tried, (family, address) in enumerate(addresses):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        candidate = socket.socket(family, socket.SOCK_STREAM)
        try:
            candidate.settimeout(left / (len(addresses) - tried))
            candidate.connect(address)
            candidate.settimeout(max(0.1, deadline - time.monotonic()))
        except OSError as exc:
            candidate.close()
            reason = exc
        else:
            return candidate
    raise reason


@contextmanager
def _cut_at(deadline: float, connected: socket.socket) -> Iterator[None]:
    """End the connection at ``deadline``: the time-out of a socket begins anew with each byte."""
    # A copy, since TLS takes the original over.
    with closing(connected.dup()) as copy:
        timer = threading.Timer(max(0.0, deadline - time.monotonic()), _shut_down, [copy])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def _shut_down(connected: socket.socket) -> None:
    with suppress(OSError):  # the other side may have been first
        connected.shutdown(socket.SHUT_RDWR)
