"""How often a caller may ask: requests of a key, of a user, or of an address without credentials.

Who has proven who he is, is counted as that and not by his address: bad keys from the same network shut
nobody out. What a plugin answers is counted in the plugin's own counters.
"""

import importlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b
from math import ceil
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from core.blueprint import SITE_LIMITS, Mount, RateLimits
from core.errors import RateLimited
from core.limits.addresses import network_of
from core.limits.shared import DIGEST_BYTES, Counter, SharedCounters

if TYPE_CHECKING:
    from core.identity import Identity
    from core.limits.remote import RedisCounters

__all__ = ["Limiter"]

log = logging.getLogger(__name__)
PAUSE: Final = 5.0  # s without an attempt after Redis did not answer; then one request tries
KEY, USER, ADDRESS = "Client", "User", "Unauthenticated"  # whose limit it is, in the words of the refusal


class Limits(NamedTuple):
    """(requests, seconds) of one key or session, of one user, and of one address; None: no limit."""

    key: tuple[int, int] | None
    user: tuple[int, int] | None
    address: tuple[int, int] | None


class Limiter:
    """Counts the requests of one app."""

    def __init__(self, config: Mapping[str, Any], clock: Callable[[], float] = time.time) -> None:
        """:param config: the settings of the site and of its plugins; :param clock: seconds since 1970."""
        self._clock = clock
        self.on = not config["TESTING"]
        self._config = config
        self._limits: dict[RateLimits, Limits] = {}
        # Names of keys and addresses are written nowhere, and nobody can choose what falls into one bucket.
        secret = blake2b(config["SECRET_KEY"].encode(), person=b"pulsar.limits.v1").digest()
        self._hash = blake2b(digest_size=DIGEST_BYTES, key=secret)
        self._local = SharedCounters(clock)
        self._remote = _connect(config["REDIS_URL"])
        self._lock = threading.Lock()
        self._away = False
        self._silent_until = 0.0

    def count(self, mount: Mount, identity: "Identity", address: str | None) -> Mapping[str, str]:
        """Count one request to ``mount``.

        :returns: headers that tell the caller what is left to him; none where there is no limit.
        :raises RateLimited: if it is one too many.
        """
        if not self.on:
            return {}
        limits = self._limits.get(mount.rate_limits) or self._resolve(mount.rate_limits)
        whose: list[str] = []
        wanted: list[Counter] = []
        if not identity.authenticated:
            if limits.address:
                whose.append(ADDRESS)
                wanted.append(self._counter(mount, ADDRESS, network_of(address or ""), limits.address))
        else:
            if limits.key and identity.key_hash:
                whose.append(KEY)
                wanted.append(self._counter(mount, KEY, identity.key_hash, limits.key))
            if limits.user:
                whose.append(USER)
                wanted.append(self._counter(mount, USER, str(identity.user_id), limits.user))
        return self._judge(whose, wanted) if wanted else {}

    def _resolve(self, asked: RateLimits) -> Limits:
        config = self._config
        if asked == SITE_LIMITS:
            names = ("RATE_LIMIT_AUTH_SPECIFIC", "RATE_LIMIT_PER_USER", "RATE_LIMIT_UNAUTH")
            found = Limits(*(config[name] for name in names))
        else:
            pair = config[asked] if isinstance(asked, str) else asked
            found = Limits(None, pair, pair)
        self._limits[asked] = found
        return found

    def _counter(self, mount: Mount, whose: str, who: str, limit: tuple[int, int]) -> Counter:
        hashed = self._hash.copy()
        hashed.update(f"{mount.plugin} {whose} {who}".encode("utf-8", "surrogateescape"))
        return Counter(hashed.digest(), *limit)

    def _judge(self, whose: list[str], wanted: list[Counter]) -> dict[str, str]:
        counts = self._take(wanted)
        nearest = 0  # of several counters the one that will be full first
        for index, (used, _) in enumerate(counts):
            if wanted[index].requests - used < wanted[nearest].requests - counts[nearest][0]:
                nearest = index
        limit, (used, ends) = wanted[nearest].requests, counts[nearest]
        headers = {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(max(0, limit - used)),
            "X-RateLimit-Reset": str(ceil(ends)),
        }
        if used <= limit:
            return headers
        seconds = max(1, ceil(ends - self._clock()))
        raise RateLimited(
            f"{whose[nearest]} rate limit exceeded. {seconds} seconds until lock expires.",
            headers={"Retry-After": str(seconds), **headers},
        )

    def _take(self, wanted: list[Counter]) -> list[tuple[int, float]]:
        """Ask Redis if there is one that answers, else the counters of this machine, which begin at zero."""
        if self._remote is not None and self._may_ask():
            try:
                found = self._remote.take(wanted)
            except ConnectionError as exc:
                self._note_away(exc)
            else:
                self._note_back()
                return found
        return self._local.take(wanted)

    def _may_ask(self) -> bool:
        if not self._away:
            return True
        with self._lock:
            if self._clock() < self._silent_until:
                return False
            self._silent_until = self._clock() + PAUSE  # one request asks; the others do not wait with it
            return True

    def _note_away(self, exc: ConnectionError) -> None:
        with self._lock:
            if not self._away:
                log.warning("requests are counted on this machine alone, for Redis does not answer: %s", exc)
            self._away, self._silent_until = True, self._clock() + PAUSE

    def _note_back(self) -> None:
        if not self._away:
            return
        with self._lock:
            if self._away:
                log.info("Redis answers again and counts requests")
            self._away = False

    @property
    def uses_redis(self) -> bool:
        """Whether a Redis is configured."""
        return self._remote is not None

    def check(self) -> str:
        """What ``/health`` says of Redis."""
        assert self._remote is not None, "asked only where there is one"
        try:
            self._remote.check()
        except ConnectionError as exc:
            self._note_away(exc)
            return "degraded: Redis does not answer; each machine counts requests by itself"
        self._note_back()
        return "ok"


def _connect(url: str) -> "RedisCounters | None":
    if not url or url.startswith("memory://"):
        return None
    # Not at the top: most sites have no Redis, and its library takes long to load.
    found: RedisCounters = importlib.import_module("core.limits.remote").RedisCounters(url)
    return found
