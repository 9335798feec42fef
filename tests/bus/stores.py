"""Stores for the tests of buses, and a listener that writes down what a bus hands on."""

import pytest

from flask_sse_push.bus import BusOptions, Retention, open_bus
from flask_sse_push.core.positions import parse
from tests.support import FACTOR, MS, eventually

KINDS = ["memory", "sqlite", "redis"]
SHARED = ["sqlite", "redis"]
RETENTION = Retention(300, 1 << 24)


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


class Follower:
    """A listener that writes down what its bus hands on."""

    def __init__(self, bus, report=dict):
        self.bus = bus
        self.begun, self.entries, self.ups, self.said = [], [], 0, []
        self.is_wanted = True
        self.report = report
        bus.start(self)

    def log_begun(self, epoch, position, entries):
        self.begun.append((epoch, position))
        self.said.append("begun")
        self.entries += entries

    def entries_came(self, entries):
        assert entries, "nothing is not handed on"
        self.said += ["entry"] * len(entries)
        self.entries += entries

    def caught_up(self):
        self.said.append("up")
        self.ups += 1

    def up(self):
        eventually(lambda: self.ups, 5000 * MS, "the follower is up")
        return self

    def numbers(self):
        return [entry.sequence for entry in self.entries]

    def wait(self, count):
        eventually(
            lambda: len(self.entries) >= count, 10_000 * MS, f"{len(self.entries)} of {count} entries came"
        )
        return self.entries


def block(text):
    return b"data: %s\n\n" % str(text).encode()


def numbered(bus, channels, block, key=None):
    """Publish, and return the id in its parts."""
    return parse(bus.publish(channels, block, key).id)
