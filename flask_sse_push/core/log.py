"""
A channel is a short log; a stream is a cursor on it.

The log of a bus holds the last entries of all its channels. Numbers count per bus, so that one
number says where a stream stands in all of its channels at once. Each channel remembers up to which
number it has lost entries; a cursor that stands before that number has missed something.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import attrgetter

__all__ = [
    "CHANNEL_OVERHEAD_BYTES",
    "ENTRY_OVERHEAD_BYTES",
    "MAX_BATCH_BYTES",
    "MAX_WATERMARKS",
    "NOTHING",
    "PLACE_OVERHEAD_BYTES",
    "Batch",
    "Cursor",
    "Entry",
    "Log",
]

ENTRY_OVERHEAD_BYTES = 400
"""What an entry costs beside its bytes: tuple, numbers, links (a test weighs it)."""

PLACE_OVERHEAD_BYTES = 64
"""What an entry costs for each of its channels beside the name: the name's object, a place in a tuple and in a ring (a test weighs it)."""

CHANNEL_OVERHEAD_BYTES = 1_000
"""What a channel costs as soon as it holds an entry: mostly the first block of a deque (a test weighs it)."""

MAX_BATCH_BYTES = 64 * 1024
"""The most that one read returns, unless its first entry alone is larger: one write into a usual socket buffer."""

MAX_WATERMARKS = 10_000
"""How many channels without entries are remembered. Older ones fall under one common mark, which can only tell a gap too many."""

_MAX_CACHED_BYTES = (
    4 * 1024 * 1024
)  # what is joined for thousands of clients that resume from all over the history

_MAX_CACHED_READS = 1_000


# Neither is ever changed. They are made and read for each event, and a named tuple takes twice as long for both, a frozen class three times.
@dataclass(slots=True, eq=False)
class Entry:
    """One event as it was numbered; shared by every channel that holds it."""

    sequence: int
    """Its number: contiguous per bus and epoch, from 1."""

    channels: tuple[str, ...]
    """The channels it was published to, each once."""

    wire: bytes
    """What goes to every stream, ``id:`` line included."""

    appended_at: float
    """Seconds on a monotonic clock."""


@dataclass(slots=True)
class Batch:
    """What a cursor reads at once; shared by all that stand at the same place."""

    wire: bytes
    """Entries in order, joined; empty when there is nothing new."""

    last: int
    """The number of the last entry in ``wire``; 0 when it is empty."""

    lost: tuple[str, ...]
    """Channels in which entries between the cursor and this batch are gone: to be told before ``wire``."""

    reason: str | None
    """Why they are gone: ``"evicted"`` from this log, or ``"epoch"``: the cursor belonged to another log. ``None`` when nothing is lost."""

    has_more: bool = False
    """Whether the cursor had to stop before the end of the log."""


NOTHING = Batch(b"", 0, (), None)
"""What a cursor at the end of the log reads."""


_NOTHING_FORGIVEN: Mapping[str, int] = {}


class Cursor:
    """
    A stream's place in the log. Not thread-safe: it belongs to its stream.

    Args:
        channels (tuple[str, ...]): What the stream reads, each once.
        position (int): The number of the last entry that the stream has got; 0 for none.
        epoch (str): The life of the log that the number belongs to.
    """

    __slots__ = ("channels", "epoch", "forgiven", "position")

    def __init__(self, channels: tuple[str, ...], position: int, epoch: str) -> None:
        self.channels = channels
        """What the stream reads."""
        self.epoch = epoch
        """The life of the log that the position belongs to."""
        self.position = position
        """Everything up to this number was read, or was told to be lost."""
        self.forgiven: Mapping[str, int] = _NOTHING_FORGIVEN
        """Per channel: losses up to this number were told already."""


class _Ring(deque[Entry]):
    """The entries of one channel."""

    __slots__ = ("watermark",)

    watermark: int


class Log:
    """
    The last entries of all channels of one bus. Not thread-safe: the hub holds a lock around it.

    Args:
        epoch (str): The life of the log that the numbers belong to.
        length (int): Entries kept per channel, at least 1.
        seconds (float): How long an entry is kept.
        max_bytes (int): Bytes kept over all channels, overhead included; the newest entry stays in any case.
        head (int): The number of the last entry that was given before this log began.
        batch_bytes (int): The most that one read returns, but always one entry if there is one.
    """

    def __init__(
        self,
        epoch: str,
        *,
        length: int,
        seconds: float,
        max_bytes: int,
        head: int = 0,
        batch_bytes: int = MAX_BATCH_BYTES,
    ) -> None:
        self.epoch = epoch
        """The life of the log that the numbers belong to."""
        self.head = head
        """The number of the newest entry, kept or not."""
        self.size_bytes = 0
        """What is kept now, overhead included."""
        self._length = length
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._batch_bytes = batch_bytes
        self._floor = (
            head  # what happened up to here is unknown, for every channel that has no mark of its own
        )
        self._rings: dict[str, _Ring] = {}
        self._watermarks: OrderedDict[str, int] = OrderedDict()  # of channels that hold no entry now
        # By number, with both ends and the middle removable in O(1): the oldest goes by age and by size, any other by
        # its channel's length. (A plain dict finds its first key only after passing all the removed ones.)
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._oldest_at = -math.inf  # when it was appended, or another that came before it
        self._shared: dict[
            int, int
        ] = {}  # number -> how many rings still hold it, where that was more than one
        self._reads: dict[tuple[tuple[str, ...], int], tuple[Batch, int]] = {}
        self._reads_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def channels(self) -> int:
        """How many channels hold an entry."""
        return len(self._rings)

    def append(self, entry: Entry) -> None:
        """
        Add the newest entry and drop what is too much, too old or too large.

        A number that skips some means that entries were lost on their way: every cursor before them reads a gap.

        Args:
            entry (Entry): Its number must be above ``head``.

        Raises:
            ValueError: The number was given before.
        """
        if entry.sequence <= self.head:
            raise ValueError(
                f"entry {entry.sequence} comes after {self.head}: numbers must rise. Start a new log when they begin anew."
            )
        if entry.sequence != self.head + 1:
            self._forget_all(entry.sequence - 1)
        if self._reads:
            self._forget_reads()
        channels = entry.channels
        self._entries[entry.sequence] = entry
        if len(channels) > 1:
            self._shared[entry.sequence] = len(channels)
        self.size_bytes += _cost(entry)
        for channel in channels:
            ring = self._rings.get(channel)
            if ring is None:
                ring = self._begin_ring(channel)
            ring.append(entry)
            if len(ring) > self._length:
                self._evict_first(channel, ring)
        if self._oldest_at < entry.appended_at - self._seconds:
            self.expire(entry.appended_at)
        while (
            self.size_bytes > self._max_bytes
            and len(self._entries) > 1
            and (oldest := self._first()) is not None
        ):
            self._evict(oldest)
        # Last: where a signal handler raised on the way here, the next number shows a hole, and everything begins anew.
        self.head = entry.sequence

    def expire(self, now: float) -> None:
        """Drop the entries that are older than the log keeps them, at ``now`` on the clock of ``Entry.appended_at``."""
        oldest = now - self._seconds
        while (entry := self._first()) is not None and entry.appended_at < oldest:
            self._evict(entry)
        if entry is not None:
            self._oldest_at = entry.appended_at

    def watermark(self, channel: str) -> int:
        """Return the number up to which entries of a channel may be gone; 0 when it has lost none."""
        ring = self._rings.get(channel)
        return self._watermarks.get(channel, self._floor) if ring is None else ring.watermark

    def read(self, cursor: Cursor) -> Batch:
        """
        Return what comes after a cursor, and move the cursor behind it.

        Streams that stand at the same place get the same ``Batch``, joined once.

        Args:
            cursor (Cursor): Where to read on. A position past ``head`` is left alone. One of another epoch has lost something in all
                of its channels, and goes on before all that this log holds: all of it came after the other log was lost.
        """
        if cursor.epoch != self.epoch:
            cursor.epoch, cursor.position = self.epoch, 0
            # What this log has lost itself until now is told by the same words.
            cursor.forgiven = {
                channel: mark for channel in cursor.channels if (mark := self.watermark(channel))
            }
            return replace(self.read(cursor), lost=cursor.channels, reason="epoch")
        if cursor.position >= self.head:
            return NOTHING
        if cursor.forgiven:
            batch, cursor.position = self._read(cursor)
        else:
            key = (cursor.channels, cursor.position)
            found = self._reads.get(key)
            if found is None:
                found = self._read(cursor)
                self._reads_bytes += len(found[0].wire)
                if len(self._reads) >= _MAX_CACHED_READS or self._reads_bytes > _MAX_CACHED_BYTES:
                    self._forget_reads()
                self._reads[key] = found
            batch, cursor.position = found
        if batch.lost:
            # Told once. The batch may end before these marks, and the way to them must not be told as lost again.
            cursor.forgiven = {channel: self.watermark(channel) for channel in cursor.channels}
        elif cursor.forgiven and cursor.position >= max(cursor.forgiven.values()):
            cursor.forgiven = _NOTHING_FORGIVEN
        return batch

    def read_shared(self, cursor: Cursor) -> Batch | None:
        """
        Return what another stream at the same place has read just now, and move the cursor; ``None`` when only :meth:`read` can tell.

        The one method that needs no lock: it takes one finished thing, which stays right when entries come or go meanwhile.
        """
        if cursor.forgiven or cursor.epoch != self.epoch:
            return None
        found = self._reads.get((cursor.channels, cursor.position))
        if found is None or found[0].lost:
            return None
        batch, cursor.position = found
        return batch

    def _read(self, cursor: Cursor) -> tuple[Batch, int]:
        after = cursor.position
        missing: list[str] = []
        entries: list[Entry] = []  # the newest first
        for channel in cursor.channels:
            ring = self._rings.get(channel)
            mark = self._watermarks.get(channel, self._floor) if ring is None else ring.watermark
            if mark > after and mark > cursor.forgiven.get(channel, 0):
                missing.append(channel)
            if ring is None:
                continue
            for entry in reversed(ring):
                if entry.sequence <= after:
                    break
                entries.append(entry)
        lost, reason = (tuple(missing), "evicted") if missing else ((), None)
        if len(cursor.channels) > 1:
            # Entries of several channels are found in each of them.
            entries = sorted(set(entries), key=_sequence, reverse=True)
        wires: list[bytes] = []
        size = last = 0
        while entries:
            entry = entries.pop()
            size += len(entry.wire)
            if size > self._batch_bytes and wires:
                return Batch(b"".join(wires), last, lost, reason, has_more=True), last
            wires.append(entry.wire)
            last = entry.sequence
        # Entries of other channels may lie between the last of these and the end: they are behind the cursor too.
        return Batch(b"".join(wires), last, lost, reason), self.head

    def _first(self) -> Entry | None:
        """Return the oldest."""
        return next(iter(self._entries.values()), None)

    def _forget_reads(self) -> None:
        self._reads.clear()
        self._reads_bytes = 0

    def _begin_ring(self, channel: str) -> _Ring:
        ring = _Ring()
        ring.watermark = self._watermarks.pop(channel, self._floor)
        self._rings[channel] = ring
        self.size_bytes += CHANNEL_OVERHEAD_BYTES
        return ring

    def _evict_first(self, channel: str, ring: _Ring) -> None:
        entry = ring[0]
        # The mark first: where a signal handler raises on the way, a gap too many may be told, never one too few.
        ring.watermark = entry.sequence
        if len(ring) > 1:
            ring.popleft()
        else:
            self._watermarks[channel] = entry.sequence
            if len(self._watermarks) > MAX_WATERMARKS:
                self._floor = max(self._floor, self._watermarks.popitem(last=False)[1])
            del self._rings[channel]
            self.size_bytes -= CHANNEL_OVERHEAD_BYTES
        if len(entry.channels) > 1 and (rings_left := self._shared.pop(entry.sequence, 1) - 1):
            self._shared[entry.sequence] = rings_left
        else:
            self._drop(entry)

    def _evict(self, entry: Entry) -> None:
        """Let the oldest go."""
        self._forget_reads()
        for channel in entry.channels:
            ring = self._rings.get(channel)
            # The oldest of all entries is the first of every ring that still holds it.
            if ring and ring[0] is entry:
                self._evict_first(channel, ring)
        if entry.sequence in self._entries:
            # In no ring: a signal handler raised while it came or went. Left here it would be the oldest for ever, and who waits for it to go too.
            self._shared.pop(entry.sequence, None)
            self._drop(entry)

    def _drop(self, entry: Entry) -> None:
        del self._entries[entry.sequence]
        self.size_bytes -= _cost(entry)

    def _forget_all(self, sequence: int) -> None:
        self._floor = sequence
        self.size_bytes = 0
        for kept in (self._rings, self._watermarks, self._entries, self._shared):
            kept.clear()


_sequence = attrgetter("sequence")


def _cost(entry: Entry) -> int:
    if len(entry.channels) == 1:
        return len(entry.wire) + ENTRY_OVERHEAD_BYTES + PLACE_OVERHEAD_BYTES + len(entry.channels[0])
    return (
        len(entry.wire)
        + ENTRY_OVERHEAD_BYTES
        + PLACE_OVERHEAD_BYTES * len(entry.channels)
        + sum(map(len, entry.channels))
    )
