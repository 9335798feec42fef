"""Streams over each bus: a hub and subscriptions, as a worker has them."""

from flask_sse_push.core.decoder import decode
from flask_sse_push.extension.settings import read_settings
from flask_sse_push.streams.hub import Hub
from flask_sse_push.streams.subscription import Subscription
from tests.bus.stores import block, every_bus, numbered, shared_bus
from tests.support import FACTOR, MS, eventually


def make_hub(bus, **settings):
    read = read_settings({f"SSE_PUSH_{key.upper()}": value for key, value in settings.items()})
    hub = Hub(bus, read.log_options(), dict)
    hub.place(None, 10 * FACTOR)
    return hub


def events(subscription):
    """What has come by now, as (type, data)."""
    return [(event.type, event.data) for event in decode(subscription.read())]


@every_bus
def test_new_client_begins_now(store):
    """Who comes without an id gets what is published from then on, and nothing from before."""
    bus = store.bus()
    hub = make_hub(bus)
    bus.publish(("a",), block("before"))
    eventually(lambda: hub.stats()["history"]["events"] == 1, 5000 * MS)
    subscription = Subscription(hub, ("a",), None)
    assert subscription.prelude().startswith(b"id: ")
    bus.publish(("a",), block("after"))
    assert eventually(lambda: events(subscription), 5000 * MS) == [("message", "after")]


@every_bus
def test_client_resumes_behind_its_last_event(store):
    """Who comes with an id gets what came after it, of its channels."""
    bus = store.bus()
    hub = make_hub(bus)
    ids = [numbered(bus, (channel,), block(channel)) for channel in ("a", "a", "b", "a")]
    eventually(lambda: hub.stats()["history"]["events"] == 4, 5000 * MS)
    assert events(Subscription(hub, ("a",), str(ids[0]))) == [("message", "a"), ("message", "a")]
    assert events(Subscription(hub, ("a",), str(ids[3]))) == []


@every_bus
def test_client_whose_events_are_gone_is_told(store):
    """When the history does not reach back, a reset comes first, and then what is left."""
    bus = store.bus()
    hub = make_hub(bus, history_length=2)
    ids = [numbered(bus, ("a",), block(number)) for number in range(5)]
    eventually(lambda: (hub.stats()["last_event_id"] or "").endswith("-5"), 5000 * MS)
    subscription = Subscription(hub, ("a",), str(ids[0]))
    assert events(subscription) == [
        ("sse.reset", '{"reason": "evicted", "channels": ["a"]}'),
        ("message", "3"),
        ("message", "4"),
    ]


@every_bus
def test_client_of_another_epoch_is_told(store):
    """An id of a log that is gone brings a reset, and all that there is now."""
    bus = store.bus()
    hub = make_hub(bus)
    bus.publish(("a",), block("x"))
    eventually(lambda: hub.stats()["history"]["events"] == 1, 5000 * MS)
    assert events(Subscription(hub, ("a",), "0badcafe-1")) == [
        ("sse.reset", '{"reason": "epoch", "channels": ["a"]}'),
        ("message", "x"),
    ]


@shared_bus
def test_client_from_a_process_that_is_ahead_waits_for_what_is_new(store):
    """Who has an event that has not come here yet is not told of a gap, and does not get it twice."""
    bus, other = store.bus(), store.bus()
    hub = make_hub(bus)
    first = numbered(bus, ("a",), block(1))
    eventually(lambda: hub.stats()["history"]["events"] == 1, 5000 * MS)
    ahead = Subscription(hub, ("a",), f"{first.epoch}-2")
    assert events(ahead) == []
    other.publish(("a",), block(2))
    other.publish(("a",), block(3))
    assert eventually(lambda: events(ahead), 5000 * MS) == [("message", "3")]


@shared_bus
def test_client_with_an_id_far_ahead_is_told(store):
    """An id that no process can have given brings a reset."""
    bus = store.bus()
    hub = make_hub(bus)
    first = numbered(bus, ("a",), block(1))
    eventually(lambda: hub.stats()["history"]["events"] == 1, 5000 * MS)
    assert events(Subscription(hub, ("a",), f"{first.epoch}-999999999")) == [
        ("sse.reset", '{"reason": "future", "channels": ["a"]}')
    ]


@shared_bus
def test_stream_whose_store_is_lost_is_told_and_goes_on(store, request, tmp_path):
    """When the store is gone, an open stream gets a reset, and then what is published into the new one."""
    bus, other = store.bus(), store.bus()
    hub = make_hub(bus)
    subscription = Subscription(hub, ("a",), None)
    other.publish(("a",), block("before"))
    assert eventually(lambda: events(subscription), 5000 * MS) == [("message", "before")]
    if store.kind == "redis":
        request.getfixturevalue("redis_server").client().flushall()
    else:
        (tmp_path / "events.db").unlink()
    reset = ("sse.reset", '{"reason": "epoch", "channels": ["a"]}')
    assert eventually(lambda: events(subscription), 5000 * MS) == [reset]
    other.publish(("a",), block("after"))
    assert eventually(lambda: events(subscription), 5000 * MS) == [("message", "after")]
