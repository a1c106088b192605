"""Counters with a clock that is told what time it is, and a Redis that may be killed."""

import secrets
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import redis

from core.limits.shared import Counter, SharedCounters

START_LIMIT = 20.0  # s


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self):
        self.time = 1_900_000_000.0

    def __call__(self):
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def counters(clock):
    return SharedCounters(clock)


@pytest.fixture
def make_counter():
    """``make_counter("name", 3, 60)``: the same name is the same thing within one test."""
    secret = secrets.token_hex(8)

    def make(name, requests=3, seconds=60):
        return Counter(f"{name}{secret}".encode().ljust(16, b".")[:16], requests, seconds)

    return make


class PrivateRedis:
    """A Redis of one test, at a socket in its folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.client = redis.Redis.from_url(self.url)
        self.process = None

    def start(self):
        words = ("--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", str(self.folder))
        self.process = subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_LIMIT
        while True:
            try:
                return self.client.ping()
            except redis.ConnectionError:
                assert time.monotonic() < deadline, "redis-server does not start"

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def private_redis(tmp_path_factory):
    """A running Redis with ``url``, ``client``, ``kill()`` and ``start()``; skipped where there is none."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    made = PrivateRedis(tmp_path_factory.mktemp("r"))
    made.start()
    yield made
    made.client.close()
    made.kill()
