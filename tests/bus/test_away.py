"""Streams that begin while the bus is away."""

import pytest

from flask_sse_push.bus import BusOptions
from flask_sse_push.bus.sqlite import SqliteBus
from flask_sse_push.core.decoder import Decoder
from flask_sse_push.core.positions import parse
from flask_sse_push.streams.hub import Hub
from tests.bus.stores import RETENTION, send
from tests.bus.test_streams import events, subscribe, wait_for
from tests.support import MS, eventually


@pytest.fixture
def bus(tmp_path):
    """A bus whose folder is not there yet."""
    bus = SqliteBus(str(tmp_path / "later" / "events.db"), BusOptions(RETENTION, 1))
    yield bus
    bus.close()


def come_back(bus, tmp_path):
    (tmp_path / "later").mkdir()
    eventually(lambda: bus.health().state == "up", 20_000 * MS)


def test_new_client_is_told_that_nobody_knows_what_it_missed(bus, tmp_path):
    """It gets a reset when the bus is there, and then what is published, and nothing from before."""
    hub = Hub(bus, RETENTION, dict)
    subscription = subscribe(hub, wait_seconds=0.1)
    assert subscription.prelude() == b"\n"
    assert subscription.read() == b""
    assert subscription.heartbeat() == b":\n"
    come_back(bus, tmp_path)
    assert wait_for(subscription, 1) == [("sse.reset", '{"reason": "unavailable", "channels": ["a"]}')]
    send(bus, "a", "x")
    assert wait_for(subscription, 1) == [("message", "x")]


def test_client_that_resumes_keeps_its_id_meanwhile(bus, tmp_path):
    """
    Its id is repeated, so that it does not forget it at the first blank line; a made-up one is not, and no
    blank line comes before it is told of the gap.
    """
    hub = Hub(bus, RETENTION, dict)
    decoder = Decoder()
    decoder.feed(b"retry: 500\n" + subscribe(hub, id="0badcafe-7", wait_seconds=0.1).prelude())
    assert decoder.last_event_id == "0badcafe-7"
    subscription = subscribe(hub, id="no id\n", wait_seconds=0.1)
    assert (
        b"\n\n"
        not in b"retry: 500\n" + subscription.prelude() + subscription.read() + subscription.heartbeat()
    )


def test_client_that_resumes_gets_what_it_missed(bus, tmp_path):
    """When the bus is there, it reads on behind its id as if the bus had never been away."""
    come_back_bus = SqliteBus(str(tmp_path / "later" / "events.db"), BusOptions(RETENTION, 1))
    (tmp_path / "later").mkdir()
    first = parse(send(come_back_bus, "a", "first").id)
    send(come_back_bus, "a", "second")
    (tmp_path / "later").rename(tmp_path / "away")
    hub = Hub(bus, RETENTION, dict)
    subscription = subscribe(hub, id=str(first), wait_seconds=0.1)
    assert subscription.read() == b""
    (tmp_path / "away").rename(tmp_path / "later")
    assert eventually(lambda: events(subscription), 20_000 * MS) == [("message", "second")]
    come_back_bus.close()
