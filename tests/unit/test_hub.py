"""What one process has of a bus, fed by a bus that the test hands on by hand."""

import pytest

from flask_sse_push.bus.base import BusOptions, Retention
from flask_sse_push.bus.memory import MemoryBus
from flask_sse_push.core.cursor import Cursor
from flask_sse_push.streams.hub import MAX_LAG
from flask_sse_push.streams.subscription import Subscription

from .parts import HandBus, make_hub


@pytest.fixture
def bus():
    return HandBus()


@pytest.fixture
def hub(script, bus):
    """A hub whose bus has begun a log, and which is up."""
    hub = make_hub(bus)
    bus.start(hub)
    bus.begin()
    return hub


@pytest.fixture
def listen(script, hub):
    """Attach a wakeup to channels: ``listen("news")``."""
    attached = []

    def attach(*channels, to=hub):
        wakeup = script.backend.wakeup()
        to.attach(channels, wakeup)
        attached.append((to, channels, wakeup))
        script.settle()
        # The first listener is woken for what came while nobody listened.
        wakeup.count, wakeup.is_rung = 0, False
        return wakeup

    yield attach
    for to, channels, wakeup in attached:
        to.detach(channels, wakeup)
    script.advance(1)


def cursor(hub, *channels, position=0):
    return Cursor(channels or ("news",), position, hub.log.epoch)


def test_event_wakes_its_listeners_and_nobody_else(script, bus, hub, listen):
    """What the bus hands over is in the log when its listeners are woken."""
    news, orders = listen("news"), listen("orders")
    bus.give("hello", "news")
    script.settle()
    assert (news.count, orders.count) == (1, 0)
    assert b"data: hello" in hub.read(cursor(hub)).wire


def test_hole_in_the_numbers_wakes_everybody(script, bus, hub, listen):
    """
    Nobody knows whose the missing event was, so each listener is woken, and reads that something is lost.
    """
    news, orders, reader = listen("news"), listen("orders"), cursor(hub, "orders")
    bus.lose()
    bus.give("behind the hole", "news")
    script.settle()
    assert (news.count, orders.count) == (1, 1)
    assert hub.read(reader).lost == ("orders",)


def test_new_log_wakes_everybody(script, bus, hub, listen):
    """When the bus begins another log, each listener hears that its place means nothing there."""
    news, reader = listen("news"), cursor(hub)
    bus.begin(epoch="e2", position=7, data=["kept"])
    script.settle()
    assert news.count == 1
    batch = hub.read(reader)
    assert batch.reason == "epoch"
    assert b"data: kept" in batch.wire
    assert hub.log.head == 8


def test_bus_that_has_caught_up_wakes_everybody(script, bus, hub, listen):
    """Who began without a place in the log finds one now."""
    news = listen("news")
    bus.listener.caught_up()
    script.settle()
    assert news.count == 1


def test_batch_of_the_bus_keeps_its_order(script, bus, hub):
    """What one read of the bus gave is appended in its order."""
    bus.listener.entries_came([bus.entry(str(number)) for number in range(5)])
    assert [b"data: %d\n" % number in hub.read(cursor(hub)).wire for number in range(5)] == [True] * 5
    assert hub.log.head == 5


@pytest.mark.parametrize("shared", [True, False])
def test_event_that_comes_in_the_middle_of_a_section_waits_for_its_end(script, shared):
    """
    A finalizer that publishes while its own thread reads the log leaves its event, which is added at the end.
    """
    bus = HandBus(shared=shared)
    hub = make_hub(bus)
    bus.start(hub)
    bus.begin()
    with hub._lock:
        bus.give("one")
        bus.give("two")
        assert hub.log.head == 0
    assert hub.log.head == 2


def test_event_that_was_left_comes_before_the_next_one(script, bus, hub):
    """
    What was left to a section is added before what is handed over behind it, though the section has not got
    to it.
    """
    lock = hub._lock
    lock.__enter__()  # somebody is inside, further up
    bus.give("one")
    lock._holder = None  # has left, and was interrupted before it looked for what was left to it
    lock._release()
    bus.give("two")
    assert hub.log.head == 2
    assert len(hub.log) == 2


def test_stream_begins_at_the_end_of_the_log(bus, hub):
    """A new client reads what comes from now on."""
    bus.give("before")
    assert hub.place(None) == ("e1", 1, None)


def test_first_stream_starts_a_shared_bus(script):
    """A shared bus is followed from the first stream on, and a stream waits for its first read."""
    bus = HandBus(state="idle")
    hub = make_hub(bus)
    assert bus.starts == 0

    def start(listener):
        HandBus.start(bus, listener)
        bus.state = "starting"

    bus.start = start

    def follow():
        script.sleep(0.1)
        bus.begin(position=5, data=["kept"])
        bus.state = "up"

    script.backend.spawn(follow, "follower")
    assert hub.place(None, 1.0) == ("e1", 6, None)
    assert bus.starts == 1


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_stream_that_has_waited_long_enough_begins_without_a_place(script, seconds):
    """It waits as long as it was told and no longer."""
    bus = HandBus(state="starting")
    hub = make_hub(bus)
    before = script.now
    assert hub.place(None, seconds) is None
    assert seconds <= script.now - before < seconds + 0.1


@pytest.mark.parametrize("state", ["down", "up"])
def test_no_place_while_the_bus_is_away(script, state):
    """Where the bus is down, or up without a log of this process, there is no place."""
    hub = make_hub(HandBus(state=state))
    assert hub.place(None) is None


@pytest.mark.parametrize(
    ("shared", "sequence", "reason"),
    [(True, MAX_LAG, None), (True, MAX_LAG + 1, "future"), (False, 0, None), (False, 1, "future")],
)
def test_client_may_be_ahead_of_a_shared_bus(script, shared, sequence, reason):
    """
    Another process may have sent more than has come here; a bus of this process has given every number there
    is.
    """
    bus = HandBus(shared=shared)
    hub = make_hub(bus)
    bus.start(hub)
    bus.begin()
    assert hub.place(f"e1-{sequence}").reason == reason


def test_place_forgets_what_is_too_old(script, bus):
    """A client that resumes hears of a gap where its events have become too old since the last one came."""
    hub = make_hub(bus, seconds=60)
    bus.start(hub)
    bus.begin(data=["old"])
    script.now += 100
    start = hub.place("e1-0")
    reader = Cursor(("news",), start.position, start.epoch)
    assert hub.read(reader).reason == "evicted"


def test_listener_starts_the_bus_again(script, bus, hub, listen):
    """A bus may have ended between the request and the first byte."""
    before = bus.starts
    listen("news")
    assert bus.starts == before + 1


def test_bus_of_this_process_is_started_once(script, listen):
    """It is followed from the beginning, for nobody else keeps what it hands on."""
    hub = make_hub(MemoryBus(BusOptions(Retention(60, 1_000), 1)))
    assert hub.log is not None
    listen("news", to=hub)
    assert hub.is_wanted


def test_machine_without_threads_holds_no_listener(script, bus, hub):
    """Where the fan-out cannot be started, the stream is told, and nothing of it is left."""
    script.cannot_spawn = True
    with pytest.raises(RuntimeError):
        hub.attach(("news",), script.backend.wakeup())
    assert not hub.is_wanted
    assert hub.stats()["channels"] == {}


def test_burst_from_elsewhere_lets_streams_read(script, bus, hub):
    """More events than the history holds come at once, and a stream that can read loses none."""
    hub = make_hub(bus, length=10)
    bus.start(hub)
    bus.begin()
    subscription = Subscription(hub, ("news",), None)
    wakeup, body = script.backend.wakeup(), []
    subscription.open(wakeup)

    def read():
        while b"data: 199\n" not in b"".join(body):
            wakeup.wait()
            while chunk := subscription.read():
                body.append(chunk)

    script.backend.spawn(read, "stream")
    script.settle()
    bus.listener.entries_came([bus.entry(str(number)) for number in range(200)])
    script.advance(0.1)
    subscription.close()
    script.settle()
    sent = b"".join(body)
    assert b"sse.reset" not in sent
    assert sent.count(b"data: ") == 200


def test_burst_of_this_process_counts_from_what_has_come(script, bus, hub, listen):
    """A publisher whose events are still on their way waits for them, and for none where the bus is away."""
    listen("news")
    hub.backpressure.hold(("news",), 49)
    assert hub.backpressure._is_burst(("news",), 50)
    bus.state = "down"
    assert not hub.backpressure._is_burst(("news",), 50)


def test_stats_count_listeners_and_history(script, bus, hub, listen):
    """What is counted: listeners of each channel, and what is kept of the past."""
    listen("news"), listen("news", "orders")
    bus.give("hello")
    stats = hub.stats()
    assert stats["channels"] == {"news": 2, "orders": 1}
    assert stats["last_event_id"] == "e1-1"
    assert (stats["history"]["events"], stats["history"]["channels"]) == (1, 1)
    assert stats["history"]["bytes"] > 400
    with hub._lock:  # as in a signal handler that interrupted a section
        assert hub.stats() == stats


def test_stats_before_the_log_begins(script):
    """A hub without a log has counted nothing, and says so."""
    stats = make_hub(HandBus()).stats()
    assert stats == {
        "last_event_id": None,
        "channels": {},
        "history": {"events": 0, "channels": 0, "bytes": 0},
    }
