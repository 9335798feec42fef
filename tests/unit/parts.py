"""What the unit tests of the streams' room stand in for: a bus and a source that a test feeds by hand."""

import os
import tempfile
from types import SimpleNamespace

from flask_sse_push.bus.base import BusOptions, Health, PublishResult, Snapshot
from flask_sse_push.bus.memory import MemoryBus
from flask_sse_push.core import wire
from flask_sse_push.core.channels import Pattern
from flask_sse_push.core.entry import Entry
from flask_sse_push.core.past import Past
from flask_sse_push.core.retention import ChannelRetention, RetentionRules
from flask_sse_push.platform.locks import ReentrantLock
from flask_sse_push.streams.fanout import Fanout
from flask_sse_push.streams.hub import Hub
from flask_sse_push.streams.stream import StreamOptions
from flask_sse_push.streams.subscription import Begin, Subscription

__all__ = [
    "HandBus",
    "HandSource",
    "HandWorker",
    "Observed",
    "attached",
    "make_fanout",
    "make_hub",
    "memory_bus",
    "note",
    "stream_options",
    "subscribe",
]


CHANNELS = ("news", "orders", "slow", "busy")


class HandBus:
    """
    A bus of one's own, as the settings allow, that hands on what a test says.

    A shared one keeps everything, and brings the past of a channel as soon as it is asked to follow it, or
    with the next :meth:`answer`. It follows some channels from the beginning.
    """

    name = "by hand"

    def __init__(self, *, shared=True, state="up", epoch="e1", now=1_000.0, answers=True, follows=CHANNELS):
        self.now = now
        self.shared = shared
        self.state = state
        self.epoch = epoch
        self.head = 0
        self.starts = 0
        self.answers = answers
        self.listener = None
        self.stored = []
        self.followed = dict.fromkeys(follows, True)
        self.asked = {}

    def start(self, listener):
        self.starts += 1
        self.listener = listener

    def begin(self, *, position=0, epoch=None, data=()):
        """Begin a log that keeps some entries already."""
        followed, self.followed, self.stored = list(self.followed), {}, []
        self.head, self.epoch = position, epoch or self.epoch
        if not self.shared:
            self.listener.log_begun(self.epoch, position)
        for item in data:
            self.give(item)
        if self.shared:
            self.listener.log_begun(self.epoch, self.head)
            self.follow(followed, whole=True)

    def entry(self, data, *channels, key=None, closes=False):
        self.head += 1
        wire = b"id: %b-%d\ndata: %b\n\n" % (self.epoch.encode(), self.head, data.encode())
        return Entry(self.head, channels or ("news",), wire if data else b"", self.now, key, closes)

    def give(self, data, *channels, **fields):
        """Hand on one event."""
        self.hand_on(self.entry(data, *channels, **fields))

    def hand_on(self, *entries):
        """Hand on the events that somebody follows, and the head of the log."""
        self.stored += entries
        if self.shared:
            entries = [entry for entry in entries if self.followed.keys() & set(entry.channels)]
        if self.listener.log is not None:
            self.listener.entries_came(entries, self.head)

    def lose(self, count=1):
        """Let numbers pass by that never come here."""
        self.head += count

    def follow(self, channels, *, whole):
        for channel in channels:
            if self.followed.get(channel, -1) < whole:
                self.asked[channel] = max(whole, self.asked.get(channel, False))
        if self.answers:
            self.answer()

    def answer(self):
        """Bring what was asked for."""
        asked, self.asked = self.asked, {}
        if self.listener is None or not self.shared or self.listener.log is None:
            return
        self.followed.update(asked)
        pasts = [self.past(channel, 0 if whole else self.head) for channel, whole in asked.items()]
        if pasts:
            self.listener.past_came(pasts)

    def past(self, channel, behind):
        """Return what is stored of a channel."""
        here = [entry for entry in self.stored if channel in entry.channels]
        kept = {entry.key: entry for entry in here if entry.key is not None}
        closed = max((entry.sequence for entry in here if entry.closes), default=0)
        return Past(
            channel,
            behind,
            0,
            [entry for entry in here if entry.sequence > behind and entry.key is None],
            sorted((entry for entry in kept.values() if entry.wire), key=lambda entry: entry.sequence),
            closed,
            self.now,
        )

    def leave(self, *channels):
        """Follow some channels no longer."""
        for channel in channels:
            del self.followed[channel]
        self.listener.channels_left(channels)

    def health(self):
        return Health(self.state, 0.0)

    def publish(self, message):
        self.give(message.block.decode(), *message.channels)
        return PublishResult(f"{self.epoch}-{self.head}", self.head)

    def close(self):
        """Nothing is open."""

    def inspect(self):
        return Snapshot(self.epoch, self.head, 0, 0, 0, 0, [])


class HandSource:
    """A source whose chunks a test gives."""

    def __init__(self, *chunks, channels=("news",)):
        self.channels = channels
        self.outcome = None
        self.outcome_at_end = None  # why it has ended when the last chunk was read
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
        if not self.chunks and self.outcome_at_end is not None:
            self.outcome = self.outcome_at_end
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


def make_hub(bus, *, length=100, max_bytes=1_000_000, seconds=3_600.0, patterns=()):
    patterns = [(Pattern(pattern), ChannelRetention(*retention)) for pattern, retention in patterns]
    rules = RetentionRules(ChannelRetention(length, seconds), max_bytes, patterns=patterns)
    return Hub(bus, rules, dict)


def memory_bus(*, length=1_000, seconds=3_600.0, max_bytes=1 << 30, **options):
    return MemoryBus(BusOptions(RetentionRules(ChannelRetention(length, seconds), max_bytes, **options), 1.0))


def subscribe(hub, channels, last_event_id=None, *, rewind=0, heartbeat=wire.COMMENT, snapshots=None):
    return Subscription(hub, channels, Begin(last_event_id, rewind, heartbeat), 0.0, snapshots)


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
