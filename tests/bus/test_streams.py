"""Streams over each bus: a hub and subscriptions, as a worker has them."""

from flask_sse_push.core.decoder import decode
from flask_sse_push.streams.hub import Hub
from flask_sse_push.streams.subscription import Begin, Subscription
from tests.bus.stores import RETENTION, block, every_bus, keep, numbered, send, shared_bus
from tests.support import FACTOR, MS, eventually


def subscribe(hub, channel="a", id=None, rewind=0, wait_seconds=10 * FACTOR):
    """Begin a stream, as soon as the bus has brought its channels."""
    return Subscription(hub, tuple(channel.split()), Begin(id, rewind), wait_seconds)


def events(subscription):
    """What has come by now, as (type, data)."""
    return [(event.type, event.data) for event in decode(subscription.read())]


def wait_for(subscription, count):
    """What has come, as (type, data), when there are so many of them."""
    came = []

    def has_come():
        came.extend(events(subscription))
        return len(came) >= count

    eventually(has_come, 5000 * MS, f"only {came} came")
    return came


@every_bus
def test_new_client_begins_now(store):
    """Who comes without an id gets what is published from then on, and nothing from before."""
    bus = store.bus()
    hub = Hub(bus, RETENTION, dict)
    send(bus, "a", "before")
    subscription = subscribe(hub)
    assert (subscription.prelude() + subscription.read()).startswith(b"id: ")
    send(bus, "a", "after")
    assert wait_for(subscription, 1) == [("message", "after")]


@every_bus
def test_client_resumes_behind_its_last_event(store):
    """Who comes with an id gets what came after it, of its channels."""
    bus = store.bus()
    hub = Hub(bus, RETENTION, dict)
    ids = [numbered(bus, (channel,), block(channel)) for channel in ("a", "a", "b", "a")]
    assert wait_for(subscribe(hub, id=str(ids[0])), 2) == [("message", "a"), ("message", "a")]
    assert events(subscribe(hub, id=str(ids[3]))) == []


@every_bus
def test_client_of_several_channels_gets_them_in_one_order(store):
    """Channels that are brought one after the other make one stream, in the order of the log."""
    bus = store.bus()
    hub = Hub(bus, RETENTION, dict)
    first = numbered(bus, ("a",), block(0))
    subscribe(hub, "b")
    for number in range(1, 7):
        send(bus, ("a", "b", "a b")[number % 3], number)
    came = wait_for(subscribe(hub, "a b", id=str(first)), 6)
    assert [data for _, data in came] == ["1", "2", "3", "4", "5", "6"]


@every_bus
def test_client_rewinds(store):
    """Who asks for the past gets the newest events of its channels first, or all of them."""
    bus = store.bus()
    hub = Hub(bus, RETENTION, dict)
    for number in range(5):
        send(bus, "a", number)
    assert [data for _, data in wait_for(subscribe(hub, rewind=2), 2)] == ["3", "4"]
    assert [data for _, data in wait_for(subscribe(hub, rewind=1 << 62), 5)] == ["0", "1", "2", "3", "4"]


@every_bus
def test_client_whose_events_are_gone_is_told(store):
    """When the history does not reach back, a reset comes first, and then what is left."""
    retention = keep(length=2)
    bus = store.bus(retention)
    hub = Hub(bus, retention, dict)
    subscribe(hub)  # a bus that is followed knows how much to keep
    ids = [numbered(bus, ("a",), block(number)) for number in range(5)]
    eventually(lambda: (hub.stats()["last_event_id"] or "").endswith("-5"), 5000 * MS)
    assert wait_for(subscribe(hub, id=str(ids[0])), 3) == [
        ("sse.reset", '{"reason": "evicted", "channels": ["a"]}'),
        ("message", "3"),
        ("message", "4"),
    ]


@every_bus
def test_client_of_another_epoch_is_told(store):
    """An id of a log that is gone brings a reset and what comes from then on, and not the whole history."""
    bus = store.bus()
    hub = Hub(bus, RETENTION, dict)
    send(bus, "a", "before")
    subscription = subscribe(hub, id="0badcafe-1")
    send(bus, "a", "after")
    assert wait_for(subscription, 2) == [
        ("sse.reset", '{"reason": "epoch", "channels": ["a"]}'),
        ("message", "after"),
    ]


@shared_bus
def test_client_from_a_process_that_is_ahead_waits_for_what_is_new(store):
    """Who has an event that has not come here yet is not told of a gap, and does not get it twice."""
    bus, other = store.bus(), store.bus()
    hub = Hub(bus, RETENTION, dict)
    first = numbered(bus, ("a",), block(1))
    ahead = subscribe(hub, id=f"{first.epoch}-2")
    assert events(ahead) == []
    send(other, "a", 2)
    send(other, "a", 3)
    assert wait_for(ahead, 1) == [("message", "3")]


@shared_bus
def test_client_with_an_id_far_ahead_is_told(store):
    """An id that no process can have given brings a reset."""
    bus = store.bus()
    hub = Hub(bus, RETENTION, dict)
    first = numbered(bus, ("a",), block(1))
    assert wait_for(subscribe(hub, id=f"{first.epoch}-999999999"), 1) == [
        ("sse.reset", '{"reason": "future", "channels": ["a"]}')
    ]


@every_bus
def test_stream_ends_when_its_channels_are_closed(store):
    """
    A stream gets what is before the marks, and is finished behind the last of them; a client that comes back
    with everything is complete at once, one that has missed something gets it first.
    """
    bus = store.bus()
    hub = Hub(bus, RETENTION, dict)
    subscription = subscribe(hub, "a b")
    first = send(bus, "a", "last of a", closes=True)
    assert wait_for(subscription, 1) == [("message", "last of a")]
    assert subscription.outcome is None
    last = send(bus, "b", closes=True)
    eventually(lambda: events(subscription) == [] and subscription.outcome, 5000 * MS)
    assert subscription.outcome == "finished"
    assert subscribe(hub, "a b", id=last.id).is_complete
    late = subscribe(hub, "a b", id=f"{first.id.partition('-')[0]}-0")
    assert not late.is_complete
    assert wait_for(late, 1) == [("message", "last of a")]
    eventually(lambda: events(late) == [] and late.outcome == "finished", 5000 * MS)


@shared_bus
def test_reader_that_is_behind_gets_the_newest_of_each_key(store):
    """Values that were replaced meanwhile are skipped, without a reset; events without a key are not."""
    bus, other = store.bus(), store.bus()
    hub = Hub(bus, RETENTION, dict)
    first = numbered(other, ("a",), block("begin"))
    for number in range(50):
        send(other, "a", f"price {number}", key="x")
        if number % 25 == 0:
            send(other, "a", f"event {number}")
    came = wait_for(subscribe(hub, id=str(first)), 3)
    assert came == [("message", "event 0"), ("message", "event 25"), ("message", "price 49")]


@shared_bus
def test_stream_whose_store_is_lost_is_told_and_goes_on(store, request, tmp_path):
    """When the store is gone, an open stream gets a reset, and then what is published into the new one."""
    bus, other = store.bus(), store.bus()
    hub = Hub(bus, RETENTION, dict)
    subscription = subscribe(hub)
    send(other, "a", "before")
    assert wait_for(subscription, 1) == [("message", "before")]
    if store.kind == "redis":
        request.getfixturevalue("redis_server").client().flushall()
    else:
        (tmp_path / "events.db").unlink()
    reset = ("sse.reset", '{"reason": "epoch", "channels": ["a"]}')
    assert wait_for(subscription, 1) == [reset]
    send(other, "a", "after")
    assert wait_for(subscription, 1) == [("message", "after")]
