"""All channels of a log: what is too large over all of them goes, the oldest first, and what is too old."""

from __future__ import annotations

import math
from collections.abc import Iterable
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count

from .channel_log import ChannelLog, Scale
from .retention import RetentionRules
from .watermarks import Watermarks

__all__ = ["ChannelLogs"]

_SWEEP_SECONDS = 10.0  # between two looks at all channels for what is too old
_SWEPT_AT_ONCE = 200  # channels: a publisher waits for them, a tenth of a millisecond


class ChannelLogs(dict[str, ChannelLog]):
    """
    The channels of a :class:`Log` by their names, whose lock guards them.

    Args:
        rules (RetentionRules): How much is kept of each channel, and of all.
        follows_all (bool): Whether each entry of the bus comes here. Then a channel that holds nothing is
            forgotten, but for its watermark.
        floor (int): Up to this number nothing is known of any channel.
    """

    def __init__(self, rules: RetentionRules, *, follows_all: bool, floor: int) -> None:
        super().__init__()
        self.scale = Scale()
        """Weighs the histories."""
        self.sweep_at = -math.inf
        """When it is time to look for what is too old, on the clock of ``Entry.appended_at``."""
        self._rules = rules
        self._follows_all = follows_all
        self._watermarks = Watermarks(floor)  # of channels that are not in here, where all are followed
        # Channels with a history, each by the number of its first entry, or of one that it has dropped since.
        # An item whose number is not ``listed`` of its channel is none any more.
        self._oldest: list[tuple[int, int, ChannelLog]] = []
        self._serials = count()  # so that no two channels are compared
        self._unswept: list[ChannelLog] = []

    def begin(self, name: str, behind: int, lost_up_to: int) -> ChannelLog:
        """Begin a channel of which nothing is known up to a number."""
        log = self[name] = ChannelLog(name, self._rules.of(name), self.scale, behind, lost_up_to)
        return log

    def begin_again(self, name: str) -> ChannelLog:
        """Begin a channel that holds nothing yet, or no more, where all are followed."""
        return self.begin(name, 0, self._watermarks.pop(name, self._watermarks.floor))

    def watermark(self, name: str) -> int:
        """Return the number up to which entries of a channel may be gone; 0 when it has lost none."""
        log = self.get(name)
        return self._watermarks.get(name, self._watermarks.floor) if log is None else log.lost_up_to

    def enlist(self, log: ChannelLog) -> None:
        """Note where the history of a channel begins: it was empty, or begins earlier now."""
        log.listed = log.history[0].sequence
        heappush(self._oldest, (log.listed, next(self._serials), log))
        self._compact()

    def leave(self, names: Iterable[str]) -> None:
        """Drop channels that are not followed any more."""
        for name in names:
            log = self.pop(name, None)
            if log is not None:
                log.clear()
                log.listed = 0
        self._compact()

    def drop_oldest(self, newest: int) -> None:
        """Drop the oldest entries of all until the rest is small enough, but not the newest one."""
        oldest = self._oldest
        while self.scale.size_bytes > self._rules.max_bytes and oldest:
            sequence, serial, log = oldest[0]
            if log.listed != sequence:
                heappop(oldest)
            elif not log.history:
                heappop(oldest)
                log.listed = 0
            elif (first := log.history[0].sequence) != sequence:
                log.listed = first
                heapreplace(oldest, (first, serial, log))
            elif first >= newest:
                return
            else:
                log.drop_first()
                if not log.history:
                    self._end(log)

    def sweep(self, now: float) -> bool:
        """
        Look at some channels for what is too old, if it is time; the next call looks at others.

        Returns:
            bool: Whether something was dropped.
        """
        if now < self.sweep_at:
            return False
        if not self._unswept:
            self._unswept = list(self.values())
        has_dropped = False
        for log in self._unswept[-_SWEPT_AT_ONCE:]:
            if self.get(log.name) is log:
                has_dropped |= log.expire(now)
                self._end(log)
        del self._unswept[-_SWEPT_AT_ONCE:]
        if not self._unswept:
            self.sweep_at = now + _SWEEP_SECONDS
            self._compact()
        return has_dropped

    def sweep_all(self, now: float) -> bool:
        """Look at all channels now; see :meth:`sweep`."""
        self._unswept.clear()
        self.sweep_at = -math.inf
        has_dropped = self.sweep(now)
        while self._unswept:
            has_dropped |= self.sweep(now)
        return has_dropped

    def skip_to(self, sequence: int) -> None:
        """Begin anew behind missing entries, whose channels nobody knows; what is kept by a key stays."""
        self._oldest.clear()
        self.scale.clear()
        self._watermarks = Watermarks(floor=sequence)  # no channel has a mark below it
        for log in list(self.values()):
            log.history.clear()
            log.listed, log.lost_up_to = 0, max(log.lost_up_to, sequence)
            self._end(log)

    def _end(self, log: ChannelLog) -> None:
        """Forget a channel that holds nothing, where all are followed."""
        if self._follows_all and not (log.history or log.kept or log.closed):
            del self[log.name]
            log.listed = 0
            if log.lost_up_to != self._watermarks.floor:
                self._watermarks.keep(log.name, log.lost_up_to)

    def _compact(self) -> None:
        """Remove the items of the heap that are none any more, when they are many."""
        if len(self._oldest) > 2 * len(self) + 64:
            self._oldest = [item for item in self._oldest if item[0] == item[2].listed]
            heapify(self._oldest)
