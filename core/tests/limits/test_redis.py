"""Counting in Redis: together, never without an end, and what happens when it dies."""

import logging
import socket
import threading
import time
from multiprocessing import get_context

import pytest
from marshmallow import ValidationError

from core.limits.remote import PREFIX, TIMEOUT, RedisCounters
from core.settings import Config

fork = get_context("fork")


def used(found):
    return [count for count, _ in found]


@pytest.fixture
def remote(private_redis):
    """Counters in a Redis of this test."""
    counters = RedisCounters(private_redis.url)
    yield counters
    counters._redis.close()


@pytest.fixture
def limited(rate_limits):
    """``limited(url, RATE_LIMIT_...=...)``: a site that counts in the Redis at ``url``."""
    made = []

    def make(url, **settings):
        made.append(rate_limits(REDIS_URL=url, **settings))
        return made[-1]

    yield make
    for limiter in made:
        limiter._remote._redis.close()


def test_the_request_after_the_last_is_refused(remote, make_counter):
    three, other = [make_counter("ann", 3, 60)], [make_counter("bob", 3, 60)]
    for number in (1, 2, 3, 4, 4):
        ((count, ends),) = remote.take(three)
        assert count == number
        assert 50 < ends - time.time() < 61
    assert used(remote.take(other)) == [1]


def test_of_several_counters_all_count_or_none(remote, make_counter):
    first, second, both = make_counter("key 1", 5), make_counter("key 2", 5), make_counter("user", 3)
    assert used(remote.take([first, both])) == [1, 1]
    assert [used(remote.take([second, both])) for _ in range(4)] == [[1, 2], [2, 3], [3, 4], [3, 4]]
    assert used(remote.take([second])) == [3]


def test_every_counter_has_an_end_from_the_first_request_on(remote, private_redis, make_counter):
    for seconds in (7, 60, 86_400):
        counter = make_counter(f"in {seconds}", 2, seconds)
        key = PREFIX + counter.digest.hex()
        ends = []
        for _ in range(3):
            remote.take([counter])
            left = private_redis.client.pttl(key)
            assert 0 < left <= seconds * 1000
            ends.append(time.time() * 1000 + left)
        assert max(ends) - min(ends) < 1000, "later requests did not move the end"


def test_a_counter_that_lost_its_end_or_has_one_too_far_begins_anew(remote, private_redis, make_counter):
    counter = make_counter("ann", 2, 60)
    key = PREFIX + counter.digest.hex()
    for spoil in (private_redis.client.persist, lambda key: private_redis.client.expire(key, 9000)):
        assert [used(remote.take([counter])) for _ in range(3)][-1] == [3]
        assert spoil(key)
        assert used(remote.take([counter])) == [1]
        assert 0 < private_redis.client.pttl(key) <= 60_000
        private_redis.client.delete(key)


def test_a_redis_that_forgot_the_script_learns_it_again(remote, private_redis, make_counter):
    counter = make_counter("ann")
    assert used(remote.take([counter])) == [1]
    private_redis.client.script_flush()
    assert used(remote.take([counter])) == [2]


def hammer(counters, counter, calls):
    passed = []

    def run():
        for _ in range(calls // 2):
            ((count, _),) = counters.take([counter])
            passed.append(count <= counter.requests)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(passed)


def test_processes_and_threads_at_once_pass_exactly_as_many_as_are_allowed(remote, make_counter):
    counter, found = make_counter("all", 150, 3600), fork.Queue()
    assert used(remote.take([counter])) == [1], "connected before the fork, too"
    children = [fork.Process(target=lambda: found.put(hammer(remote, counter, 100))) for _ in range(2)]
    for child in children:
        child.start()
    passed = hammer(remote, counter, 100) + sum(found.get(timeout=60) for _ in children)
    for child in children:
        child.join(60)
    assert passed == 149


def test_two_sites_with_one_redis_count_together_if_they_are_one(client, limited, private_redis):
    def ask():
        return client.get("/users/me").status_code

    limited(private_redis.url, RATE_LIMIT_UNAUTH=(3, 60))
    assert [ask(), ask()] == [401, 401]
    limited(private_redis.url, RATE_LIMIT_UNAUTH=(3, 60))  # another machine of the same site
    assert [ask(), ask()] == [401, 429]
    limited(private_redis.url, RATE_LIMIT_UNAUTH=(3, 60), SECRET_KEY="of another site")
    assert ask() == 401
    assert all(b"127.0.0.1" not in key for key in private_redis.client.scan_iter())


def test_when_redis_dies_the_limits_hold_on_and_the_site_says_so(
    client, limited, private_redis, freeze_time, caplog
):
    def ask():
        return client.get("/users/me").status_code

    def logged():
        return [record.levelname for record in caplog.records if record.name.startswith("core.limits")]

    def health():
        answer = client.get("/health")
        assert answer.status_code == 200
        return answer.json["response"]["cache"]

    caplog.set_level(logging.INFO, "core.limits")
    freeze_time(0)
    limited(private_redis.url, RATE_LIMIT_UNAUTH=(3, 60))
    assert [ask() for _ in range(4)] == [401, 401, 401, 429]
    assert health() == "ok"

    private_redis.kill()
    began = time.monotonic()
    # Counted here from zero on; the limit holds all the same.
    assert [ask() for _ in range(5)] == [401, 401, 401, 429, 429]
    assert time.monotonic() - began < 10 * TIMEOUT
    assert health() == "degraded: Redis does not answer; each machine counts requests by itself"
    freeze_time(7)
    assert [ask() for _ in range(2)] == [429, 429]
    assert logged() == ["WARNING"], "one line for one outage"

    private_redis.start()
    assert ask() == 429, "not asked again so soon"
    freeze_time(13)
    assert [ask() for _ in range(4)] == [401, 401, 401, 429]
    assert health() == "ok"
    assert logged() == ["WARNING", "INFO"]


def test_a_redis_that_accepts_and_says_nothing_costs_one_short_wait(client, limited, freeze_time, tmp_path):
    freeze_time(0)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "mute.sock"))
        mute.listen(64)
        limited(f"unix://{tmp_path / 'mute.sock'}", RATE_LIMIT_UNAUTH=(20, 60))
        began = time.monotonic()
        assert {client.get("/users/me").status_code for _ in range(20)} == {401}
        assert time.monotonic() - began < 20 * TIMEOUT
        assert client.get("/users/me").status_code == 429


def test_a_redis_that_answers_with_errors_is_as_good_as_none(
    client, limited, private_redis, freeze_time, make_counter
):
    freeze_time(0)
    private_redis.client.config_set("maxmemory", "1")
    limited(private_redis.url, RATE_LIMIT_UNAUTH=(2, 60))
    assert [client.get("/users/me").status_code for _ in range(3)] == [401, 401, 429]


def test_a_redis_that_was_never_there_stops_nothing(client, limited, freeze_time):
    freeze_time(0)
    limited("redis://:secret@127.0.0.1:1/0", RATE_LIMIT_UNAUTH=(2, 60))
    assert [client.get("/users/me").status_code for _ in range(3)] == [401, 401, 429]
    assert client.get("/health").json["response"]["cache"].startswith("degraded")


@pytest.mark.parametrize("url", ["", "memory://"])
def test_without_redis_health_says_nothing_of_it(client, rate_limits, url):
    rate_limits(REDIS_URL=url)
    assert "cache" not in client.get("/health").json["response"]


@pytest.mark.parametrize(
    "url", ["", "memory://", "redis://localhost/1", "rediss://:pw@r:6380", "unix:///run/r.sock"]
)
def test_a_redis_has_an_address(url):
    assert Config.REDIS_URL.load(url) == url


@pytest.mark.parametrize("url", ["localhost", "http://localhost", "redis://h:port", "redis://[::1"])
def test_what_is_no_address_of_a_redis_is_a_mistake(url):
    with pytest.raises(ValidationError):
        Config.REDIS_URL.load(url)
