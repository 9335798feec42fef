"""A store in memory that breaks as a test says, and the bus over it."""

from collections import Counter
from collections.abc import Sequence

from flask_sse_push.bus.store import Beginning, LogChanged, News, StoredEntry, Tail
from flask_sse_push.bus.stored import StoredBus
from flask_sse_push.core.entry import Entry
from flask_sse_push.core.past import Past
from flask_sse_push.platform import backends

__all__ = ["HandReader", "HandStore", "HandStoredBus", "StoreFault", "stored"]


class StoreFault(Exception):
    """The store is away."""


def stored(number, before, *channels, key=None, wire=None):
    """Return an entry as a store gives it; ``before`` is a number, or one for each channel."""
    befores = tuple(before) if isinstance(before, Sequence) else (before,) * len(channels)
    return StoredEntry(Entry(number, channels, wire or b"id: e1-%d\ndata: x\n\n" % number, 0.0, key), befores)


class HandStore:
    """All that is shared. What is published is pushed to the readers that listen, unless it is deaf."""

    def __init__(self):
        self.epoch, self.head, self.floor = "e1", 0, 0
        self.entries = []
        self.last, self.marks, self.closed = {}, {}, {}
        self.gone = set()  # (epoch, channel, number) of what was evicted
        self.readers = []
        self.is_deaf = False  # what is published is pushed to nobody
        self.lies = 0  # by so much the heads that it tells are too high
        self.calls = []
        self.fails = Counter()  # of each method, how many calls fail from now on
        self.on_call = None  # called with the name of each method before it does anything
        self.on_idle = None  # called by a read that has nothing, in place of a wait

    def publish(self, *channels, key=None, closes=False, forgets=False):
        self.head += 1
        number = self.head
        wire = b"" if forgets else b"id: %b-%d\ndata: x\n\n" % (self.epoch.encode(), number)
        entry = Entry(number, channels, wire, 0.0, key, closes)
        before = tuple(self.last.get(channel, ~self.floor if self.floor else 0) for channel in channels)
        for channel in channels:
            self.last[channel] = number
            if closes:
                self.closed[channel] = number
        self.entries.append(entry)
        if not self.is_deaf:
            for reader in self.readers:
                if reader.listened.intersection(channels):
                    reader.came.append(StoredEntry(entry, before))
                    reader.wake()
        return number

    def evict(self, channel):
        """Drop what the history of a channel holds."""
        for entry in self.entries:
            if channel in entry.channels and entry.key is None:
                self.marks[channel] = entry.sequence
                self.gone.add((self.epoch, channel, entry.sequence))

    def forget(self, channel):
        """Forget that there was such a channel; it has no entries any more."""
        self.evict(channel)
        last = self.last.pop(channel, 0)
        self.marks.pop(channel, None)
        self.floor = max(self.floor, last)

    def begin_anew(self, epoch):
        self.epoch, self.head, self.floor, self.entries = epoch, 0, 0, []
        self.last, self.marks, self.closed = {}, {}, {}

    def cut(self):
        """Break all connections."""
        for reader in self.readers:
            reader.is_cut = True
            reader.wake()

    def tail(self, channel, behind):
        last = self.last.get(channel, ~self.floor if self.floor else 0)
        mark = self.marks.get(channel, 0 if last >= 0 else ~last)
        kept = {}
        for entry in self.entries:
            if channel in entry.channels and entry.key is not None and entry.wire:
                kept[entry.key] = entry
        if behind is None:
            past = Past(channel, self.head, 0, (), tuple(kept.values()), self.closed.get(channel, 0))
        else:
            entries = tuple(
                entry
                for entry in self.entries
                if channel in entry.channels
                and entry.sequence > behind
                and (self.epoch, channel, entry.sequence) not in self.gone
                and (entry.key is None or not entry.wire)
            )
            past = Past(
                channel,
                behind,
                mark if mark > behind else 0,
                entries,
                tuple(kept.values()),
                self.closed.get(channel, 0),
            )
        return Tail(past, last)


class HandReader:
    """One connection to that store."""

    def __init__(self, store):
        self.store, self.epoch = store, ""
        self.listened, self.came = set(), []
        self.is_cut = False
        self.wakeup = backends.current_backend().wakeup()
        store.readers.append(self)

    def begin(self):
        self._call("begin")
        self.epoch = self.store.epoch
        self.listened, self.came = set(), []
        return Beginning(self.epoch, self.store.head)

    def tail(self, wanted, head):
        self._call("tail", wanted)
        assert 0 < len(wanted) <= 256
        self._look()
        self.listened.update(channel for channel, _ in wanted)
        tails = [self.store.tail(channel, behind) for channel, behind in wanted]
        return self._news(tails)

    def ignore(self, channels):
        self._call("ignore", channels)
        self.listened.difference_update(channels)

    def read(self, head, seconds):
        self._call("read")
        self._look()
        if seconds and not self.came:
            if self.store.on_idle is not None:
                self.store.on_idle()
            else:
                self.wakeup.wait(seconds)
            self._look()
        return self._news()

    def wake(self):
        self.wakeup.wake()

    def report(self, report):
        self._call("report")

    def withdraw(self):
        self._call("withdraw")

    def close(self):
        self.store.readers.remove(self)

    def _news(self, tails=()):
        came, self.came = self.came, []
        return News(came, self.store.head + self.store.lies, tails)

    def _call(self, name, told=()):
        store = self.store
        store.calls.append((name, len(told)))
        if store.on_call is not None:
            store.on_call(name)
        if self.is_cut or store.fails[name] > 0:
            store.fails[name] -= 1
            raise StoreFault(name)

    def _look(self):
        if self.is_cut:
            raise StoreFault("cut")
        if self.epoch != self.store.epoch:
            raise LogChanged


class HandStoredBus(StoredBus):
    """The follower over that store."""

    name = "by hand"
    faults = (StoreFault,)

    def __init__(self, store):
        super().__init__("nowhere")
        self.store = store

    def _open_reader(self):
        self.store.calls.append(("open", 0))
        return HandReader(self.store)

    def _cure_of(self, error):
        return ""
