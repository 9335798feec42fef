"""The pool of connections to a Redis: on a server that takes connections and says nothing."""

import contextlib
import threading
import time

import pytest

from flask_sse_push import BusUnavailable
from tests.bus.redis_server import Toy
from tests.support import FACTOR, MS, eventually

pytest.importorskip("redis")

from flask_sse_push.bus.redis.pool import MAX_CONNECTIONS, Pool  # noqa: E402
from flask_sse_push.bus.redis.targets import find_endpoint  # noqa: E402


@pytest.fixture
def toy():
    """A server that takes every connection and reads it to its end."""
    with Toy(lambda connection: connection.recv(1)) as toy:
        yield toy


@pytest.fixture
def pool(toy):
    """A pool of connections to it."""
    pool = Pool(find_endpoint(f"redis://127.0.0.1:{toy.port}", None)[0].open)
    yield pool
    pool.close()


def soon(seconds=5 * FACTOR):
    return time.monotonic() + seconds


def test_pool_lends_a_connection_again(pool):
    """What comes back is lent to the next caller, and two callers at once have two."""
    with pool.connection(soon()) as first:
        pass
    with pool.connection(soon()) as second, pool.connection(soon()) as third:
        assert second is first
        assert third is not first


def test_pool_drops_a_connection_that_an_exception_left(pool):
    """Behind an exception an answer may still come: the connection is closed, and another one lent."""
    with pytest.raises(KeyError), pool.connection(soon()) as first:
        raise KeyError
    assert first.fileno() == -1
    with pool.connection(soon()) as second:
        assert second is not first


def test_pool_drops_a_connection_that_was_closed_by_the_server(pool, toy):
    """A connection whose other end is gone is not lent again."""
    with pool.connection(soon()) as first:
        pass
    # Again and again: the server may not have taken the connection yet.
    eventually(lambda: toy.hang_up() or first.is_stale())
    with pool.connection(soon()) as second:
        assert second is not first
    assert first.fileno() == -1


def test_closed_pool_closes_what_comes_back(pool):
    """What is idle is closed at once, and what is in use when it comes back."""
    with pool.connection(soon()) as used:
        with pool.connection(soon()) as idle:
            pass
        pool.close()
        assert (idle.fileno(), used.fileno() >= 0) == (-1, True)
    assert used.fileno() == -1


def test_full_pool_refuses_in_time(pool):
    """When all connections are in use for as long as a caller has, it is told so."""
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            stack.enter_context(pool.connection(soon()))
        begun = time.monotonic()
        with pytest.raises(BusUnavailable, match="16 other publishes of this process"):
            with pool.connection(soon(0.2)):
                pass
        assert 0.2 <= time.monotonic() - begun < 0.2 + FACTOR
    with pool.connection(soon()):
        pass


def test_places_that_come_back_together_wake_as_many_callers(pool):
    """Each place that becomes free is taken by a caller that waits, while another place is still in use."""
    lent, done = contextlib.ExitStack(), threading.Event()
    inside = []

    def use():
        with pool.connection(soon(30 * FACTOR)):
            inside.append(1)
            done.wait(30 * FACTOR)

    threads = [threading.Thread(target=use) for _ in range(4 * MAX_CONNECTIONS)]
    with lent:
        for _ in range(MAX_CONNECTIONS):
            lent.enter_context(pool.connection(soon()))
        for thread in threads:
            thread.start()
        eventually(lambda: len(pool._waiting) == len(threads), 10_000 * MS)
        assert not inside
    eventually(lambda: len(inside) == MAX_CONNECTIONS, 5000 * MS, "all places are in use again")
    done.set()
    for thread in threads:
        thread.join(30 * FACTOR)
    assert len(inside) == len(threads)


def _use(pool, until, came):
    try:
        with pool.connection(until):
            came.append(1)
    except BusUnavailable:
        pass


def test_caller_that_gives_up_leaves_the_place_to_the_next(pool):
    """A place that becomes free for a caller whose time has just ended is taken by the next one."""
    short, long = [], []
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            stack.enter_context(pool.connection(soon()))
        threads = []
        for until, came in ((soon(0.3 * FACTOR), short), (soon(), long)):
            threads.append(threading.Thread(target=_use, args=(pool, until, came)))
            threads[-1].start()
            eventually(lambda: len(pool._waiting) == len(threads))  # noqa: B023
        # What a connection that comes back does, in the very moment when the first caller's time is over: its
        # wakeup is taken, and wakes nobody any more.
        pool._waiting.popleft()
        pool._places.append(0)
        for thread in threads:
            thread.join(5 * FACTOR)
        assert (short, long) == ([], [1])
        pool._places.pop()
