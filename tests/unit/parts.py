"""What the unit tests of the streams' room stand in for: a bus and a source that a test feeds by hand."""

import os
import tempfile
from types import SimpleNamespace

from flask_sse_push.bus.base import Health, PublishResult, Snapshot
from flask_sse_push.core.entry import Entry
from flask_sse_push.platform.locks import ReentrantLock
from flask_sse_push.streams.fanout import Fanout
from flask_sse_push.streams.hub import Hub, LogOptions
from flask_sse_push.streams.stream import StreamOptions

__all__ = [
    "HandBus",
    "HandSource",
    "HandWorker",
    "Observed",
    "attached",
    "make_fanout",
    "make_hub",
    "note",
    "stream_options",
]


class HandBus:
    """A bus of one's own, as the settings allow, that hands on what a test says."""

    name = "by hand"

    def __init__(self, *, shared=True, state="up", epoch="e1", now=1_000.0):
        self.now = now
        self.shared = shared
        self.state = state
        self.epoch = epoch
        self.head = 0
        self.starts = 0
        self.listener = None

    def start(self, listener):
        self.starts += 1
        self.listener = listener

    def begin(self, *, position=0, epoch=None, data=()):
        """Begin a log that keeps some entries already."""
        self.head, self.epoch = position, epoch or self.epoch
        self.listener.log_begun(self.epoch, position, [self.entry(item) for item in data])

    def entry(self, data, *channels):
        self.head += 1
        wire = b"id: %b-%d\ndata: %b\n\n" % (self.epoch.encode(), self.head, data.encode())
        return Entry(self.head, channels or ("news",), wire, self.now)

    def give(self, data, *channels):
        """Hand on one event."""
        self.listener.entries_came([self.entry(data, *channels)])

    def lose(self, count=1):
        """Let numbers pass by that never come here."""
        self.head += count

    def health(self):
        return Health(self.state, 0.0)

    def publish(self, channels, block, key=None):
        self.give(block.decode(), *channels)
        return PublishResult(f"{self.epoch}-{self.head}", self.head)

    def close(self):
        """Nothing is open."""

    def inspect(self):
        return Snapshot(self.epoch, self.head, 0, 0, [])


class HandSource:
    """A source whose chunks a test gives."""

    def __init__(self, *chunks, channels=("news",)):
        self.channels = channels
        self.outcome = None
        self.has_more = False
        self.chunks = list(chunks)
        self.calls = []
        self.wakeup = None

    def open(self, wakeup):
        self.calls.append("open")
        self.wakeup = wakeup

    def close(self):
        self.calls.append("close")

    def prelude(self):
        return b"\n"

    def read(self):
        chunk = self.chunks.pop(0) if self.chunks else b""
        self.has_more = bool(self.chunks)
        return chunk

    def heartbeat(self):
        return b":\n\n"

    def farewell(self):
        return b"farewell\n"

    def give(self, *chunks):
        self.chunks += chunks
        self.wakeup.wake()


class Observed(list):
    """An observer that notes what it is told."""

    def stream_opened(self, info, is_direct):
        self.append(("opened", is_direct))

    def stream_closed(self, info, reason, is_direct):
        self.append((reason, is_direct))

    def stream_refused(self, reason):
        self.append(("refused", reason))


def stream_options(**options):
    defaults = {
        "heartbeat_seconds": 8.0,
        "write_timeout_seconds": 10.0,
        "retry_milliseconds": 2_000,
        "abrupt_end": False,
    }
    return StreamOptions(**{**defaults, **options})


def make_hub(bus, *, length=100, max_bytes=1_000_000, seconds=3_600):
    return Hub(bus, LogOptions(length, seconds, max_bytes), dict)


def make_fanout(max_events=10, max_bytes=10_000):
    """A fan-out, and the lock of its owner."""
    lock = ReentrantLock()
    return Fanout(lock, max_events, max_bytes), lock


class attached:
    """While this lasts, somebody listens: ``with attached(fanout, lock, "news", wakeup=...) as wakeup``."""

    def __init__(self, fanout, lock, *channels, wakeup):
        self.fanout, self.lock, self.channels, self.wakeup = fanout, lock, channels, wakeup

    def __enter__(self):
        with self.lock:
            is_first = self.fanout.attach(self.channels, self.wakeup)
        if is_first:
            self.fanout.start()
        return self.wakeup

    def __exit__(self, *_):
        with self.lock:
            self.fanout.detach(self.channels, self.wakeup)


def note(fanout, *channels, size=100):
    """Note one event as the hub does."""
    urgent = fanout.add(channels, size)
    fanout.notify(urgent)
    return urgent


class HandWorker:
    """What the package asks of gunicorn's worker object, in a ``with`` block."""

    cfg = SimpleNamespace(reuse_port=True)
    sockets = ()

    def __init__(self):
        self.alive = True
        self.pid, self.ppid = os.getpid(), os.getppid()

    def __enter__(self):
        self.tmp = tempfile.TemporaryFile()
        return self

    def __exit__(self, *_):
        self.tmp.close()
