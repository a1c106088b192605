"""Counters in Redis, for the processes of several machines: one round trip for all counters of a request."""

import time
from collections.abc import Sequence
from typing import Any, Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from core.limits.shared import Counter

__all__ = ["RedisCounters"]

PREFIX: Final = "pulsar:limit:"
TIMEOUT: Final = 0.2  # s to connect, and for an answer; a Redis that is well needs a thousandth of that
# What SharedCounters.take() does, in milliseconds. A key that has no end, or one beyond its window because a
# setting was changed, begins anew; SET with PX never leaves one without an end.
SCRIPT: Final = """
local counts = {}
for i, key in ipairs(KEYS) do
  local most, window = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i]) * 1000
  local used, left = tonumber(redis.call('GET', key) or 0), redis.call('PTTL', key)
  if left <= 0 or left > window then used, left = 0, window end
  counts[2 * i - 1], counts[2 * i] = used + 1, left
  if used >= most then return counts end
end
for i, key in ipairs(KEYS) do
  if counts[2 * i - 1] == 1 then
    redis.call('SET', key, 1, 'PX', counts[2 * i])
  else
    redis.call('INCR', key)
  end
end
return counts
"""


class RedisCounters:
    """Counts for all who use the same Redis and the same ``SECRET_KEY``."""

    def __init__(self, url: str) -> None:
        # No attempt after the first: whoever waits for the answer is a request.
        self._redis: Any = Redis.from_url(
            url,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
        self._script = self._redis.register_script(SCRIPT)

    def take(self, wanted: Sequence[Counter]) -> list[tuple[int, float]]:
        """As :meth:`core.limits.shared.SharedCounters.take`.

        :raises ConnectionError: if Redis does not answer, or not so.
        """
        keys = [PREFIX + counter.digest.hex() for counter in wanted]
        sizes = [number for counter in wanted for number in counter[1:]]
        try:
            found = self._script(keys, sizes)
        except (RedisError, OSError) as exc:
            raise ConnectionError(str(exc)) from exc
        moment = time.time()
        return [(used, moment + left / 1000) for used, left in zip(found[::2], found[1::2], strict=True)]

    def check(self) -> None:
        """:raises ConnectionError: if Redis does not answer."""
        try:
            self._redis.ping()
        except (RedisError, OSError) as exc:
            raise ConnectionError(str(exc)) from exc
