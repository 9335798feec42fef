"""
What a client gets that has nothing yet: kept values, snapshots, and the place behind them; cut anywhere.
"""

import json
from contextlib import contextmanager

import pytest

from flask_sse_push.core import wire
from flask_sse_push.core.decoder import Decoder
from flask_sse_push.core.event import Event
from flask_sse_push.core.log import ALL
from flask_sse_push.core.messages import Message
from tests.letter import LetterClient

from .parts import HandBus, make_hub, memory_bus, subscribe

pytestmark = pytest.mark.usefixtures("script")


class Snapshots:
    """A source of snapshots that shows everything which was published without a key until now."""

    def __init__(self, site):
        self.site = site
        self.is_ready = True
        self.places = []

    def covers(self, channels):
        return True

    def take(self, channels, position, wakeup):
        if not self.is_ready:
            return None
        self.places.append(position)
        return wire.encode(Event(json.dumps(self.site.events), "snapshot"))

    def leave(self, channels, wakeup):
        """Nobody is waited for."""


class Site:
    """A memory bus with its hub, and what was published: events, and the newest value of each key."""

    def __init__(self, *, snapshots=False, **options):
        self.bus = memory_bus(**options)
        self.hub = make_hub(self.bus, length=options.get("length", 1_000))
        self.events, self.values, self.count = [], {}, 0
        self.snapshots = Snapshots(self) if snapshots else None

    def publish(self, key=None, channels=("news",), **options):
        self.count += 1
        if key is None:
            self.events.append(self.count)
        else:
            self.values[key] = self.count
        data = json.dumps([key, self.count])
        return self.bus.publish(Message(channels, wire.encode(Event(data)), key, **options))

    @contextmanager
    def open(self, script, last_event_id=None, channels=("news",), rewind=0):
        subscription = subscribe(self.hub, channels, last_event_id, rewind=rewind, snapshots=self.snapshots)
        subscription.open(script.backend.wakeup())
        try:
            yield subscription
        finally:
            subscription.close()
            script.settle()

    def body(self, script, last_event_id=None, **options):
        """What a connection brings until nothing more is ready."""
        with self.open(script, last_event_id, **options) as subscription:
            body = wire.RETRY_LINE % 2_000 + subscription.prelude()
            return body + b"".join(iter(subscription.read, b""))


class Page:
    """What a page shows: it begins anew with each snapshot, and clears itself when it is told of a gap."""

    def __init__(self):
        self.events, self.values, self.resets = set(), {}, 0

    def take(self, type, data):
        if type == wire.RESET_TYPE:
            self.events, self.values = set(), {}
            self.resets += 1
        elif type == "snapshot":
            self.events |= set(json.loads(data))
        else:
            key, number = json.loads(data)
            if key is None:
                self.events.add(number)
            else:
                self.values[key] = number


class Kind:
    """A client that begins a connection with the id that it had, as browsers do."""

    def __init__(self):
        self.page, self.last_event_id = Page(), ""

    def connect(self, body):
        decoder = Decoder()
        decoder.last_event_id = self.last_event_id
        for event in decoder.feed(body):
            self.page.take(event.type, event.data)
        self.last_event_id = decoder.last_event_id


class Letter:
    """A client that follows the standard by the letter."""

    def __init__(self):
        self.page, self.client = Page(), LetterClient()

    @property
    def last_event_id(self):
        return self.client.last_event_id

    @last_event_id.setter
    def last_event_id(self, id):
        self.client.last_event_id = id

    def connect(self, body):
        self.client.events.clear()
        self.client.connect(body)
        for type, data, _ in self.client.events:
            self.page.take(type, data)


def cut_everywhere(make, script, client_class, last_event_id=None, **options):
    """
    Cut the first connection behind each byte; something comes before the client is back. Return how many cuts
    there were, and how many clients heard of a gap.
    """
    resets = []
    length = len(make().body(script, last_event_id, **options))
    for cut in range(length + 1):
        site, client = make(), client_class()
        if last_event_id:
            client.last_event_id = last_event_id
        body = site.body(script, client.last_event_id, **options)
        client.connect(body[:cut])
        site.publish()
        site.publish("x")
        client.connect(site.body(script, client.last_event_id, **options))
        site.publish()
        client.connect(site.body(script, client.last_event_id, **options))
        assert client.page.values == site.values, (cut, body[:cut])
        assert client.page.events == set(site.events), (cut, body[:cut])
        resets.append(client.page.resets)
    return length, resets


clients = pytest.mark.parametrize("client_class", [Kind, Letter])


def fixed_epoch(site):
    """The same bytes each time, so that a cut is at the same place."""
    site.bus._epoch = site.hub.log.epoch = "e1"


@clients
def test_newcomer_that_is_cut_anywhere_ends_with_everything(script, client_class):
    """
    Kept values, the snapshot and the place come in an order in which no cut loses any of them.
    """

    def make():
        site = Site(snapshots=True)
        fixed_epoch(site)
        for key in (None, "x", "y", None, "x"):
            site.publish(key)
        return site

    length, resets = cut_everywhere(make, script, client_class)
    assert length > 80
    assert set(resets) == {0}


@clients
@pytest.mark.parametrize("last_event_id", ["e1-1", "gone-7", "e1-99", "what?"])
def test_client_that_is_told_of_a_gap_and_cut_anywhere_ends_with_everything(
    script, client_class, last_event_id
):
    """Behind the reset it is a newcomer, and until it has everything each connection tells it so again."""

    def make():
        site = Site(snapshots=True, length=2)
        fixed_epoch(site)
        for key in (None, "x", None, None, "y", None, "x"):
            site.publish(key)
        return site

    length, resets = cut_everywhere(make, script, client_class, last_event_id)
    assert length > 150
    assert set(resets) >= {1, 2}


@clients
def test_rewound_client_that_is_cut_anywhere_ends_with_everything(script, client_class):
    """Its first id is the place before its first event, so that a cut before it begins nowhere else."""

    def make():
        site = Site()
        fixed_epoch(site)
        for key in ("x", None, None, "y", None):
            site.publish(key)
        return site

    length, resets = cut_everywhere(make, script, client_class, rewind=ALL)
    assert length > 100
    assert set(resets) == {0}


def decoded(chunk):
    decoder = Decoder()
    return decoder.feed(chunk), decoder.last_event_id


def test_first_id_of_a_newcomer_comes_behind_its_values(script):
    """The values have none, and then its place stands alone."""
    site = Site()
    site.publish("x")
    site.publish("y")
    events, id = decoded(site.body(script))
    assert [(event.data, event.last_event_id) for event in events] == [('["x", 1]', ""), ('["y", 2]', "")]
    assert id.endswith("-2")


def test_thousand_kept_values_come_in_one_chunk(script):
    """A page is drawn once."""
    site = Site()
    for number in range(1_000):
        site.publish(str(number))
    with site.open(script) as subscription:
        assert len(decoded(subscription.read())[0]) == 1_000
        assert subscription.read() == b""


def test_first_id_of_a_rewound_client_is_before_its_first_event(script):
    """What was published before it and is kept comes before that, without an id."""
    site = Site()
    for key in ("x", None, "y", None):
        site.publish(key)
    body = site.body(script, rewind=2)
    assert body.split(b"\n\n")[1].endswith(b"-1")
    events, _ = decoded(body)
    assert [(json.loads(event.data)[1], event.last_event_id[-2:]) for event in events] == [
        (1, ""),
        (2, "-2"),
        (3, "-3"),
        (4, "-4"),
    ]


def test_place_of_a_client_beats_rewind(script):
    """It gets what it missed, and neither old events nor kept values."""
    site = Site()
    ids = [site.publish(key).id for key in (None, "x", None, None)]
    events, _ = decoded(site.body(script, ids[2], rewind=ALL))
    assert [json.loads(event.data)[1] for event in events] == [4]


def test_place_of_a_newcomer_never_moves_back(script):
    """Each id of a connection is at or behind the one before it, whatever was kept."""
    site = Site()
    for key in ("x", None, "y", "x", None):
        site.publish(key)
    with site.open(script) as subscription:
        body = b""
        for _ in range(5):
            body += subscription.read() + subscription.heartbeat()
            site.publish("x")
            site.publish(channels=("other",))
    numbers = [int(line.rpartition(b"-")[2]) for line in body.split(b"\n") if line.startswith(b"id: ")]
    assert numbers == sorted(numbers)
    assert numbers[0] == 5


def test_slow_reader_skips_prices_and_is_not_reset(script):
    """It gets the newest of each key, and each event without one, in order."""
    site = Site(length=10)
    with site.open(script) as subscription:
        subscription.read()
        for number in range(1_000):
            site.publish("abc"[number % 3])
            if number % 200 == 0:
                site.publish()
        events, _ = decoded(subscription.read())
    seen = [json.loads(event.data) for event in events]
    assert [number for key, number in seen if key is None] == site.events
    assert {key: number for key, number in seen if key} == site.values
    assert len(seen) == 8


def test_stream_waits_for_a_snapshot_and_goes_on_in_its_place(script):
    """
    Nothing comes before it, and what was published meanwhile comes behind it, also where it shows it already.
    """
    site = Site(snapshots=True)
    site.snapshots.is_ready = False
    site.publish()
    with site.open(script) as subscription:
        assert subscription.prelude() == b""
        assert subscription.read() == b""
        assert subscription.heartbeat() == b":\n"
        site.publish()
        site.snapshots.is_ready = True
        events, id = decoded(subscription.read())
    assert [(event.type, event.data) for event in events] == [
        ("snapshot", "[1, 2]"),
        ("message", "[null, 2]"),
    ]
    assert site.snapshots.places == [1]
    assert id.endswith("-2")


def test_stream_that_is_told_of_a_gap_while_it_runs_is_a_newcomer(script):
    """It gets the values again and a snapshot, and then what is left of the history."""
    site = Site(snapshots=True, length=2)
    site.publish("x")
    with site.open(script) as subscription:
        subscription.read()
        for _ in range(5):
            site.publish()
        events, _ = decoded(subscription.read())
    assert [event.type for event in events] == [wire.RESET_TYPE, "message", "snapshot", "message", "message"]
    assert [json.loads(event.data) for event in events[3:]] == [[None, 5], [None, 6]]


def test_kept_values_of_a_channel_that_was_left_are_asked_for_again(script):
    """Where a channel is not here, a newcomer waits for it, instead of beginning without its values."""
    bus = HandBus()
    hub = make_hub(bus)
    bus.start(hub)
    bus.begin()
    bus.give("1", "news", key="x")
    subscription = subscribe(hub, ("news",))
    bus.answers = False
    bus.leave("news")
    assert subscription.read() == b""
    bus.answer()
    assert [event.data for event in decoded(subscription.read())[0]] == ["1"]


# The end of closed channels


def outcome(site, script, last_event_id=None, channels=("news",), **options):
    """What a client reads of its channels, and why its stream ended; ``None`` where it goes on."""
    with site.open(script, last_event_id, channels, **options) as subscription:
        read = b"".join(iter(subscription.read, b""))
        return [json.loads(event.data)[1] for event in decoded(read)[0]], subscription.outcome


def test_stream_ends_behind_the_last_event_of_its_channel(script):
    """It sends everything, and ends in the same read."""
    site = Site()
    with site.open(script) as subscription:
        subscription.read()
        site.publish()
        site.publish(closes=True)
        assert subscription.outcome is None
        assert len(decoded(subscription.read())[0]) == 2
        assert subscription.outcome == "finished"


def test_stream_that_is_behind_ends_with_its_last_batch(script):
    """It gets all that it missed first, in parts where that is large."""
    site = Site()
    first = site.publish().id
    for _ in range(3):
        site.bus.publish(Message(("news",), b"data: [null, 0]\n" + b": %s\n" % (b"." * 40_000) + b"\n"))
    site.publish(closes=True)
    with site.open(script, first) as subscription:
        ends = []
        while subscription.read():
            ends.append(subscription.outcome)
    assert ends == [None, None, "finished"]


def test_stream_on_several_channels_ends_when_all_are_closed(script):
    """A closed channel beside an open one is quiet."""
    site = Site()
    start = site.publish(channels=("a", "b")).id
    site.publish(channels=("a",), closes=True)
    assert outcome(site, script, start, ("a", "b")) == ([2], None)
    site.publish(channels=("b",))
    mark = site.bus.publish(Message(("b",), b"", closes=True)).id
    assert outcome(site, script, start, ("a", "b")) == ([2, 3], "finished")
    assert subscribe(site.hub, ("a", "b"), mark).is_complete


def test_client_that_has_everything_of_closed_channels_is_complete(script):
    """It need not come back. One that has not gets the rest, and a new one what is kept."""
    site = Site()
    site.publish("x")
    before = site.publish().id
    site.publish()
    mark = site.bus.publish(Message(("news",), b"", closes=True)).id
    assert subscribe(site.hub, ("news",), mark).is_complete
    assert not subscribe(site.hub, ("news",), before).is_complete
    assert not subscribe(site.hub, ("news",), "gone-99").is_complete
    assert not subscribe(site.hub, ("news",)).is_complete
    assert outcome(site, script, before) == ([3], "finished")
    assert outcome(site, script) == ([1], "finished")
    assert outcome(site, script, rewind=ALL) == ([1, 2, 3], "finished")


def test_channel_that_is_forgotten_after_its_end_is_a_new_one(script):
    """Streams of it go on, and an id of its end is a place like others."""
    site = Site(seconds=10.0)
    site.publish("x")
    mark = site.publish(closes=True).id
    script.now += 9
    assert outcome(site, script) == ([1], "finished")
    script.now += 2
    site.publish()
    assert outcome(site, script, mark) == ([3], None)
    assert outcome(site, script) == ([], None)
