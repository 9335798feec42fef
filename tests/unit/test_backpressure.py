"""The guard against bursts that outrun the history: for whom a publisher waits, and for whom not."""

import math

import pytest

from flask_sse_push.streams.backpressure import MAX_HOLD_SECONDS, Backpressure

from .parts import attached, make_fanout, note


class Reader:
    """A task that reads when it is woken, as a stream does; ``count`` says how often."""

    def __init__(self, script, fanout, lock, *channels):
        self.wakeup, self.count = script.backend.wakeup(), 0
        self.listening = attached(fanout, lock, *channels, wakeup=self.wakeup)
        self.is_open = True
        script.backend.spawn(self.run, "reader")

    def run(self):
        with self.listening:
            while True:
                self.wakeup.wait()
                if not self.is_open:
                    return
                self.count += 1

    def close(self):
        self.is_open = False
        self.wakeup.wake()


@pytest.fixture
def guarded(script):
    """A fan-out with one reader of the channel "news", and the guard of a history of 10 events."""
    fanout, lock = make_fanout(max_events=5, max_bytes=10_000)
    reader = Reader(script, fanout, lock, "news")
    script.settle()
    guard = Backpressure(fanout, 5, 10_000, lambda: None)
    yield fanout, reader, guard
    reader.close()
    script.advance(1)


def test_publisher_waits_until_the_streams_have_read(script, guarded):
    """
    When half of the history was published since the last fan-out, the next publish lets the streams run.
    """
    fanout, reader, guard = guarded
    for _ in range(5):
        note(fanout, "news")
    assert reader.count == 0
    guard.hold(("news",), 5)
    assert reader.count == 1
    assert fanout.pending == {}


def test_publisher_of_little_does_not_wait(script, guarded):
    """Below that nobody gives way."""
    fanout, reader, guard = guarded
    for _ in range(4):
        note(fanout, "news")
    before = script.now
    guard.hold(("news",), 4)
    assert reader.count == 0
    assert script.now - before < 0.001
    script.settle()


def test_publisher_to_another_channel_does_not_wait(script, guarded):
    """A burst on one channel holds up nobody who publishes to another."""
    fanout, reader, guard = guarded
    for _ in range(5):
        note(fanout, "news")
    guard.hold(("orders",), 6)
    assert reader.count == 0
    script.settle()


def test_bytes_are_a_burst_too(script, guarded):
    """
    Few large events push out as much as many small ones, whatever their channel: all who listen are waited
    for.
    """
    fanout, reader, guard = guarded
    note(fanout, "news", size=6_000)
    note(fanout, "orders", size=6_000)
    guard.hold(("orders",), 2)
    assert reader.count == 1


def test_what_is_being_woken_for_counts(script, guarded):
    """Events of the fan-out that runs at this moment are not read yet."""
    fanout, _, guard = guarded
    fanout.current = {"news": 3}
    note(fanout, "news")
    assert not guard._is_burst(("news",), 4)
    note(fanout, "news")
    assert guard._is_burst(("news",), 5)
    script.settle()


def test_nobody_waits_where_nobody_listens(script):
    """A burst without listeners costs no turn."""
    fanout, _ = make_fanout(max_events=1)
    guard = Backpressure(fanout, 1, 1, lambda: 0)
    before = script.now
    guard.hold(("news",), 1_000)
    assert script.now == before


class Busy:
    """A listener who has been woken, and does not come to run: the machine is busy."""

    is_pending = True

    def wake(self):
        """It is awake."""


@pytest.mark.parametrize(("until", "held"), [(math.inf, MAX_HOLD_SECONDS), (0.03, 0.03)])
def test_publisher_waits_for_a_tenth_of_a_second_at_most(script, until, held):
    """
    Streams that do not come to run hold a publisher up for so long, or for what is left of its own time.
    """
    fanout, lock = make_fanout(max_events=1)
    guard = Backpressure(fanout, 1, 10_000, lambda: None)
    script.look_seconds = 0.001
    with attached(fanout, lock, "news", wakeup=Busy()):
        note(fanout, "news")
        before = script.now
        guard.hold(("news",), 1, before + until)
        assert held <= script.now - before < held + 0.02
    script.look_seconds = 1e-9
    script.advance(1)


def test_publisher_waits_for_who_was_woken_and_has_not_run(script):
    """The fan-out alone is not enough: each listener of the channel must have come to read."""
    fanout, lock = make_fanout(max_events=1)
    guard = Backpressure(fanout, 1, 10_000, lambda: None)
    reader = Reader(script, fanout, lock, "news")
    script.settle()
    seen = []
    read = reader.wakeup.wait

    def slowly(timeout=None):
        rung = read(timeout)
        seen.append(reader.wakeup.is_pending)
        return rung

    reader.wakeup.wait = slowly
    note(fanout, "news")
    guard.hold(("news",), 1)
    assert not reader.wakeup.is_pending
    assert reader.count == 1
    reader.close()
    script.advance(1)


def test_loop_itself_does_not_wait(script, guarded):
    """Who cannot make way, because it is the loop, goes on at once."""
    fanout, reader, guard = guarded
    script.cannot_give_way = True
    for _ in range(5):
        note(fanout, "news")
    before = script.now
    guard.hold(("news",), 5)
    assert script.now - before < 0.001
    script.cannot_give_way = False
    script.settle()
    assert reader.count == 1


def test_publisher_waits_for_events_that_are_on_their_way(script):
    """Where events come to this process later than they are stored, the guard counts from what has come."""
    fanout, lock = make_fanout(max_events=5)
    come = [0]
    guard = Backpressure(fanout, 5, 10_000, lambda: come[0])
    reader = Reader(script, fanout, lock, "news")
    script.settle()

    def follow():
        script.sleep(0.01)
        come[0] = 8

    script.backend.spawn(follow, "follower")
    script.look_seconds = 0.001

    def turn():
        while come[0] == 0:
            script.spend(0.001)
            script.backend.give_way()

    script.backend.spawn(turn, "others")
    before = script.now
    guard.hold(("news",), 4)  # four are on their way, which is no burst
    assert script.now - before < 0.005
    guard.hold(("news",), 8)
    assert come == [8]
    assert script.now - before < MAX_HOLD_SECONDS
    script.look_seconds = 1e-9
    reader.close()
    script.advance(1)
