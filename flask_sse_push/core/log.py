"""
A channel is a short log; a stream is a cursor on it.

One counter numbers the entries of all channels, so one number says where a stream stands in all of its
channels. Each channel knows its watermark, the number of the newest entry that it has dropped: a cursor below
it has missed entries.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import replace
from operator import attrgetter

from . import positions
from .cursor import NONE_REPORTED, Cursor, Start
from .entry import CHANNEL_OVERHEAD_BYTES, ENTRY_OVERHEAD_BYTES, PLACE_OVERHEAD_BYTES, Entry
from .log_cache import NOTHING, Batch, BatchCache
from .watermarks import Watermarks

__all__ = ["MAX_BATCH_BYTES", "NOTHING", "Batch", "Cursor", "Entry", "Log", "Start"]

MAX_BATCH_BYTES = 64 * 1024
"""One write into a usual socket buffer."""


class _ChannelLog(deque[Entry]):
    """The entries of one channel, and its watermark."""

    __slots__ = ("watermark",)

    watermark: int


class Log:
    """
    The last entries of all channels of one bus. Not thread-safe, but for ``batches.get``.

    Args:
        epoch (str): Names this life of the log, to which the numbers belong.
        length (int): Entries kept per channel, at least 1.
        seconds (float): How long an entry is kept.
        max_bytes (int): Bytes kept over all channels, overhead included; the newest entry stays in any case.
        head (int): The number of the last entry before this log began.
        batch_bytes (int): The most that one read returns, unless its first entry alone is larger.
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
        """Names this life of the log, to which the numbers belong."""
        self.head = head
        """The number of the newest entry, kept or not."""
        self.size_bytes = 0
        """What is kept now, overhead included."""
        self._length = length
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._batch_bytes = batch_bytes
        self._channels: dict[str, _ChannelLog] = {}  # that hold entries
        self._watermarks = Watermarks(floor=head)  # of channels that hold none
        # By number. Age and size remove the oldest entry, a channel's length removes any other, both in O(1).
        # (A plain dict finds its first key only after passing all the removed ones.)
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._oldest_at = -math.inf  # no kept entry is older; spares append() a look at the first
        self._holders: dict[int, int] = {}  # number -> channels that still hold it, for entries of several
        self.batches = BatchCache()
        """
        What was read at each place. ``get`` may be called without a lock: a batch is never changed. One that
        tells of a loss is for the stream alone that read it.
        """

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def channels(self) -> int:
        """How many channels hold an entry."""
        return len(self._channels)

    def place(self, last_event_id: str | None, lag: int = 0) -> Start:
        """
        Return where a stream begins.

        Args:
            last_event_id (str | None): What the client sent, if anything.
            lag (int): How many entries this copy of the log may be behind the process that sent the id.

        Returns:
            Start: The end of the log for a new client; behind its last event for one that resumes. An id of
                another epoch (``"epoch"``) begins before all entries, since they came after the old log was
                lost. An id that is not ours (``"malformed"``) or lies ahead (``"future"``) begins at the end:
                nothing says what its sender has seen, and a made-up id must not fetch the whole history.
        """
        if not last_event_id:
            return Start(self.epoch, self.head, None)
        id = positions.parse(last_event_id)
        if id is None:
            return Start(self.epoch, self.head, "malformed")
        if id.epoch != self.epoch:
            return Start(self.epoch, 0, "epoch")
        if id.sequence > self.head + lag:
            return Start(self.epoch, self.head, "future")
        return Start(self.epoch, id.sequence, None)

    def append(self, entry: Entry) -> None:
        """
        Add the newest entry and drop what is too much, too old or too large.

        Numbers that are skipped are entries that never arrived: every cursor before them reads a gap.

        Args:
            entry (Entry): Its number must be above ``head``.

        Raises:
            ValueError: The number was given before.
        """
        sequence, channels = entry.sequence, entry.channels
        if sequence <= self.head:
            raise ValueError(f"entry {sequence} comes after {self.head}: numbers must rise. Begin a new log.")
        if sequence != self.head + 1:
            self._drop_all(sequence - 1)
        if self.batches:
            self.batches.clear()
        self._entries[sequence] = entry
        if len(channels) > 1:
            self._holders[sequence] = len(channels)
        self.size_bytes += _cost(entry)
        for channel in channels:
            kept = self._channels.get(channel)
            if kept is None:
                kept = self._channels[channel] = _ChannelLog()
                kept.watermark = self._watermarks.pop(channel, self._watermarks.floor)
                self.size_bytes += CHANNEL_OVERHEAD_BYTES
            kept.append(entry)
            if len(kept) > self._length:
                self._drop_first(kept)
        if self._oldest_at < entry.appended_at - self._seconds:
            self.expire(entry.appended_at)
        while self.size_bytes > self._max_bytes and len(self._entries) > 1:
            self._drop_oldest()
        # Last: after an exception on the way here, the next number shows a hole, and the log begins anew.
        self.head = sequence

    def expire(self, now: float) -> None:
        """Drop the entries that are too old at ``now``, on the clock of ``Entry.appended_at``."""
        while self._entries:
            self._oldest_at = next(iter(self._entries.values())).appended_at
            if self._oldest_at >= now - self._seconds:
                break
            self._drop_oldest()

    def watermark(self, channel: str) -> int:
        """Return the number up to which entries of a channel may be gone; 0 when it has lost none."""
        kept = self._channels.get(channel)
        return self._watermarks.get(channel, self._watermarks.floor) if kept is None else kept.watermark

    def read(self, cursor: Cursor) -> Batch:
        """
        Return what comes after a cursor, and move the cursor behind it.

        Streams at the same place get the same ``Batch``, joined once.

        Args:
            cursor (Cursor): Where to read on. A position past ``head`` is left alone. A cursor of another
                epoch has lost something in all of its channels, and goes on before all entries of this log.
        """
        if cursor.epoch != self.epoch:
            cursor.epoch, cursor.position, cursor.reported = self.epoch, 0, NONE_REPORTED
            return replace(self.read(cursor), lost=cursor.channels, reason="epoch")
        if cursor.position >= self.head:
            return NOTHING
        place = cursor.channels, cursor.position
        found = self.batches.get(place)
        if found is None or cursor.reported:
            found = self._join(cursor)
            if not cursor.reported:
                self.batches.keep(place, found)
        batch, cursor.position = found
        if batch.lost:
            # The batch may end below these watermarks. The next read must not report the same loss again.
            cursor.reported = {channel: self.watermark(channel) for channel in cursor.channels}
        elif cursor.reported and cursor.position >= max(cursor.reported.values()):
            cursor.reported = NONE_REPORTED
        return batch

    def _join(self, cursor: Cursor) -> tuple[Batch, int]:
        """Return the batch behind a cursor, and the position behind the batch."""
        after, marks = cursor.position, self._watermarks
        missing: list[str] = []
        entries: list[Entry] = []  # the newest first
        for channel in cursor.channels:
            kept = self._channels.get(channel)
            watermark = marks.get(channel, marks.floor) if kept is None else kept.watermark
            if watermark > after and watermark > cursor.reported.get(channel, 0):
                missing.append(channel)
            if kept is None:
                continue
            for entry in reversed(kept):
                if entry.sequence <= after:
                    break
                entries.append(entry)
        lost, reason = (tuple(missing), "evicted") if missing else ((), None)
        if len(cursor.channels) > 1:
            # An entry of several channels was found in each of them.
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
        # Entries between the last of these and the head belong to other channels: the cursor passes them too.
        return Batch(b"".join(wires), last, lost, reason), self.head

    def _drop_first(self, kept: _ChannelLog) -> None:
        """Drop the first entry of a channel that has become too long."""
        entry = kept.popleft()
        kept.watermark = entry.sequence
        if holders := self._holders.pop(entry.sequence, 1) - 1:
            self._holders[entry.sequence] = holders
        else:
            del self._entries[entry.sequence]
            self.size_bytes -= _cost(entry)

    def _drop_oldest(self) -> None:
        """Drop the oldest entry of all, from every channel that still holds it."""
        self.batches.clear()
        sequence, entry = self._entries.popitem(last=False)
        self._holders.pop(sequence, None)
        self.size_bytes -= _cost(entry)
        for channel in entry.channels:
            kept = self._channels.get(channel)
            if not kept or kept[0] is not entry:
                continue  # the channel's own length dropped it before
            kept.popleft()
            kept.watermark = sequence
            if not kept:
                del self._channels[channel]
                self.size_bytes -= CHANNEL_OVERHEAD_BYTES
                self._watermarks.keep(channel, sequence)

    def _drop_all(self, sequence: int) -> None:
        """Begin anew behind missing entries, whose channels nobody knows."""
        for kept in (self._channels, self._entries, self._holders):
            kept.clear()
        self._watermarks = Watermarks(floor=sequence)
        self.size_bytes = 0


_sequence = attrgetter("sequence")


def _cost(entry: Entry) -> int:
    size, channels = len(entry.wire) + ENTRY_OVERHEAD_BYTES, entry.channels
    if len(channels) == 1:  # nearly always, and a third faster
        return size + PLACE_OVERHEAD_BYTES + len(channels[0])
    return size + PLACE_OVERHEAD_BYTES * len(channels) + sum(map(len, channels))
