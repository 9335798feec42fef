"""One channel of a log: its history, the values that it keeps, and what is known to be missing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from heapq import merge

from .entry import CHANNEL_OVERHEAD_BYTES, ENTRY_OVERHEAD_BYTES, PLACE_OVERHEAD_BYTES, Entry
from .past import Past
from .retention import ChannelRetention

__all__ = ["ChannelLog", "Scale"]

_NO_VALUES: dict[str, Entry] = {}  # of nearly all channels; never changed


class Scale:
    """
    What the entries of some channels weigh together: each entry once, and its place in each channel.

    Not thread-safe: the log that owns it is not.
    """

    __slots__ = ("_held", "size_bytes")

    def __init__(self) -> None:
        self.size_bytes = 0
        """The weight, overhead included."""
        self._held: dict[int, tuple[Entry, int]] = {}  # of several channels: and how many of them hold it

    @property
    def repeated(self) -> int:
        """How many places are taken by entries that another channel holds too."""
        return sum(holders - 1 for _, holders in self._held.values())

    def hold(self, entry: Entry) -> bool:
        """Note that one more channel holds an entry of several. Return whether it is the first."""
        held, holders = self._held.get(entry.sequence, (entry, 0))
        self._held[entry.sequence] = held, holders + 1
        return not holders

    def let_go(self, entry: Entry) -> bool:
        """Undo :meth:`hold`. Return whether it was the last."""
        # An exception of a signal handler may have ended a hold() or a let_go() before.
        held, holders = self._held.pop(entry.sequence, (entry, 1))
        if holders > 1:
            self._held[entry.sequence] = held, holders - 1
        return holders <= 1

    def shared(self, entry: Entry) -> Entry:
        """Return the object that another channel holds of the same entry, or this one."""
        return self._held[entry.sequence][0] if entry.sequence in self._held else entry

    def clear(self) -> None:
        """Begin at nothing again."""
        self._held.clear()
        self.size_bytes = 0


class ChannelLog:
    """
    One channel of a :class:`Log`, whose lock guards it.

    Args:
        name (str): The channel.
        retention (ChannelRetention): How much of it is kept.
        scale (Scale): Weighs the histories of all channels of the log.
        begins (int): Nothing is known of the channel up to this number, and everything behind.
        lost_up_to (int): The number of the newest entry that it has dropped.
    """

    __slots__ = (
        "_place_bytes",
        "_scale",
        "begins",
        "closed",
        "closed_at",
        "history",
        "kept",
        "length",
        "listed",
        "lost_up_to",
        "name",
        "seconds",
        "top",
    )

    def __init__(
        self, name: str, retention: ChannelRetention, scale: Scale, begins: int, lost_up_to: int
    ) -> None:
        self.name = name
        self.length, self.seconds = retention
        self._scale = scale
        self._place_bytes = PLACE_OVERHEAD_BYTES + len(name)
        self.history: deque[Entry] = deque()
        """The entries without a key, in order."""
        self.kept = _NO_VALUES
        """The newest entry of each key, in the order of their numbers."""
        self.begins = begins
        """Nothing of the channel is known up to this number."""
        self.lost_up_to = lost_up_to
        """The *watermark*: a cursor below it has missed something."""
        self.top = begins
        """The number of the newest entry that was added, of any kind."""
        self.closed = 0
        """The number of the entry that closed the channel; 0 while it is open."""
        self.closed_at = 0.0
        """When that was."""
        self.listed = 0
        """Under which number the log's heap has the channel; 0 where it has not."""

    def add(self, entry: Entry) -> None:
        """Add an entry of any kind, unless it came before."""
        if entry.sequence <= self.top:
            return
        self.top = entry.sequence
        if self.closed:
            self.forget_closed()  # it takes events again, so the bus has forgotten that it was closed
        if entry.closes:
            self.closed, self.closed_at = entry.sequence, entry.appended_at
        if entry.key is not None:
            self._keep(entry.key, entry)
        elif entry.wire:
            self.append(entry)

    def append(self, entry: Entry) -> None:
        """Add an entry to the history, and drop what is too much or too old beside it."""
        history, scale, size = self.history, self._scale, self._place_bytes
        if not history:
            size += CHANNEL_OVERHEAD_BYTES
        if len(entry.channels) == 1 or scale.hold(entry):
            size += len(entry.wire) + ENTRY_OVERHEAD_BYTES
        scale.size_bytes += size
        history.append(entry)
        oldest = entry.appended_at - self.seconds
        while len(history) > self.length or history[0].appended_at < oldest:
            self.drop_first()

    def drop_first(self) -> None:
        """Drop the first entry of the history, which must not be empty."""
        entry, size = self.history.popleft(), self._place_bytes
        if not self.history:
            size += CHANNEL_OVERHEAD_BYTES
        if len(entry.channels) == 1 or self._scale.let_go(entry):
            size += len(entry.wire) + ENTRY_OVERHEAD_BYTES
        self._scale.size_bytes -= size
        # A store may have told of a loss among entries that are still here.
        if entry.sequence > self.lost_up_to:  # noqa: PLR1730  # max() takes three times as long
            self.lost_up_to = entry.sequence

    def clear(self) -> None:
        """Drop the history, which another log has or which is read again: nothing is lost by that."""
        mark = self.lost_up_to
        while self.history:
            self.drop_first()
        self.lost_up_to = mark

    def expire(self, now: float) -> bool:
        """
        Drop what is too old at ``now``, on the clock of ``Entry.appended_at``. Return whether there was any.
        """
        mark, closed, oldest = self.lost_up_to, self.closed, now - self.seconds
        if self.closed and self.closed_at < oldest:
            self.forget_closed()
        while self.history and self.history[0].appended_at < oldest:
            self.drop_first()
        return self.lost_up_to != mark or self.closed != closed

    def forget_closed(self) -> None:
        """Open the channel again, as a new one: what it had is gone."""
        while self.history:
            self.drop_first()
        if self.kept:
            self.lost_up_to = max(self.lost_up_to, next(reversed(self.kept.values())).sequence)
        self.kept, self.closed = _NO_VALUES, 0

    def merge(self, past: Past) -> None:
        """Add what a store had of the channel at one moment, which may be before the newest entry here."""
        ends = [entries[-1].sequence for entries in (past.entries, past.kept) if entries]
        moment = max(past.behind, past.lost_up_to, past.closed, *ends)
        if self.top <= moment and self.closed != past.closed:
            if self.closed:
                self.forget_closed()  # as the store has, where the channel begins anew
            self.closed, self.closed_at = past.closed, past.closed_at
        # Between these two numbers everything is here, though the store may have dropped some of it since.
        lost_up_to = min(past.lost_up_to, self.begins) if past.lost_up_to <= self.top else past.lost_up_to
        self.lost_up_to = max(self.lost_up_to, lost_up_to)
        self.begins = min(self.begins, past.behind)
        # Without the loss: a bus that tells of one up to its head names the next number, and that may come.
        self.top = max(self.top, past.behind, past.closed, *ends)
        self._merge_history(entry for entry in past.entries if entry.wire and entry.key is None)
        if past.kept or self.kept:
            values = {entry.key: entry for entry in past.kept if entry.key is not None}
            # What is not among them was replaced or forgotten, unless it came later.
            values.update((key, entry) for key, entry in self.kept.items() if entry.sequence > moment)
            self.kept = dict(sorted(values.items(), key=_sequence_of_value)) or _NO_VALUES

    def newer(self, after: int, head: int) -> list[Entry]:
        """Return the entries behind one number and up to another, the newest first."""
        found = _behind(reversed(self.history), after)
        if self.kept and (kept := _behind(reversed(self.kept.values()), after)):
            found = list(merge(found, kept, key=_negative))
        return found if self.top <= head else [entry for entry in found if entry.sequence <= head]

    def _merge_history(self, entries: Iterable[Entry]) -> None:
        known = {entry.sequence: self._scale.shared(entry) for entry in entries}
        if not known:
            return
        known.update((entry.sequence, entry) for entry in self.history)
        self.clear()
        for sequence in sorted(known):
            self.append(known[sequence])

    def _keep(self, key: str, entry: Entry) -> None:
        if not entry.wire:
            self.kept.pop(key, None)
            return
        if self.kept is _NO_VALUES:
            self.kept = {}
        else:
            self.kept.pop(key, None)  # so that the order is that of the numbers
        self.kept[key] = entry


def _behind(entries: Iterable[Entry], after: int) -> list[Entry]:
    found = []
    for entry in entries:
        if entry.sequence <= after:
            break
        found.append(entry)
    return found


def _negative(entry: Entry) -> int:
    return -entry.sequence


def _sequence_of_value(item: tuple[str, Entry]) -> int:
    return item[1].sequence
