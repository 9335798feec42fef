"""
A channel is a short log; a stream is a cursor on it.

One counter numbers the entries of all channels, so one number says where a stream stands in all of its
channels. Each channel knows its watermark, the number of the newest entry that it has dropped: a cursor below
it has missed entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from operator import attrgetter

from . import positions
from .channel_logs import ChannelLogs
from .cursor import NONE_REPORTED, Cursor, Start
from .entry import Entry
from .log_cache import NOTHING, Batch, BatchCache
from .past import Past
from .retention import RetentionRules
from .wire import KEPT

__all__ = ["ALL", "MAX_BATCH_BYTES", "NOTHING", "Batch", "Cursor", "Entry", "Log", "Start"]

MAX_BATCH_BYTES = 64 * 1024
"""One write into a usual socket buffer."""

ALL = 1 << 62
"""As many events as there are."""


class Log:
    """
    This process's copy of the channels of one bus. Not thread-safe, but for ``batches.get``.

    Args:
        epoch (str): Names this life of the log, to which the numbers belong.
        rules (RetentionRules): How much is kept of each channel, and of all.
        head (int): The number of the last entry before this log began.
        follows_all (bool): Whether each entry of the bus comes here. Else a channel is there from the first
            :meth:`merge` on, until :meth:`leave`.
        batch_bytes (int): The most that one read returns, unless its first entry alone is larger.
    """

    def __init__(
        self,
        epoch: str,
        rules: RetentionRules,
        *,
        head: int = 0,
        follows_all: bool = True,
        batch_bytes: int = MAX_BATCH_BYTES,
    ) -> None:
        self.epoch = epoch
        """Names this life of the log, to which the numbers belong."""
        self.head = head
        """The number up to which everything is here; no cursor moves past it."""
        self.has_closed = False
        """Whether a channel was closed since the log began."""
        self._max_bytes = rules.max_bytes
        self._follows_all = follows_all
        self._batch_bytes = batch_bytes
        self._channels = ChannelLogs(rules, follows_all=follows_all, floor=head)
        self._scale = self._channels.scale
        self._kept: tuple[tuple[tuple[str, ...], int], bytes] | None = None  # what kept() returned last
        self.batches = BatchCache()
        """
        What was read at each place. ``get`` may be called without a lock: a batch is never changed. One that
        tells of a loss is for the stream alone that read it.
        """

    @property
    def size_bytes(self) -> int:
        """What the histories weigh now, overhead included; kept values are not counted."""
        return self._scale.size_bytes

    def count(self) -> dict[str, int]:
        """Return how many events, channels and kept values there are, and what the events weigh."""
        logs = list(self._channels.values())
        return {
            "events": sum(len(log.history) for log in logs) - self._scale.repeated,
            "channels": sum(bool(log.history) for log in logs),
            "kept": sum(len(log.kept) for log in logs),
            "bytes": self.size_bytes,
        }

    def place(
        self,
        channels: Sequence[str],
        last_event_id: str | None,
        *,
        rewind: int = 0,
        lag: int = 0,
    ) -> Start:
        """
        Return where a stream begins.

        Args:
            channels (Sequence[str]): What it reads.
            last_event_id (str | None): What the client sent, if anything.
            rewind (int): How many of the newest events a client without an id is to get first, of all its
                channels together; :data:`ALL` for what there is. Kept values are not counted.
            lag (int): How many entries this copy of the log may be behind the process that sent the id.

        Returns:
            Start: The end of the log for a new client; behind its last event for one that resumes. An id of
                another epoch (``"epoch"``), one that is not ours (``"malformed"``) and one that lies ahead
                (``"future"``) begin at the end: nothing says what their sender has seen, it is told to load
                its data again, and a made-up id must not fetch the whole history.
        """
        if not last_event_id:
            return self._rewound(channels, rewind) if rewind else Start(self.epoch, self.head, is_new=True)
        id = positions.parse(last_event_id)
        if id is None:
            reason = "malformed"
        elif id.epoch != self.epoch:
            reason = "epoch"
        elif id.sequence > self.head + lag:
            reason = "future"
        else:
            return Start(self.epoch, id.sequence)
        return Start(self.epoch, self.head, reason, is_new=True)

    def is_ready(self, channels: Iterable[str], after: int) -> bool:
        """Say whether a stream of these channels can begin behind a number, or at the end of the log."""
        if self._follows_all:
            return True
        after, logs = min(after, self.head), self._channels
        return all((log := logs.get(channel)) is not None and log.begins <= after for channel in channels)

    def append(self, entry: Entry, proven: int | None = None) -> None:
        """
        Add the newest entry to its channels, and drop what is too much, too old or too large.

        Where all entries come here, numbers that are skipped are entries that never arrived: every cursor
        before them reads a gap. Elsewhere a channel that has the entry is left as it is.

        Args:
            entry (Entry): Where all entries come here, its number must be above ``head``.
            proven (int | None): The head moves to the number of the entry, and not past this one; ``None``
                where all entries come here.

        Raises:
            ValueError: The number was given before.
        """
        sequence, logs = entry.sequence, self._channels
        if sequence != self.head + 1 and self._follows_all:
            self._skip_to(sequence)
        if self.batches:
            self.batches.clear()
        is_plain = entry.key is None and not entry.closes
        if not is_plain:
            self._kept = None
            self.has_closed |= entry.closes
        for channel in entry.channels:
            log = logs.get(channel)
            if log is None:
                if not self._follows_all:
                    continue
                log = logs.begin_again(channel)
            if is_plain and sequence > log.top and not log.closed:  # nearly always, and without one more call
                log.top = sequence
                log.append(entry)
            else:
                log.add(entry)
            if not log.listed and log.history:
                logs.enlist(log)
        if entry.appended_at >= logs.sweep_at or self._scale.size_bytes > self._max_bytes:
            self._shrink(entry)
        # Last: after an exception on the way here, the next number shows a hole, and the log begins anew.
        self.head = sequence if proven is None else max(self.head, min(sequence, proven))

    def advance(self, head: int) -> None:
        """Note that everything up to a number is here."""
        if head > self.head:
            self.head = head
            if self.batches:
                self.batches.clear()

    def merge(self, past: Past) -> None:
        """Add what a store had of a channel at one moment. The channel is here from now on."""
        logs = self._channels
        log = logs.get(past.channel) or logs.begin(past.channel, past.behind, past.lost_up_to)
        log.merge(past)
        self.has_closed |= bool(log.closed)
        if log.history and not 0 < log.listed <= log.history[0].sequence:
            logs.enlist(log)
        if self._scale.size_bytes > self._max_bytes:
            logs.drop_oldest(max(self.head, log.top))
        self._forget_reads()

    def leave(self, channels: Iterable[str]) -> None:
        """Drop channels that are not followed any more."""
        self._channels.leave(channels)
        self._forget_reads()

    def expire(self, channels: Iterable[str], now: float) -> None:
        """Drop what is too old at ``now`` in some channels, on the clock of ``Entry.appended_at``."""
        for channel in channels:
            log = self._channels.get(channel)
            if log is not None and (log.closed or log.history) and log.expire(now):
                self._forget_reads()

    def sweep(self, now: float) -> None:
        """Drop what is too old in all channels, and channels that hold nothing where all are followed."""
        if self._channels.sweep_all(now):
            self._forget_reads()

    def watermark(self, channel: str) -> int:
        """Return the number up to which entries of a channel may be gone; 0 when it has lost none."""
        return self._channels.watermark(channel)

    def newest(self, channel: str) -> int:
        """Return the number of the newest entry of a channel that came here; 0 where it is not here."""
        log = self._channels.get(channel)
        return 0 if log is None else log.top

    def read(self, cursor: Cursor) -> Batch | None:
        """
        Return what comes after a cursor, and move the cursor behind it.

        Streams at the same place get the same ``Batch``, joined once.

        Args:
            cursor (Cursor): Where to read on. A position past ``head`` is left alone. A cursor of another
                epoch has lost something in all of its channels, and goes on before all entries of this log.

        Returns:
            Batch | None: ``None`` while one of its channels is not here so far back.
        """
        if cursor.epoch != self.epoch:
            if not self.is_ready(cursor.channels, 0):
                return None
            cursor.epoch, cursor.position, cursor.reported = self.epoch, 0, NONE_REPORTED
            batch = self.read(cursor)
            assert batch is not None
            return replace(batch, lost=cursor.channels, reason="epoch")
        if cursor.position >= self.head:
            return NOTHING
        place = cursor.channels, cursor.position
        found = self.batches.get(place)
        if found is None or cursor.reported:
            found = self._join(cursor)
            if found is None:
                return None
            if not cursor.reported:
                self.batches.keep(place, found)
        batch, cursor.position = found
        if batch.lost:
            # The batch may end below these watermarks. The next read must not report the same loss again.
            cursor.reported = {channel: self.watermark(channel) for channel in cursor.channels}
        elif cursor.reported and cursor.position >= max(cursor.reported.values()):
            cursor.reported = NONE_REPORTED
        return batch

    def kept(self, channels: tuple[str, ...], position: int) -> bytes | None:
        """
        Return the values that channels keep by their keys, in the order in which they came, without ids.

        Args:
            channels (tuple[str, ...]): Of a stream.
            position (int): Where it begins: newer values follow as events.

        Returns:
            bytes | None: ``None`` while one of the channels is not here.
        """
        place = channels, position
        if self._kept is not None and self._kept[0] == place:
            return self._kept[1]  # a thousand streams that begin at once are at one place
        entries: dict[int, Entry] = {}  # by number: two channels may have an object each of the same entry
        for channel in channels:
            log = self._channels.get(channel)
            if log is not None:
                entries.update((e.sequence, e) for e in log.kept.values() if e.sequence <= position)
            elif not self._follows_all:
                return None
        wires = (entries[sequence].wire for sequence in sorted(entries))
        values = b"".join(wire[wire.index(b"\n") + 1 :] for wire in wires)
        self._kept = place, values
        return values

    def closed_behind(self, channels: Iterable[str]) -> int | None:
        """
        Return the number behind which all of the channels are closed; ``None`` while one is open.

        Needs no lock: each channel is found in one step of the interpreter.
        """
        last = 0
        for channel in channels:
            log = self._channels.get(channel)
            if log is None or not log.closed:
                return None
            last = max(last, log.closed)
        return last

    def _join(self, cursor: Cursor) -> tuple[Batch, int] | None:
        """Return the batch behind a cursor, and the position behind the batch."""
        after, head, logs = cursor.position, self.head, self._channels
        missing: list[str] = []
        entries: list[Entry] = []  # the newest first
        for channel in cursor.channels:
            log = logs.get(channel)
            if log is None:
                if not self._follows_all:
                    return None
                watermark = logs.watermark(channel)
            elif log.begins > after:
                return None
            else:
                watermark = log.lost_up_to
            if watermark > after and watermark > cursor.reported.get(channel, 0):
                missing.append(channel)
            if log is not None and log.top > after:
                entries += log.newer(after, head)
        lost, reason = (tuple(missing), "evicted") if missing else ((), None)
        if len(cursor.channels) > 1:
            # An entry of several channels was found in each of them, perhaps as another object.
            found = {entry.sequence: entry for entry in entries}
            entries = sorted(found.values(), key=_sequence, reverse=True)
        first_kept = self._first_kept(cursor.channels, entries)
        wires, last, has_more = self._fill(entries)
        if first_kept <= last:
            wires.insert(0, KEPT)  # here, so that all streams at this place share the bytes
        # Entries between the last of these and the head belong to other channels: the cursor passes them too.
        return Batch(b"".join(wires), last, lost, reason, has_more), last if has_more else head

    def _fill(self, entries: list[Entry]) -> tuple[list[bytes], int, bool]:
        """Return what fits into a batch, the number of the last entry, and whether there are more."""
        wires: list[bytes] = []
        size = last = 0
        while entries:
            entry = entries.pop()
            size += len(entry.wire)
            if size > self._batch_bytes and wires:
                return wires, last, True
            wires.append(entry.wire)
            last = entry.sequence
        return wires, last, False

    def _first_kept(self, channels: Iterable[str], entries: Iterable[Entry]) -> int:
        """Return the number of the first entry that has a key; one above all where none has."""
        if any((log := self._channels.get(channel)) is not None and log.kept for channel in channels):
            return min((entry.sequence for entry in entries if entry.key is not None), default=ALL)
        return ALL  # without a look at each entry, nearly always

    def _rewound(self, channels: Sequence[str], rewind: int) -> Start:
        """Return the place before the newest events; between them nothing is missing."""
        newest: set[int] = set()
        least = 0
        for channel in channels:
            log = self._channels.get(channel)
            if log is not None:
                numbers = (entry.sequence for entry in reversed(log.history))
                newest.update(islice((number for number in numbers if number <= self.head), rewind))
                if log.history and log.history[0].sequence <= log.lost_up_to:
                    least = max(least, log.lost_up_to)  # a store has told of a loss among what is here
        first = sorted(number for number in newest if number > least)[-rewind:]
        position = first[0] - 1 if first else self.head
        reported = {channel: self.watermark(channel) for channel in channels}
        is_whole = all(watermark <= position for watermark in reported.values())
        return Start(self.epoch, position, is_new=True, reported=NONE_REPORTED if is_whole else reported)

    def _shrink(self, newest: Entry) -> None:
        """Drop what is too old in some channels, and what is too much in all; the newest entry stays."""
        if self._channels.sweep(newest.appended_at):
            self._forget_reads()
        self._channels.drop_oldest(newest.sequence)

    def _forget_reads(self) -> None:
        self.batches.clear()
        self._kept = None

    def _skip_to(self, sequence: int) -> None:
        """Begin anew behind missing entries, whose channels nobody knows; what is kept by a key stays."""
        if sequence <= self.head:
            raise ValueError(f"entry {sequence} comes after {self.head}: numbers must rise. Begin a new log.")
        self._channels.skip_to(sequence - 1)
        self._forget_reads()


_sequence = attrgetter("sequence")
