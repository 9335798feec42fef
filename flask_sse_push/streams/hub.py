"""What one process has of a bus: the channels that somebody reads here, and those who read them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ..bus.base import Bus, Report
from ..core.channels import CONTROL_CHANNEL
from ..core.cursor import Cursor, Start
from ..core.entry import ENTRY_OVERHEAD_BYTES, Entry
from ..core.log import Log
from ..core.log_cache import Batch
from ..core.past import Past
from ..core.positions import parse
from ..core.retention import RetentionRules
from ..platform.backends import current_backend
from ..platform.locks import ReentrantLock
from ..platform.waiting import Wakeup
from .backpressure import Backpressure
from .fanout import Fanout

__all__ = ["MAX_LAG", "Hub"]

MAX_LAG = 10_000
"""
By how many events this process may be behind another one, from which a client comes: no real position is
further.
"""

_LOOK_SECONDS = 0.005


class Hub:
    """
    The channels of one process, fed by a bus, and read by its streams. Thread-safe.

    It is the bus' one listener (:class:`flask_sse_push.bus.base.Listener`). What a bus of this process alone
    hands over is posted to the lock of the log: a finalizer or a signal handler that publishes in the middle
    of a read leaves its entry to that.

    Args:
        bus (Bus): Where the entries come from. A shared one is followed from the first stream on.
        rules (RetentionRules): How much history this process keeps.
        report (Callable): Returns what the process says of itself to others.
    """

    def __init__(self, bus: Bus, rules: RetentionRules, report: Callable[[], Report]) -> None:
        self.report = report
        """Returns what this process says of itself; called by the bus."""
        self.log: Log | None = None
        """The entries; ``None`` until the bus has begun."""
        self.entries_read = 0
        """How many entries the bus has brought to this process."""
        self.on_command: Callable[[Entry | None], None] | None = None
        """
        Called with each entry of the control channel, once and in the order of the log; and with ``None``
        when some may have been missed. It is called with the lock of the log, so it must not wait.
        """
        self._bus = bus
        self._rules = rules
        self._lock = ReentrantLock()
        self._arrivals: dict[Wakeup, None] = {}  # who waits for channels to be here
        self._ahead: dict[str, None] = {}  # channels that have something beyond the head of the log
        self._commanded = 0  # the number of the last command that was handed on
        burst = max(1, rules.default.length // 2), rules.max_bytes // 2
        self.fanout = Fanout(self._lock, *burst)
        """Who listens."""
        self.backpressure = Backpressure(self.fanout, *burst, self._followed_to)
        """Asked by publishers when their event is stored."""
        if not bus.shared:
            bus.start(self)  # nobody else keeps what is published before the first stream

    @property
    def is_wanted(self) -> bool:
        """Whether anybody listens here; asked by the bus."""
        return bool(self.fanout.listeners)

    def is_heard(self, channel: str) -> bool:
        """Whether anybody listens to a channel here; asked by the bus."""
        return channel in self.fanout.listeners

    def log_begun(self, epoch: str, head: int) -> None:
        """Begin with another log; called by the bus."""
        self._lock.post(self._replace, Log(epoch, self._rules, head=head, follows_all=not self._bus.shared))

    def past_came(self, pasts: Sequence[Past]) -> None:
        """Add channels, or what is behind them; called by the bus."""
        with self._lock:
            log = self.log
            assert log is not None, "a log begins before its channels"
            for past in pasts:
                log.merge(past)
                if log.newest(past.channel) > log.head:
                    self._ahead[past.channel] = None
                self.fanout.add((past.channel,), 0)
                if past.channel == CONTROL_CHANNEL:
                    self._command(past.entries, has_loss=past.lost_up_to > self._commanded)
        if self.fanout.pending:
            self.fanout.notify()
        self._wake_arrivals()

    def entries_came(self, entries: Sequence[Entry], head: int) -> None:
        """Add entries to the log; called by the bus, in their order."""
        if not self._bus.shared:
            # The bus of this process is in the middle of a publish(), which a finalizer may have called, and
            # from which a signal handler may raise.
            for entry in entries:
                self._lock.post(self._append, entry)
            return
        self.entries_read += len(entries)
        for entry in entries:
            with self._lock:
                # The head follows at each entry: what comes before it is here, and streams may read on.
                self._append(entry, head)
            if self.fanout.is_urgent:
                # The bus brings what was published elsewhere, perhaps faster than a publisher here is allowed
                # to.
                self.backpressure.hold(entry.channels, entry.sequence)
        with self._lock:
            self._advance(head)
        if self._arrivals:
            self._wake_arrivals()

    def channels_left(self, channels: Sequence[str]) -> None:
        """Drop channels; called by the bus."""
        with self._lock:
            if self.log is not None:
                self.log.leave(channels)

    def caught_up(self) -> None:
        """
        Wake those who began without a place in the log; called by the bus when everything stored has come.
        """
        self.fanout.notify_everybody()
        self._wake_arrivals()

    def place(
        self, channels: tuple[str, ...], last_event_id: str | None, rewind: int = 0, seconds: float = 0.0
    ) -> Start | None:
        """
        Return where a stream begins, see :meth:`Log.place`.

        Args:
            channels (tuple[str, ...]): What it reads.
            last_event_id (str | None): Where its client stopped; anything at all.
            rewind (int): How many of the newest events a new client gets first.
            seconds (float): How long to wait until a shared bus has brought the channels.

        Returns:
            Start | None: ``None`` while the bus is away, or has not brought them.
        """
        bus = self._bus
        if bus.shared and not self._prepare(channels, last_event_id, rewind, seconds):
            return None
        with self._lock:
            log = self.log
            if log is None:
                return None
            log.expire(channels, time.monotonic())
            return log.place(channels, last_event_id, rewind=rewind, lag=MAX_LAG if bus.shared else 0)

    def read(self, cursor: Cursor) -> Batch | None:
        """
        Return what comes after a cursor, and move it; see :meth:`Log.read`. ``None`` where a channel is not
        here: it is asked for, and listeners are woken when it has come.
        """
        with self._lock:
            assert self.log is not None, "a cursor comes from a log"
            batch = self.log.read(cursor)
        if batch is None:
            self._bus.follow(cursor.channels, whole=True)
        return batch

    def kept(self, channels: tuple[str, ...], position: int) -> bytes | None:
        """
        Return the values that a new stream gets first; see :meth:`Log.kept`. ``None`` where a channel is not
        here: it is asked for, and listeners are woken when it has come.
        """
        with self._lock:
            assert self.log is not None, "a stream has a place in a log"
            values = self.log.kept(channels, position)
        if values is None:
            self._bus.follow(channels, whole=False)
        return values

    def is_finished(self, channels: tuple[str, ...], epoch: str, position: int) -> bool:
        """Say whether all channels are closed and a stream has everything up to there."""
        log = self.log
        if log is None or not log.has_closed or log.epoch != epoch:
            return False
        last = log.closed_behind(channels)
        return last is not None and position >= last

    def attach(self, channels: tuple[str, ...], wakeup: Wakeup) -> None:
        """
        Wake a listener from now on when one of the channels has news.

        Raises:
            RuntimeError: No thread can be started; nothing is held then.
        """
        # First: the bus may have ended since the request came, and where it cannot start, nothing is held.
        if self._bus.shared:
            self._bus.start(self)
        with self._lock:
            is_first = self.fanout.attach(channels, wakeup)
            if self._rules.patterns:
                for channel in channels:
                    self.fanout.limit(channel, max(1, self._rules.of(channel).length // 2))
        if is_first:
            try:
                self.fanout.start()
            except RuntimeError:
                self.detach(channels, wakeup)
                raise
        # Last: the bus leaves no channel that is heard when it is asked to follow it.
        self._bus.follow(channels, whole=False)

    def detach(self, channels: tuple[str, ...], wakeup: Wakeup) -> None:
        """Undo :meth:`attach`."""
        with self._lock:
            self.fanout.detach(channels, wakeup)

    def stats(self) -> dict[str, Any]:
        """
        Return what can be counted, JSON-able.

        Also in a signal handler, whose own stack may be in the middle of the log: what it counts then is late
        by one.
        """
        log, listeners = self.log, self.fanout.listeners.copy()
        counts = {"events": 0, "channels": 0, "kept": 0, "bytes": 0}
        if log is not None:
            if not self._lock.is_busy:
                with self._lock:
                    log.sweep(time.monotonic())
                    counts = log.count()
            else:
                counts = log.count()
        return {
            "last_event_id": f"{log.epoch}-{log.head}" if log is not None else None,
            "channels": {channel: len(wakeups) for channel, wakeups in sorted(listeners.items())},
            "history": counts,
            "entries_read": self.entries_read,
        }

    def _prepare(
        self, channels: tuple[str, ...], last_event_id: str | None, rewind: int, seconds: float
    ) -> bool:
        """Have a shared bus bring what a stream needs, and say whether it is here."""
        bus, after = self._bus, 0
        if bus.health().state == "idle":
            bus.start(self)
        id = parse(last_event_id) if last_event_id else None
        wakeup: Wakeup | None = None
        until = time.monotonic() + seconds
        try:
            while True:
                log, (state, since, _, is_refused) = self.log, bus.health()
                if id is not None:
                    after = id.sequence if log is None or id.epoch == log.epoch else 1 << 62
                elif not rewind or last_event_id:
                    after = 1 << 62
                with self._lock:
                    is_ready = log is not None and log is self.log and log.is_ready(channels, after)
                if is_ready and state == "up":
                    return True
                bus.follow(channels, whole=after < (log.head if log is not None else 1))
                # A connection that breaks is often replaced in milliseconds. A bus that is away is not waited
                # for.
                left = (min(until, since + seconds) if state == "down" else until) - time.monotonic()
                if left <= 0 or is_refused:
                    return False
                if wakeup is None:
                    wakeup = current_backend().wakeup()
                    self._arrivals[wakeup] = None
                    continue  # it may have come just before it was waited for
                wakeup.wait(left if state == "up" else min(left, _LOOK_SECONDS))
        finally:
            if wakeup is not None:
                del self._arrivals[wakeup]

    def _wake_arrivals(self) -> None:
        for wakeup in self._arrivals.copy():
            wakeup.wake()

    def _command(self, entries: Sequence[Entry], *, has_loss: bool) -> None:
        """Hand on commands that were not handed on before, behind the news that some are missing."""
        if self.on_command is None:
            return
        if has_loss:
            self.on_command(None)
        for entry in entries:
            if entry.sequence > self._commanded:
                self._commanded = entry.sequence
                self.on_command(entry)

    def _replace(self, log: Log) -> None:
        self.log = log
        self._ahead.clear()
        self._commanded = 0
        self.fanout.notify_everybody()
        self._command((), has_loss=True)

    def _append(self, entry: Entry, proven: int | None = None) -> None:
        log, fanout = self.log, self.fanout
        assert log is not None, "a log begins before its entries"
        has_hole = proven is None and entry.sequence != log.head + 1
        log.append(entry, proven)
        urgent = fanout.add(entry.channels, len(entry.wire) + ENTRY_OVERHEAD_BYTES)
        if has_hole:
            fanout.notify_everybody()  # also who listens to none of this entry's channels has lost something
            self._command((), has_loss=True)
        elif fanout.listeners:
            fanout.notify(urgent)
        if proven is not None and entry.sequence > proven:
            self._ahead.update(dict.fromkeys(entry.channels))
        if self.on_command is not None and entry.channels[0] == CONTROL_CHANNEL:
            self._command((entry,), has_loss=False)

    def _advance(self, head: int) -> None:
        """Move the head, and wake who waits for what was beyond it."""
        log = self.log
        assert log is not None, "a log begins before its entries"
        log.advance(head)
        if self._ahead:
            ahead = self._ahead
            self._ahead = {channel: None for channel in ahead if log.newest(channel) > head}
            self.fanout.add(ahead, 0)
            self.fanout.notify()

    def _followed_to(self) -> int | None:
        bus, log = self._bus, self.log
        if log is None or (bus.shared and bus.health().state != "up"):
            return None
        return log.head
