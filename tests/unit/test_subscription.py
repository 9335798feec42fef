"""What a client reads of some channels: its place, what it is told of gaps, and its heartbeats."""

import json

import pytest

from flask_sse_push.core import wire
from flask_sse_push.core.decoder import DecodedEvent, Decoder

from .parts import HandBus, make_hub, subscribe

pytestmark = pytest.mark.usefixtures("script")


def site(*, length=100, state="up", begun=True, shared=True):
    bus = HandBus(state=state, shared=shared)
    hub = make_hub(bus, length=length)
    bus.start(hub)
    if begun:
        bus.begin()
    return bus, hub


def decoded(chunk):
    decoder = Decoder()
    return decoder.feed(chunk), decoder.last_event_id


def reset_in(chunk):
    """The reason and channels of the reset in a chunk, the id that it leaves, and what follows."""
    events, id = decoded(chunk)
    assert events[0].type == "sse.reset"
    told = json.loads(events[0].data)
    return told["reason"], told["channels"], events[0].last_event_id, [event.data for event in events[1:]]


def test_new_client_is_told_where_it_stands():
    """The first bytes carry the end of the log as an id, and dispatch nothing."""
    bus, hub = site()
    bus.give("before")
    subscription = subscribe(hub, ("news",))
    assert subscription.has_place
    assert decoded(subscription.prelude() + subscription.read()) == ([], "e1-1")
    assert subscription.read() == b""
    bus.give("hello")
    assert decoded(subscription.read())[0][0].data == "hello"


def test_client_that_resumes_gets_what_it_missed():
    """It goes on behind its last event, without a reset."""
    bus, hub = site()
    for data in ("one", "two", "three"):
        bus.give(data)
    subscription = subscribe(hub, ("news",), "e1-1")
    assert decoded(subscription.prelude()) == ([], "e1-1")
    assert [event.data for event in decoded(subscription.read())[0]] == ["two", "three"]


@pytest.mark.parametrize(
    ("id", "reason", "rest"),
    [
        ("not ours", "malformed", []),
        ("e1-99999999", "future", []),
        ("e0-1", "epoch", []),
    ],
)
def test_reset_comes_before_everything_else(id, reason, rest):
    """
    A client whose place cannot be proved hears so first, and its prelude says no place that a reset has not
    told.
    """
    bus, hub = site()
    bus.give("one")
    subscription = subscribe(hub, ("news", "orders"), id)
    assert subscription.prelude() == b""
    told, channels, _, events = reset_in(subscription.read())
    assert (told, channels, events) == (reason, ["news", "orders"], rest)
    assert subscription.read() == b""


def test_reset_says_the_place_before_what_follows():
    """A client that is cut off behind the reset comes back before the events that follow it."""
    bus, hub = site(length=2)
    for number in range(5):
        bus.give(str(number))
    subscription = subscribe(hub, ("news", "orders"), "e1-1")
    reason, channels, id, events = reset_in(subscription.read())
    assert (reason, channels, id, events) == ("evicted", ["news"], "e1-1", ["3", "4"])


def test_new_log_is_told_once():
    """When the bus begins another log the stream says so, and goes on with all of it."""
    bus, hub = site()
    subscription = subscribe(hub, ("news",))
    bus.begin(epoch="e2", data=["kept"])
    assert reset_in(subscription.read()) == ("epoch", ["news"], "e2-0", ["kept"])
    bus.give("next")
    assert [event.data for event in decoded(subscription.read())[0]] == ["next"]


def test_large_backlog_comes_in_parts():
    """One read gives a batch, and says whether there is more."""
    bus, hub = site()
    for _ in range(3):
        bus.give("x" * 40_000)
    subscription = subscribe(hub, ("news",), "e1-0")
    left = []
    while subscription.read():
        left.append(subscription.has_more)
    assert left == [True, True, False]


def test_streams_at_one_place_share_what_was_read():
    """The same batch of bytes is sent to all streams that stand at the same place."""
    bus, hub = site()
    streams = [subscribe(hub, ("news",)) for _ in range(2)]
    for subscription in streams:
        subscription.read()
    bus.give("hello")
    first, second = (subscription.read() for subscription in streams)
    assert first is second


def test_read_that_tells_of_a_loss_is_shared_with_nobody():
    """Each of two clients at one place is told of the gap once, though what is left comes in parts."""
    bus, hub = site(length=2)
    for _ in range(2):
        bus.give("slow" * 10_000, "slow")
    for number in range(20):
        bus.give(str(number), "busy")
    for subscription in [subscribe(hub, ("slow", "busy"), "e1-0") for _ in range(2)]:
        chunks = []
        while chunk := subscription.read():
            chunks.append(chunk)
        assert len(chunks) > 1
        assert b"".join(chunks).count(b"event: sse.reset") == 1


def test_read_of_another_log_is_shared_with_nobody():
    """A place in the log before is none in this one, though a read at the same number was shared here."""
    bus, hub = site()
    before = subscribe(hub, ("news",))
    bus.begin(epoch="e2", data=["one"])
    assert [event.data for event in decoded(subscribe(hub, ("news",), "e2-0").read())[0]] == ["one"]
    assert reset_in(before.read())[0] == "epoch"


def test_heartbeat_tells_a_place_that_has_moved():
    """
    Events of other channels move a quiet stream, so that its client does not come back to a place that is
    gone.
    """
    bus, hub = site()
    subscription = subscribe(hub, ("news",))
    subscription.read()
    assert subscription.heartbeat() == b":\n\n"
    bus.give("other", "orders")
    assert subscription.read() == b""
    assert decoded(subscription.heartbeat()) == ([], "e1-1")
    assert subscription.heartbeat() == b":\n\n"


def test_heartbeat_repeats_no_place_that_an_event_has_told():
    """The id of the last event is enough."""
    bus, hub = site()
    subscription = subscribe(hub, ("news",))
    bus.give("hello")
    assert decoded(subscription.read())[1] == "e1-1"
    assert subscription.heartbeat() == b":\n\n"


@pytest.mark.parametrize(
    ("id", "prelude"), [(None, b"\n"), ("e1-3", b"id: e1-3\n\n"), ("not ours", b"")], ids=str
)
def test_stream_begins_while_the_bus_is_away(id, prelude):
    """
    It has no place then; a client's own id is said again where it can be ours, and nothing lets it forget
    one.
    """
    _, hub = site(state="down", begun=False)
    subscription = subscribe(hub, ("news",), id)
    assert not subscription.has_place
    assert subscription.prelude() == prelude
    assert subscription.read() == b""
    assert subscription.heartbeat() == b":\n"


def test_new_client_that_waited_for_the_bus_is_told_that_it_may_have_missed_something():
    """Nobody knows what came since it began to listen."""
    bus, hub = site(state="down", begun=False)
    subscription = subscribe(hub, ("news",))
    assert subscription.read() == b""
    bus.begin(data=["one"])
    bus.state = "up"
    assert reset_in(subscription.read()) == ("unavailable", ["news"], "e1-1", [])
    assert subscription.has_place


def test_client_that_resumes_where_the_bus_was_away_is_told_nothing():
    """Its id says what it has seen."""
    bus, hub = site(state="down", begun=False)
    subscription = subscribe(hub, ("news",), "e1-0")
    bus.begin(data=["one"])
    bus.state = "up"
    assert [event.data for event in decoded(subscription.read())[0]] == ["one"]


def test_log_that_is_here_while_the_bus_is_away_gives_no_place():
    """The end of a log is not known while its bus is down."""
    bus, hub = site(state="down")
    subscription = subscribe(hub, ("news",))
    assert not subscription.has_place
    bus.give("hello")
    assert subscription.read() == b""


def test_subscription_is_woken_while_it_is_open(script):
    """It listens from open() to close(), either of which may come twice or never."""
    bus, hub = site()
    subscription, wakeup = subscribe(hub, ("news",)), script.backend.wakeup()
    subscription.close()
    subscription.open(wakeup)
    assert hub.is_wanted
    bus.give("hello")
    script.settle()
    assert wakeup.count == 1
    subscription.close()
    subscription.close()
    assert not hub.is_wanted
    script.settle()


def test_farewell_adds_nothing():
    """A client of channels resumes, so nothing is lost and nothing said."""
    _, hub = site()
    assert subscribe(hub, ("news",)).farewell() == b""


def test_visible_heartbeat_is_an_event_that_carries_the_place():
    """A client that shows no comments sees the heartbeat, and its cursor moves on as by any other."""
    bus, hub = site()
    subscription = subscribe(hub, ("news",), heartbeat=wire.HEARTBEAT_EVENT)
    subscription.read()
    assert decoded(subscription.heartbeat())[0] == [DecodedEvent("sse.heartbeat", "", "")]
    bus.give("elsewhere", "orders")
    assert subscription.read() == b""
    assert decoded(subscription.heartbeat()) == ([DecodedEvent("sse.heartbeat", "", "e1-1")], "e1-1")
    assert decoded(subscription.heartbeat())[0] == [DecodedEvent("sse.heartbeat", "", "")]
