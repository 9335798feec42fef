"""The memory bus: code that publishes in the middle of a publish, and observers."""

import itertools
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
from blinker import Signal

from flask_sse_push.bus import BusOptions, MemoryBus, channel_states, memory
from flask_sse_push.core.messages import Message
from flask_sse_push.errors import ChannelClosed, TooManyKept
from flask_sse_push.platform import locks
from flask_sse_push.streams.hub import Hub
from tests.bus.stores import RETENTION, Follower, block, keep
from tests.needs import needs
from tests.support import FACTOR, alarms

OURS = {memory.__file__, locks.__file__, channel_states.__file__}


@pytest.fixture
def bus():
    return MemoryBus(BusOptions(RETENTION, 5))


def publish(bus, text="x"):
    return bus.publish(Message(("a",), block(text))).sequence


def at_line(number, act, call):
    """
    Call, and act once before the given line of the bus that it runs. Returns whether there were so many
    lines.
    """
    left = [number]

    def trace(frame, event, _):
        if frame.f_code.co_filename not in OURS:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                sys.settrace(None)
                act()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return left[0] <= 0


def test_publish_within_a_publish_keeps_the_order(bus):
    """
    Wherever a finalizer or a signal handler publishes within publish(), the listener gets both events in the
    order of their numbers.
    """
    listener = Follower(bus)
    for line in itertools.count(1):
        within, before = [], len(listener.entries)
        happened = at_line(line, lambda within=within: within.append(publish(bus)), lambda: publish(bus))
        assert len(listener.entries) == before + 1 + len(within), line
        assert listener.numbers() == list(range(1, before + 2 + len(within))), line
        if not happened:
            break
    assert line > 20


def test_interrupted_publish_leaves_a_bus_that_works(bus):
    """
    After an exception of a signal handler within publish() all threads can publish, and the numbers rise.
    """

    class Interrupted(Exception):
        pass

    def handler(*_):
        raise Interrupted

    listener = Follower(bus)
    with alarms(handler):
        for attempt in range(300):
            with pytest.raises(Interrupted):
                signal.setitimer(signal.ITIMER_REAL, 0.00005 + attempt * 0.000001)
                while True:
                    publish(bus)
            mine, theirs = publish(bus), []
            thread = threading.Thread(target=lambda theirs=theirs: theirs.append(publish(bus)), daemon=True)
            thread.start()
            thread.join(5 * FACTOR)
            assert theirs == [mine + 1]
            assert listener.numbers()[-2:] == [mine, mine + 1]
    assert listener.numbers() == sorted(set(listener.numbers()))


def test_listener_that_publishes_gets_its_event_afterwards(bus):
    """An event that is published while another is handed on comes behind it, not within it."""
    calls = []

    class Echo(Follower):
        def entries_came(self, entries, head):
            calls.append("begin")
            if entries[0].sequence == 1:
                assert publish(bus, "echo") == 2
            super().entries_came(entries, head)
            calls.append("end")

    listener = Echo(bus)
    assert publish(bus) == 1
    assert listener.numbers() == [1, 2]
    assert calls == ["begin", "end"] * 2


def test_greenlet_that_publishes_within_the_publish_of_another_one_does_not_wait():
    """
    A finalizer that switches greenlets in the middle of a publish holds up none of them, and the order stays.
    """
    needs(modules=["gevent"])
    code = """
        import gevent
        from tests.bus.test_memory import RETENTION, Follower, MemoryBus, BusOptions, publish

        class Switching(Follower):
            def entries_came(self, entries, head):
                if entries[0].sequence == 1:
                    gevent.sleep(0.01)
                super().entries_came(entries, head)

        bus = MemoryBus(BusOptions(RETENTION, 5))
        listener = Switching(bus)
        with gevent.Timeout(10):
            first = gevent.spawn(publish, bus)
            gevent.sleep(0)
            others = [gevent.spawn(publish, bus) for _ in range(10)]
            gevent.sleep(0)
            assert [other.value for other in others] == list(range(2, 12)), "they do not wait"
            assert not listener.entries
            gevent.joinall([first, *others])
        assert listener.numbers() == list(range(1, 12)), listener.numbers()
        print("fine")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=30 * FACTOR,
        check=False,
    )
    assert done.stdout == "fine\n", done.stderr


def test_observer_sees_every_entry_in_order(bus):
    """
    Who connects to the bus as a signal gets all entries of all threads, in the order of their numbers, also
    its own.
    """
    listener, seen = Follower(bus), []

    def observe(sender, entry):
        assert sender is bus
        seen.append(entry)
        if entry.wire.endswith(b"data: 7\n\n"):
            publish(bus, "of the observer")

    bus.entry_numbered.connect(observe, sender=bus)
    threads = [
        threading.Thread(target=lambda: [publish(bus, number) for number in range(100)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.sequence for entry in seen] == list(range(1, 8 * 101 + 1))
    assert seen == listener.entries


def test_observer_that_publishes_is_called_afterwards(bus):
    """What an observer publishes reaches all observers behind what they are told of now."""
    heard = {"first": [], "second": []}

    def first(sender, entry):
        heard["first"].append(entry.sequence)
        if entry.sequence < 5:
            publish(bus)

    def second(sender, entry):
        heard["second"].append(entry.sequence)

    bus.entry_numbered.connect(first)
    bus.entry_numbered.connect(second)
    publish(bus)
    assert heard == {"first": [1, 2, 3, 4, 5], "second": [1, 2, 3, 4, 5]}


def test_observer_that_fails_is_logged_and_harms_nobody(bus, caplog):
    """Its exception reaches neither the publisher nor the other observers nor the listener."""
    listener, seen = Follower(bus), []

    def fail(sender, entry):
        raise RuntimeError("as observers do")

    def observe(sender, entry):
        seen.append(entry.sequence)

    bus.entry_numbered.connect(fail)
    bus.entry_numbered.connect(observe)
    assert [publish(bus), publish(bus)] == [1, 2]
    assert seen == listener.numbers() == [1, 2]
    assert caplog.text.count("An observer of the memory bus failed") == 2


def test_nothing_is_sent_when_nobody_observes(bus):
    """Without a receiver the signal is not sent, and nothing is kept for it."""

    class Unsent(Signal):
        def receivers_for(self, sender):
            raise AssertionError("the signal was sent")

    bus.entry_numbered = Unsent()
    listener = Follower(bus)
    publish(bus)
    assert listener.numbers() == [1]
    assert not bus._unobserved


class Interrupted(Exception):
    """What a signal handler raises."""


def interrupt():
    raise Interrupted


def each_interruption(message):
    """
    Publish a message on a new bus, interrupted before each line in turn, and once more behind that.

    Yields the bus and its hub, when an event of another channel has come behind.
    """
    for line in itertools.count(1):
        bus = MemoryBus(BusOptions(RETENTION, 5))
        hub = Hub(bus, RETENTION, dict)
        try:
            happened = at_line(line, interrupt, lambda bus=bus: bus.publish(message))
        except Interrupted:
            happened = True
        bus.publish(message)
        bus.publish(Message(("other",), block("x")))
        yield bus, hub
        if not happened:
            assert line > 20
            return


def test_interrupted_closing_can_be_repeated():
    """Wherever an exception comes out of it, closing once more ends streams and refuses publishers."""
    for bus, hub in each_interruption(Message(("a",), b"", closes=True)):
        assert hub.log.closed_behind(("a",)) is not None
        with pytest.raises(ChannelClosed):
            publish(bus)


def test_interrupted_keeping_can_be_repeated():
    """Wherever an exception comes out of it, publishing once more keeps the value, until it is forgotten."""
    for bus, hub in each_interruption(Message(("a",), block("x"), "key")):
        assert hub.log.kept(("a",), hub.log.head) == block("x")
        assert not bus.publish(Message(("a",), b"", "key")).is_repeated
        assert hub.log.kept(("a",), hub.log.head) == b""
        assert bus.publish(Message(("a",), b"", "key")).is_repeated


def test_closing_within_a_publish_keeps_the_order(bus):
    """Wherever a finalizer closes a channel within a publish, the mark is the last of the channel."""
    for line in itertools.count(1):
        channels = (f"c{line}",)
        listener = bus._listener or Follower(bus, channels=channels)
        listener.heard.update(channels)
        before = len(listener.entries)

        def close(channels=channels):
            bus.publish(Message(channels, b"", closes=True))

        try:
            happened = at_line(
                line, close, lambda channels=channels: bus.publish(Message(channels, block("x")))
            )
        except ChannelClosed:
            happened = True
        numbers = [entry.sequence for entry in listener.entries[before:]]
        assert numbers == sorted(numbers), line
        if not happened:
            break
    assert line > 20


def test_value_weighs_nothing_when_it_is_replaced_or_forgotten():
    """The bound in bytes counts what is kept now."""
    bus = MemoryBus(BusOptions(keep(max_kept_bytes=2_000), 5))
    large, small = block("." * 600), block(".")
    for _ in range(10):
        bus.publish(Message(("a",), large, "x"))
        bus.publish(Message(("a",), small, "x"))
    bus.publish(Message(("a",), large, "y"))
    with pytest.raises(TooManyKept, match="SSE_PUSH_KEPT_BYTES"):
        bus.publish(Message(("b", "a"), large, "z"))
    bus.publish(Message(("a",), b"", "y"))
    bus.publish(Message(("a",), large, "z"))
    bus.publish(Message(("a",), small, "z"))


def test_states_of_closed_channels_do_not_pile_up():
    """What is forgotten is removed, also where nobody asks for that channel again."""
    bus = MemoryBus(BusOptions(keep(seconds=0.0), 5))
    for number in range(10_000):
        bus.publish(Message((f"run.{number}",), block("x"), "x", closes=True))
    assert len(bus._states._closed) < 3_000
    assert bus._states._kept_bytes < 3_000 * 1_000
