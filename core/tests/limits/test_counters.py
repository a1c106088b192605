"""Windows, and what is counted in them: by threads, by processes, and when memory is short."""

import os
import signal
import threading
import time
from multiprocessing import get_context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.limits.addresses import network_of
from core.limits.shared import LATE, PATIENCE, WAYS, Counter, SharedCounters

fork = get_context("fork")


def used(found):
    return [count for count, _ in found]


def test_the_request_after_the_last_is_refused_until_the_window_ends(counters, clock, make_counter):
    three = [make_counter("ann", 3, 60)]
    begun = clock.time
    for number in (1, 2, 3, 4, 4):
        assert counters.take(three) == [(number, begun + 60)]
        clock.time += 10
    clock.time = begun + 59.999
    assert used(counters.take(three)) == [4]
    clock.time = begun + 60
    assert counters.take(three) == [(1, begun + 120)]


def test_one_does_not_count_for_another(counters, make_counter):
    ann, bob = [make_counter("ann", 1)], [make_counter("bob", 1)]
    assert [used(counters.take(who)) for who in (ann, ann, bob, bob)] == [[1], [2], [1], [2]]


def test_of_several_counters_all_count_or_none(counters, make_counter):
    first, second, both = make_counter("key 1", 5), make_counter("key 2", 5), make_counter("user", 3)
    assert used(counters.take([first, both])) == [1, 1]
    assert [used(counters.take([second, both])) for _ in range(4)] == [[1, 2], [2, 3], [3, 4], [3, 4]]
    assert used(counters.take([second])) == [3], "what was refused for the user counted for the key"
    tight = make_counter("key 3", 1)
    other = make_counter("user 2", 3)
    assert [used(counters.take([tight, other])) for _ in range(3)] == [[1, 1], [2], [2]]
    assert used(counters.take([other])) == [2]


@given(
    limit=st.tuples(st.integers(1, 4), st.integers(1, 5)),
    steps=st.lists(st.tuples(st.floats(0, 3), st.sampled_from("abc")), max_size=60),
)
def test_never_more_than_allowed_pass_in_a_window_and_none_lasts_longer(limit, steps):
    moment = [1e9]
    counters = SharedCounters(lambda: moment[0], buckets=1)
    windows: dict[str, tuple[float, int]] = {}
    requests, seconds = limit
    for step, name in steps:
        moment[0] += step
        ends, came = windows.get(name, (0.0, 0))
        if moment[0] >= ends:
            ends, came = moment[0] + seconds, 0
        allowed = came < requests
        windows[name] = (ends, came + allowed)
        assert counters.take([Counter(name.encode() * 16, requests, seconds)]) == [(came + 1, ends)]


@given(st.lists(st.tuples(st.floats(-1e5, 1e5), st.integers(1, 100)), max_size=30))
def test_whatever_the_clock_does_nobody_waits_longer_than_a_window(jumps):
    moment = [1e9]
    counters = SharedCounters(lambda: moment[0], buckets=1)
    for jump, seconds in jumps:
        moment[0] += jump
        ((_, ends),) = counters.take([Counter(b"x" * 16, 1, seconds)])
        assert moment[0] < ends <= moment[0] + seconds + LATE


def test_when_a_bucket_is_full_the_oldest_window_goes_and_nobody_pays_for_others(clock):
    counters = SharedCounters(clock, buckets=1)
    names = [bytes([number]) * 16 for number in range(WAYS)]
    for name in names:
        counters.take([Counter(name, 5, 60)])
        clock.time += 1
    assert used(counters.take([Counter(b"new" + bytes(13), 5, 60)])) == [1]
    assert [used(counters.take([Counter(name, 5, 60)])) for name in names[1:]] == [[2]] * (WAYS - 1)
    assert used(counters.take([Counter(names[0], 5, 60)])) == [1], "forgotten, not kept for somebody else"


def test_two_counters_of_one_request_may_share_a_bucket(clock):
    counters = SharedCounters(clock, buckets=1)
    pair = [Counter(b"a" * 16, 9, 60), Counter(b"b" * 16, 9, 60)]
    assert [used(counters.take(pair)) for _ in range(3)] == [[1, 1], [2, 2], [3, 3]]


def test_bytes_that_were_left_half_written_lock_nobody_out(clock):
    counters = SharedCounters(clock, buckets=1)
    counter = Counter(b"\xff" * 16, 3, 60)  # as memory full of ones would have it
    counters._table[:] = b"\xff" * len(counters._table)
    assert counters.take([counter]) == [(1, clock.time + 60)]


def hammer(counters, counter, calls):
    """How many of ``calls`` requests pass in this process, by two threads at once."""
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


def test_processes_and_threads_at_once_pass_exactly_as_many_as_are_allowed(make_counter):
    counters, counter = SharedCounters(), make_counter("all", 1000, 3600)
    found = fork.Queue()
    children = [fork.Process(target=lambda: found.put(hammer(counters, counter, 600))) for _ in range(3)]
    for child in children:
        child.start()
    own = hammer(counters, counter, 600)
    others = [found.get(timeout=60) for _ in children]
    for child in children:
        child.join(60)
    assert own + sum(others) == 1000
    assert used(counters.take([counter])) == [1001]


def test_a_process_that_is_killed_while_it_counts_holds_the_others_up_once(make_counter):
    counters, counter = SharedCounters(), make_counter("all", 9, 3600)
    reader, writer = os.pipe()

    def die():
        assert counters._lock.acquire()
        os.write(writer, b"x")
        threading.Event().wait()

    child = fork.Process(target=die)
    child.start()
    assert os.read(reader, 1) == b"x"
    os.close(reader)
    os.close(writer)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    began = time.monotonic()
    assert used(counters.take([counter])) == [1]
    assert PATIENCE <= time.monotonic() - began < PATIENCE + 10
    began = time.monotonic()
    assert [used(counters.take([counter])) for _ in range(8)] == [[n] for n in range(2, 10)]
    assert time.monotonic() - began < PATIENCE


def test_who_lost_the_lock_to_an_impatient_one_does_no_harm(counters, make_counter):
    assert counters._lock.acquire(False)
    counters._lock.release()  # by the impatient one
    assert used(counters.take([make_counter("x")])) == [1]
    assert counters._lock.acquire(False), "it is free again"
    assert not counters._lock.acquire(False), "and had by one at a time"
    counters._lock.release()


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("a:b", "a:b"),
    ],
)
def test_an_address_is_counted_by_its_network(address, counted):
    assert network_of(address) == counted
