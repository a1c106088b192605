"""Requests to one site: with the key, with patience, and with bounds on what is believed.

Every call of the protocol may be repeated (blobs and trees are named by their content), so all of them are:
after a broken connection, and when the site says it is busy.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import urljoin

import requests
from requests.adapters import BaseAdapter, HTTPAdapter

from pulsar_client import __version__
from pulsar_client.errors import ConnectionFailed, ProtocolError, make_site_error
from pulsar_client.progress import NoProgress, Progress

TIMEOUT = (10.0, 60.0)  # s: to connect, between two pieces of an answer
RETRIES = 5  # further attempts after the first
BACKOFF = 0.3  # s before the second attempt; doubled each time
MAX_WAIT = 120.0  # s that Retry-After may ask for; the usual limits of a site end after 80
TELL_FROM = 2.0  # s; a shorter wait is not worth a line
BUSY = {429, 502, 503, 504}
GATEWAY = {502, 504}  # what is behind may have done what it was asked
LEADS_ON = {301, 302, 303, 307, 308}
KEEPS_METHOD = {307, 308}
REDIRECTS = 5  # that are followed one after the other
POOL = 16  # connections kept open; as many as there are threads at most
MAX_ANSWER_BYTES = 256 << 20  # B; a tree of a million entries is about as large
MAX_ERROR_BYTES = 1 << 20


class Body(Protocol):
    """A request body that is made while it is sent, and made again for another attempt."""

    def __len__(self) -> int:
        """Its size in bytes, sent as Content-Length."""

    def __iter__(self) -> Iterator[bytes]:
        """Its bytes, from the start."""


class AnswerBroken(ConnectionFailed):
    """An answer began and did not end."""


class _Session(requests.Session):
    """Leads nowhere: requests would read the body of an answer that leads on, however long that is."""

    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[Any]:
        yield from ()


class Http:
    """A pool of connections to one site. Safe for several threads."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        transport: BaseAdapter | None = None,
        backoff: float = BACKOFF,
        progress: Progress | None = None,
        sleep: Callable[[float], object] = time.sleep,
        retries: int = RETRIES,
    ) -> None:
        """:param transport: answers instead of the network; a test may hand over the site itself.

        :param progress: told when the site wants us to wait; :param sleep: waits.
        :param retries: further attempts after the first.
        """
        self.url = url
        self._key = key
        self._backoff = backoff
        self._retries = retries
        self._progress = progress or NoProgress()
        self._sleep = sleep
        self._telling = threading.Lock()
        self._told_until = float("-inf")  # seconds of the monotonic clock; how long we said that we wait
        self._session = _Session()
        # Keys come from our own settings only; requests would send what stands in ~/.netrc instead.
        self._session.auth = _no_auth
        self._session.headers["User-Agent"] = f"pulsar-client/{__version__}"
        adapter = transport or HTTPAdapter(pool_connections=POOL, pool_maxsize=POOL)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def get_json(self, method: str, path: str, **options: Any) -> Any:
        """The decoded JSON answer to a call of the site's API. Options as for :meth:`open`.

        :raises SiteError: the subclass that fits, for an answer that is an error.
        :raises ProtocolError: if the answer is not JSON or too large.
        """
        try:
            return json.loads(self.get_bytes(method, path, **options)[0])
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"{self.url} did not answer with JSON; is it a pulsar site?") from error

    def get_bytes(self, method: str, path: str, **options: Any) -> tuple[bytes, Mapping[str, str]]:
        """The answer to a call of the site's API as it is, and its headers. Options as for :meth:`open`.

        :raises SiteError: the subclass that fits, for an answer that is an error.
        :raises ProtocolError: if the answer is too large.
        """
        for attempt in range(self._retries + 1):
            try:
                with self.open(method, path, **options) as response:
                    return _read(response, MAX_ANSWER_BYTES), response.headers
            except AnswerBroken:
                if attempt == self._retries:
                    raise
                options["repeated"] = True
                self._sleep(self._get_pause(attempt))
        raise AssertionError("the last attempt returns or raises")

    def open(
        self,
        method: str,
        path: str,
        *,
        signed: bool = False,
        body: bytes | Body | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        follow: bool = True,
        allowed: frozenset[int] = frozenset(),
        repeated: bool = False,
    ) -> requests.Response:
        """The streamed answer to one request; the caller closes it.

        :param path: below the site's URL; with ``signed`` also a full URL.
        :param signed: the URL carries its own permission; our key is not sent, for it may lead elsewhere.
        :param follow: go where the answer leads; otherwise the caller sees that answer.
        :param allowed: error statuses that the caller wants to see rather than an exception.
        :param repeated: the caller has asked before, and does not know what came of it.
        :raises SiteError: for an error answer, after retries when the site was busy.
        :raises ConnectionFailed: if there was none.
        """
        sent = {**self._make_headers(path, signed), **(headers or {})}
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                url = urljoin(f"{self.url}/", path) if signed else self.url + path
                response = self._request(
                    method, url, signed=signed, follow=follow, data=body, headers=sent, params=query
                )
            except ValueError as error:  # All that requests says of URLs is one.
                address = path.partition("?")[0][:200]
                raise ProtocolError(f"The site gave an address that cannot be used: {address!r}.") from error
            except requests.RequestException as error:
                if last:
                    raise ConnectionFailed(f"{_get_host(url)} does not answer: {_explain(error)}") from error
                repeated = True
                self._sleep(self._get_pause(attempt))
                continue
            status = response.status_code
            if response.ok or status in allowed:
                return response
            asked = _get_retry_after(response) if status in BUSY else None
            if last or status not in BUSY or (asked or 0) > MAX_WAIT:
                note = _explain_end(attempt, asked) if status in BUSY else ""
                with response:
                    raise make_site_error(status, _decode_error(response), note, repeated=repeated)
            response.close()
            repeated = repeated or status in GATEWAY
            self._tell(status, asked or 0)
            self._sleep(max(self._get_pause(attempt), asked or 0))
        raise AssertionError("the last attempt returns or raises")

    def _make_headers(self, path: str, signed: bool) -> dict[str, str]:
        if signed:
            return {"Accept-Encoding": "identity"}
        headers = {"Accept": "application/json"}
        if self._key:
            # The registry's calls are those of Quilt, which knows only this word; core's know only the other.
            scheme = "Bearer" if path.startswith("/api/") else "Token"
            headers["Authorization"] = f"{scheme} {self._key}"
        return headers

    def _request(
        self, method: str, url: str, *, signed: bool, follow: bool, **options: Any
    ) -> requests.Response:
        """One request, and those to where its answer leads.

        Not left to requests, which makes another method of some and goes on without the key.
        """
        for _ in range(REDIRECTS + 1):
            response = self._session.request(
                method, url, stream=True, timeout=TIMEOUT, allow_redirects=False, **options
            )
            target = response.headers.get("Location")
            if not follow or target is None or response.status_code not in LEADS_ON:
                return response
            response.close()
            here, url = url, urljoin(url, target)
            options["params"] = None  # They are in the target, if they shall be.
            if not signed and _get_host(url) != _get_host(here):
                raise ProtocolError(f"{_get_host(here)} leads to {_get_host(url)[:200]}: use that address.")
            if method not in {"GET", "HEAD"} and response.status_code not in KEEPS_METHOD:
                raise ProtocolError(
                    f"{_get_host(here)} leads a {method} elsewhere, which cannot be followed."
                )
        raise ProtocolError(f"{_get_host(url)[:200]} leads from one address to the next without end.")

    def _get_pause(self, attempt: int) -> float:
        # Half of it is chance, so that clients that failed together do not come back together.
        return self._backoff * (1 << attempt) * (0.5 + random.random() / 2)  # noqa: S311 - nothing secret

    def _tell(self, status: int, seconds: float) -> None:
        """Say that we wait, if it is long enough and another thread has not just said so."""
        until = time.monotonic() + seconds
        with self._telling:
            if seconds < TELL_FROM or until < self._told_until + TELL_FROM:
                return
            self._told_until = until
        why = "too many requests" if status == 429 else "the site is busy"
        self._progress.say(f"{why}; waiting {seconds:.0f} s, as the site asks")


def _get_retry_after(response: requests.Response) -> float | None:
    """Seconds that the site wants us to wait; None if it does not say, or not so that we understand it."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])  # 30 years are as good as more
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _explain_end(attempt: int, asked: float | None) -> str:
    """Why a busy site is not asked again."""
    if asked is not None and asked > MAX_WAIT:
        return f"It asks to wait {asked:.0f} s, longer than this client does; try again then."
    return f"Asked {attempt + 1} times; try again later." if attempt else ""


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _read(response: requests.Response, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    try:
        for piece in response.iter_content(1 << 16):
            size += len(piece)
            if size > limit:
                raise ProtocolError(f"The site's answer is larger than {limit >> 20} MiB.")
            pieces.append(piece)
    except requests.RequestException as error:
        raise AnswerBroken(f"The connection broke in the middle of an answer: {_explain(error)}") from error
    return b"".join(pieces)


def _decode_error(response: requests.Response) -> object:
    try:
        return json.loads(_read(response, MAX_ERROR_BYTES))
    except (ValueError, RecursionError, ProtocolError, ConnectionFailed):
        return None


def _get_host(url: str) -> str:
    return "/".join(url.split("/", 3)[:3])


def _explain(error: Exception) -> str:
    """The innermost reason; requests wraps it several times."""
    reason: BaseException = error
    while reason.__cause__ or reason.__context__:
        reason = reason.__cause__ or reason.__context__  # type: ignore[assignment]
    return (getattr(reason, "strerror", None) or str(reason) or type(reason).__name__).rstrip(".") + "."
