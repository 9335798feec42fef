"""Stores for the tests of buses, and a listener that writes down what a bus hands on."""

import pytest

from flask_sse_push.bus import BusOptions, open_bus
from flask_sse_push.core.messages import Message
from flask_sse_push.core.positions import parse
from flask_sse_push.core.retention import ChannelRetention, RetentionRules
from tests.log_listener import LogListener
from tests.support import FACTOR, MS, eventually

KINDS = ["memory", "sqlite", "redis"]
SHARED = ["sqlite", "redis"]


def keep(seconds=300, max_bytes=1 << 24, length=10_000, **rules):
    """Return how much to keep."""
    return RetentionRules(ChannelRetention(length, float(seconds)), max_bytes, **rules)


RETENTION = keep()


class Store:
    """Where a kind of bus keeps its events; ``bus()`` is what one process has of it."""

    def __init__(self, kind, url):
        self.kind, self.url = kind, url
        self.opened = []

    def bus(self, retention=RETENTION, timeout=5 * FACTOR):
        bus = open_bus(self.url, BusOptions(retention, timeout))
        self.opened.append(bus)
        return bus

    def close(self):
        for bus in self.opened:
            bus.close()


every_bus = pytest.mark.parametrize("store", KINDS, indirect=True)
shared_bus = pytest.mark.parametrize("store", SHARED, indirect=True)


class Follower(LogListener):
    """A process that listens to some channels of a bus; by default to the channel ``a``, with its past."""

    def __init__(self, bus, report=dict, channels=("a",), *, whole=True):
        super().__init__(follows_all=not bus.shared)
        self.bus, self.channels, self.whole = bus, tuple(channels), whole
        self.heard.update(channels)
        self.entries = []
        """What it got of its channels, in pasts and behind them, each once and in the order of arrival."""
        self._known = set()
        self.report = report
        bus.follow(self.channels, whole=whole)
        bus.start(self)

    @property
    def ups(self):
        return self.said.count("up")

    @property
    def head(self):
        return self.log.head

    def past_came(self, pasts):
        super().past_came(pasts)
        for past in pasts:
            self._add(sorted([*past.entries, *past.kept], key=lambda entry: entry.sequence))

    def entries_came(self, entries, head):
        super().entries_came(entries, head)
        self._add(entries)

    def _add(self, entries):
        for entry in entries:
            number = self.log.epoch, entry.sequence
            if number not in self._known and self.heard.intersection(entry.channels):
                self._known.add(number)
                self.entries.append(entry)

    def up(self):
        position = 0 if self.whole else None
        eventually(
            lambda: self.ups and self.is_ready(*self.channels, position=position),
            5000 * MS,
            "the follower is up",
        )
        return self

    def hear(self, *channels, whole=True):
        """Listen to more, and wait until they are here."""
        self.heard.update(channels)
        self.bus.follow(channels, whole=whole)
        eventually(
            lambda: self.is_ready(*channels, position=0 if whole else None), 5000 * MS, "they are here"
        )
        return self.cursor(*channels, position=0 if whole else None)

    def lost(self, channel="a"):
        """The highest number up to which something is lost in a channel."""
        return self.log.watermark(channel)

    def numbers(self):
        return [entry.sequence for entry in self.entries]

    def texts(self):
        """The data of what came, in order; None for what forgets or closes."""
        return [text_of(entry) for entry in self.entries]

    def wait(self, count):
        eventually(
            lambda: len(self.entries) >= count, 10_000 * MS, f"{len(self.entries)} of {count} entries came"
        )
        return self.entries


def text_of(entry):
    """The data of an entry, or None."""
    return entry.wire.partition(b"data: ")[2].strip().decode() if entry.wire else None


def send(bus, channel, text=None, **fields):
    """Publish to one channel or to several, joined by a space; without a text it is an empty message."""
    return bus.publish(Message(tuple(channel.split()), b"" if text is None else block(text), **fields))


def block(text):
    return b"data: %s\n\n" % str(text).encode()


def numbered(bus, channels, block, once=None):
    """Publish, and return the id in its parts."""
    return parse(bus.publish(Message(channels, block, once=once)).id)
