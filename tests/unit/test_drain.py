"""How all streams end when the server stops: over a time, in a random order, and none is left."""

import pytest

from flask_sse_push.core.session import Cause
from flask_sse_push.platform.server import Server
from flask_sse_push.streams.drain import DRAIN_SECONDS, GRACE_SECONDS, TICK_SECONDS, Drain

from .parts import HandWorker


class Stream:
    """A stream that notes when it was told to end."""

    clock = None

    def __init__(self, number):
        self.number, self.ended, self.cut = number, [], []

    def end(self, cause):
        assert cause is Cause.STOP
        self.ended.append(self.clock.now)

    def cut_off(self):
        self.cut.append(self.clock.now)


class Clock:
    now = 1_000.0


@pytest.fixture
def worker():
    with HandWorker() as worker:
        yield worker


def drained(worker, streams, seconds, *, late=()):
    """Run a drain's ticks for a time, from the moment at which the worker is told to stop."""
    clock = Stream.clock = Clock()
    drain = Drain(Server("a test", worker))
    drain.go_on(streams, clock.now)
    assert not any(stream.ended for stream in streams)
    worker.alive = False
    begun = clock.now
    while clock.now < begun + seconds:
        clock.now += TICK_SECONDS
        drain.go_on([*streams, *(late if clock.now > begun + DRAIN_SECONDS / 2 else ())], clock.now)
    return begun + TICK_SECONDS


def test_streams_end_over_a_second_in_equal_parts(worker):
    """Each tick ends a part of them, so that their clients do not come back at once."""
    streams = [Stream(number) for number in range(100)]
    begun = drained(worker, streams, DRAIN_SECONDS)
    times = [stream.ended[0] for stream in streams]
    parts = [times.count(time) for time in sorted(set(times))]
    assert parts == [25, 25, 25, 25]
    assert max(times) - begun < DRAIN_SECONDS


def test_order_of_the_ends_is_random(worker):
    """Clients that came together do not come back together."""
    streams = [Stream(number) for number in range(100)]
    drained(worker, streams, DRAIN_SECONDS)
    order = [stream.number for stream in sorted(streams, key=lambda stream: stream.ended[0])]
    by_steps = [number for part in range(4) for number in range(part, 100, 4)]
    first = set(order[:25])
    assert order != sorted(order)
    assert all(first != set(by_steps[at : at + 25]) for at in range(0, 100, 25))


def test_stream_that_comes_meanwhile_ends_too(worker):
    """Who is there behind the last part is ended with the next tick."""
    streams, late = [Stream(number) for number in range(4)], Stream(5)
    begun = drained(worker, streams, DRAIN_SECONDS + TICK_SECONDS, late=[late])
    assert late.ended == [begun + DRAIN_SECONDS]


def test_stream_that_does_not_end_is_cut_off(worker):
    """A client that does not take its last bytes is cut off a second later, and not before."""
    streams = [Stream(number) for number in range(4)]
    begun = drained(worker, streams, DRAIN_SECONDS + GRACE_SECONDS - TICK_SECONDS)
    assert not any(stream.cut for stream in streams)
    worker.alive = True
    begun = drained(worker, streams := [Stream(0)], DRAIN_SECONDS + GRACE_SECONDS + TICK_SECONDS)
    assert streams[0].cut[0] == begun + DRAIN_SECONDS + GRACE_SECONDS


def test_drain_says_when_it_is_due(worker):
    """
    Once a tick: a wait that ends a moment early costs no whole tick, and hang-ups do not make it look more
    often.
    """
    drain = Drain(Server("a test", worker))
    drain.go_on([], 1_000.0)
    assert 1_000.0 + TICK_SECONDS / 2 < drain.due_at < 1_000.0 + TICK_SECONDS


def test_streams_of_other_servers_go_on():
    """Only gunicorn says that it stops."""
    Stream.clock = Clock()
    stream, drain = Stream(0), Drain(Server("a test"))
    drain.go_on([stream], 1_000.0)
    assert stream.ended == []
