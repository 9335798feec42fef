"""A listener of a bus that keeps what comes in a real log, as the hub does, and writes down what was said."""

import threading

from flask_sse_push.core.channels import CONTROL_CHANNEL
from flask_sse_push.core.cursor import Cursor
from flask_sse_push.core.log import Log
from flask_sse_push.core.retention import ChannelRetention, RetentionRules

__all__ = ["LogListener"]

_RULES = RetentionRules(ChannelRetention(100_000, 86_400.0), 1 << 30)


class LogListener:
    """What a hub does with what comes, without streams of its own. Thread-safe."""

    def __init__(self, *, follows_all=False):
        self.log = None
        self.heard = set()
        """The channels that somebody listens to here."""
        self.is_wanted = True
        self.begun = []
        """The epoch and the head of each log that began."""
        self.said = []
        """``"begun"``, ``"past"`` and ``"up"``, in order."""
        self.came = []
        """What came behind the pasts, in order."""
        self.pasts = []
        self.left = []
        self.commands = []
        self._follows_all = follows_all
        self._lock = threading.RLock()

    def log_begun(self, epoch, head):
        with self._lock:
            self.said.append("begun")
            self.begun.append((epoch, head))
            self.log = Log(epoch, _RULES, head=head, follows_all=self._follows_all)

    def past_came(self, pasts):
        with self._lock:
            self.said.append("past")
            self.pasts += pasts
            for past in pasts:
                self.log.merge(past)
                if past.channel == CONTROL_CHANNEL:
                    self.commands += past.entries

    def entries_came(self, entries, head):
        with self._lock:
            assert head >= self.log.head, "a head never goes back"
            self.came += entries
            for entry in entries:
                self.log.append(entry, None if self._follows_all else head)
            self.log.advance(head)
            self.commands += [entry for entry in entries if CONTROL_CHANNEL in entry.channels]

    def channels_left(self, channels):
        with self._lock:
            self.left += channels
            self.log.leave(channels)

    def caught_up(self):
        self.said.append("up")

    def report(self):
        return {}

    def is_heard(self, channel):
        return channel in self.heard

    def is_ready(self, *channels, position=None):
        """Whether a stream of these channels can begin at the end of the log, or behind a number."""
        with self._lock:
            log = self.log
            return log is not None and log.is_ready(channels, log.head if position is None else position)

    def cursor(self, *channels, position=None):
        """A stream of these channels, at the end of the log or behind a number."""
        with self._lock:
            self.heard.update(channels)
            return Cursor(channels, self.log.head if position is None else position, self.log.epoch)

    def read(self, cursor):
        """Return the numbers that a stream gets now, and what it was told of a loss; None if it must wait."""
        numbers, lost = [], []
        with self._lock:
            while (batch := self.log.read(cursor)) is not None:
                numbers += [
                    int(line.rpartition(b"-")[2])
                    for line in batch.wire.split(b"\n")
                    if line.startswith(b"id: ")
                ]
                lost += batch.lost
                if not batch.has_more:
                    return numbers, lost
        return None

    def kept(self, *channels):
        """Return the values that a new stream of these channels gets, as bytes."""
        with self._lock:
            return self.log.kept(channels, self.log.head)

    def closed_behind(self, *channels):
        """Return the number behind which all of the channels are closed, or None."""
        with self._lock:
            return self.log.closed_behind(channels)
