"""What one process has of a bus, fed by a bus that the test hands on by hand."""

import pytest

from flask_sse_push.core.channels import CONTROL_CHANNEL
from flask_sse_push.core.cursor import Cursor, Start
from flask_sse_push.core.entry import Entry
from flask_sse_push.core.past import Past
from flask_sse_push.streams.hub import MAX_LAG

from .parts import HandBus, make_hub, memory_bus, subscribe


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


def test_hole_in_the_numbers_of_this_process_wakes_everybody(script, listen):
    """
    Where all events come here, nobody knows whose a missing one was, so each listener is woken, and reads
    that something is lost.
    """
    bus = HandBus(shared=False)
    hub = make_hub(bus)
    bus.begin()
    news, orders, reader = listen("news", to=hub), listen("orders", to=hub), cursor(hub, "orders")
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
    bus.hand_on(*[bus.entry(str(number)) for number in range(5)])
    assert [b"data: %d\n" % number in hub.read(cursor(hub)).wire for number in range(5)] == [True] * 5
    assert hub.log.head == 5


def test_event_that_comes_in_the_middle_of_a_section_waits_for_its_end(script):
    """
    A finalizer that publishes while its own thread reads the log leaves its event, which is added at the end.
    """
    bus = HandBus(shared=False)
    hub = make_hub(bus)
    bus.begin()
    with hub._lock:
        bus.give("one")
        bus.give("two")
        assert hub.log.head == 0
    assert hub.log.head == 2


def test_event_that_was_left_comes_before_the_next_one(script):
    """
    What was left to a section is added before what is handed over behind it, though the section has not got
    to it.
    """
    bus = HandBus(shared=False)
    hub = make_hub(bus)
    bus.begin()
    lock = hub._lock
    lock.__enter__()  # somebody is inside, further up
    bus.give("one")
    lock._holder = None  # has left, and was interrupted before it looked for what was left to it
    lock._release()
    bus.give("two")
    assert hub.log.head == 2
    assert hub.log.count()["events"] == 2


def test_stream_begins_at_the_end_of_the_log(bus, hub):
    """A new client reads what comes from now on."""
    bus.give("before")
    assert hub.place(("news",), None) == Start("e1", 1, is_new=True)


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
    assert hub.place(("news",), None, 0, 1.0) == Start("e1", 6, is_new=True)
    assert bus.starts == 1


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_stream_that_has_waited_long_enough_begins_without_a_place(script, seconds):
    """It waits as long as it was told and no longer."""
    bus = HandBus(state="starting")
    hub = make_hub(bus)
    before = script.now
    assert hub.place(("news",), None, 0, seconds) is None
    assert seconds <= script.now - before < seconds + 0.1


@pytest.mark.parametrize("state", ["down", "up"])
def test_no_place_while_the_bus_is_away(script, state):
    """Where the bus is down, or up without a log of this process, there is no place."""
    hub = make_hub(HandBus(state=state))
    assert hub.place(("news",), None) is None


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
    assert hub.place(("news",), f"e1-{sequence}").reason == reason


def test_place_forgets_what_is_too_old(script, bus):
    """A client that resumes hears of a gap where its events have become too old since the last one came."""
    hub = make_hub(bus, seconds=60)
    bus.start(hub)
    bus.begin(data=["old"])
    script.now += 100
    start = hub.place(("news",), "e1-0")
    reader = Cursor(("news",), start.position, start.epoch)
    assert hub.read(reader).reason == "evicted"


def test_listener_starts_the_bus_again(script, bus, hub, listen):
    """A bus may have ended between the request and the first byte."""
    before = bus.starts
    listen("news")
    assert bus.starts == before + 1


def test_bus_of_this_process_is_started_once(script, listen):
    """It is followed from the beginning, for nobody else keeps what it hands on."""
    hub = make_hub(memory_bus())
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
    subscription = subscribe(hub, ("news",))
    wakeup, body = script.backend.wakeup(), []
    subscription.open(wakeup)

    def read():
        while b"data: 199\n" not in b"".join(body):
            wakeup.wait()
            while chunk := subscription.read():
                body.append(chunk)

    script.backend.spawn(read, "stream")
    script.settle()
    bus.hand_on(*[bus.entry(str(number)) for number in range(200)])
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
        "history": {"events": 0, "channels": 0, "kept": 0, "bytes": 0},
        "entries_read": 0,
    }


# Channels that are followed because somebody listens to them


def past(channel, *entries, behind=0, lost_up_to=0):
    return Past(channel, behind, lost_up_to, entries, ())


def quiet_hub(**options):
    """A hub whose bus follows nothing yet, and brings a channel when the test says so."""
    bus = HandBus(follows=(), answers=False, **options)
    hub = make_hub(bus)
    bus.start(hub)
    bus.begin()
    return bus, hub


@pytest.mark.parametrize(
    ("last_event_id", "rewind", "whole"),
    [
        (None, 0, False),
        ("e1-3", 0, False),
        ("e1-99", 0, False),
        ("gone-1", 0, False),
        ("what?", 0, False),
        ("e1-2", 0, True),
        (None, 1, True),
        ("e1-3", 1, False),
    ],
)
def test_stream_asks_for_as_much_of_its_channels_as_it_needs(script, last_event_id, rewind, whole):
    """What lies behind the place of a stream is not brought; a made-up id brings nothing."""
    bus, hub = quiet_hub()
    for _ in range(3):
        bus.give("x")
    assert hub.place(("news", "orders"), last_event_id, rewind) is None
    assert bus.asked == {"news": whole, "orders": whole}
    bus.answer()
    assert hub.place(("news", "orders"), last_event_id, rewind) is not None


def test_stream_waits_until_its_channels_are_here(script):
    """It begins as soon as the bus has brought them, and not before."""
    bus, hub = quiet_hub()
    bus.give("before")

    def bring():
        script.sleep(0.1)
        bus.answer()

    script.backend.spawn(bring, "follower")
    before = script.now
    assert hub.place(("news",), "e1-0", 0, 5.0) == Start("e1", 0)
    assert 0.1 <= script.now - before < 0.2
    assert not hub._arrivals


def test_stream_waits_until_the_head_has_come_to_where_its_channel_begins(script):
    """The past of a channel may be younger than what was proved of the others."""
    bus, hub = quiet_hub()
    bus.lose(5)
    bus.follow(("news",), whole=False)
    bus.answer()
    assert hub.place(("news",), None) is None
    bus.give("x", "elsewhere")
    assert hub.place(("news",), None) == Start("e1", 6, is_new=True)


def test_stream_of_a_channel_that_is_not_here_so_far_back_has_it_brought(script):
    """It reads nothing until then, and is woken for it."""
    bus, hub = quiet_hub()
    bus.give("one")
    bus.follow(("news",), whole=False)
    bus.answer()
    stream = subscribe(hub, ("news",))
    wakeup = script.backend.wakeup()
    stream.open(wakeup)
    stream.read()
    bus.begin(epoch="e2", data=["two"])
    script.settle()
    wakeup.count = 0
    assert stream.read() == b""
    assert bus.asked == {"news": True}
    bus.answer()
    script.settle()
    assert wakeup.count == 1
    assert b"data: two" in stream.read()
    stream.close()
    script.settle()


def test_what_lies_beyond_the_head_wakes_its_readers_when_the_head_has_come(script, bus, hub, listen):
    """Whether a past or the news have brought it."""
    news, orders = listen("news"), listen("orders")
    reader = cursor(hub, "news", "orders")
    hub.past_came([past("news", *[bus.entry("1", "news")])])
    hub.entries_came([bus.entry("2", "orders")], 0)
    script.settle()
    assert (hub.read(reader).wire, hub.log.head) == (b"", 0)
    news.count = orders.count = 0
    hub.entries_came([], 1)
    script.settle()
    assert (news.count > 0, hub.read(reader).last) == (True, 1)
    orders.count = news.count = 0
    hub.entries_came([], 2)
    script.settle()
    assert (news.count, orders.count, hub.read(reader).last) == (0, 1, 2)
    orders.count = 0
    hub.entries_came([], 3)
    script.settle()
    assert orders.count == 0


def test_entries_are_counted_as_they_come(script, bus, hub):
    """So that one sees how much of a bus a process reads."""
    bus.hand_on(bus.entry("1"), bus.entry("2", "nobody"), bus.entry("3", "orders"))
    assert (hub.entries_read, hub.stats()["entries_read"]) == (2, 2)


def test_channel_that_was_left_is_gone(script, bus, hub):
    """Nothing of it is kept here."""
    bus.give("x", "news")
    bus.leave("news")
    assert hub.stats()["history"]["events"] == 0
    assert not hub.log.is_ready(("news",), 0)


# Commands


def command(bus, data):
    return bus.entry(data, CONTROL_CHANNEL)


@pytest.mark.parametrize("shared", [True, False])
def test_commands_come_in_order_and_once(script, shared):
    """Whatever brings them, and beside the events of other channels."""
    bus = HandBus(shared=shared, follows=(CONTROL_CHANNEL, "news"))
    hub, seen = make_hub(bus), []
    hub.on_command = lambda entry: seen.append(entry and entry.sequence)
    bus.start(hub)
    bus.begin()
    bus.give("1", CONTROL_CHANNEL)
    bus.give("2", "news")
    bus.give("3", CONTROL_CHANNEL)
    assert seen == [None, 1, 3]
    if shared:
        hub.past_came([past(CONTROL_CHANNEL, *bus.stored[:1], bus.stored[2], command(bus, "4"))])
        hub.entries_came(bus.stored[2:], 4)
        bus.give("5", CONTROL_CHANNEL)
        assert seen == [None, 1, 3, 4, 5]


def test_commands_that_may_be_missing_are_told_before_the_next(script, bus, hub):
    """Another log, a loss in their channel; or, where all events come here, any hole."""
    seen = []
    hub.on_command = lambda entry: seen.append(entry and entry.sequence)
    hub.past_came([past(CONTROL_CHANNEL)])
    bus.head = 7
    hub.past_came([past(CONTROL_CHANNEL, command(bus, "8"), lost_up_to=6)])
    assert seen == [None, 8]
    hub.past_came([past(CONTROL_CHANNEL, lost_up_to=6)])
    assert seen == [None, 8]
    hub.log_begun("e2", 0)
    hub.past_came([past(CONTROL_CHANNEL, Entry(1, (CONTROL_CHANNEL,), b"x", 0.0))])
    assert seen == [None, 8, None, 1]


def test_hole_may_have_been_a_command(script):
    """Where all events come here, nobody knows whose a missing one was."""
    bus, seen = HandBus(shared=False), []
    hub = make_hub(bus)
    bus.begin()
    hub.on_command = lambda entry: seen.append(entry and entry.sequence)
    bus.lose()
    bus.give("x", "news")
    assert seen == [None]


# Bursts, by channel


def test_burst_is_measured_by_the_history_of_its_channel(script):
    """Half of what a channel keeps makes the fan-out urgent, whatever others keep."""
    bus = HandBus(shared=False)
    hub = make_hub(bus, length=100, patterns=[("small.*", (4, 60.0)), ("large.*", (1_000, 60.0))])
    bus.begin()
    channels = ("small.1", "large.1", "news")
    wakeup = script.backend.wakeup()
    hub.attach(channels, wakeup)
    script.settle()

    def until_urgent(channel):
        for count in range(1, 2_000):
            bus.give("x", channel)
            if hub.fanout.is_urgent:
                script.advance(1)
                return count
        return None

    assert [until_urgent(channel) for channel in channels] == [2, 500, 50]
    hub.detach(channels, wakeup)
    script.settle()
    assert not hub.fanout._limits


def test_burst_on_a_channel_with_a_short_history_is_read_by_its_stream(script):
    """Events come faster than such a channel can keep them, and a stream that can read loses none."""
    bus = HandBus(follows=("small.1",))
    hub = make_hub(bus, length=1_000, patterns=[("small.*", (6, 3_600.0))])
    bus.start(hub)
    bus.begin()
    stream, wakeup, body = subscribe(hub, ("small.1",)), script.backend.wakeup(), []
    stream.open(wakeup)

    def read():
        while b"data: 199\n" not in b"".join(body):
            wakeup.wait()
            while chunk := stream.read():
                body.append(chunk)

    script.backend.spawn(read, "stream")
    script.settle()
    bus.hand_on(*[bus.entry(str(number), "small.1") for number in range(200)])
    script.advance(0.1)
    stream.close()
    script.settle()
    assert b"sse.reset" not in b"".join(body)
