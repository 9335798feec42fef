"""What one process has of a bus: its last entries, and those who read them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..bus.base import Bus, Report
from ..core.cursor import Cursor, Start
from ..core.entry import ENTRY_OVERHEAD_BYTES, Entry
from ..core.log import Log
from ..core.log_cache import Batch
from ..platform.backends import current_backend
from ..platform.locks import ReentrantLock
from ..platform.waiting import Wakeup
from .backpressure import Backpressure
from .fanout import Fanout

__all__ = ["MAX_LAG", "Hub", "LogOptions"]

MAX_LAG = 10_000
"""
By how many events this process may be behind another one, from which a client comes: no real position is
further.
"""

_LOOK_SECONDS = 0.005


class LogOptions(NamedTuple):
    """How much of the past a process keeps."""

    length: int
    """Events of each channel."""
    seconds: float
    """For how long."""
    max_bytes: int
    """Of all channels together."""


class Hub:
    """
    The log of one process, fed by a bus, and read by its streams. Thread-safe.

    It is the bus' one listener (:class:`flask_sse_push.bus.base.Listener`). What the bus hands over is posted
    to the lock of the log: a finalizer or a signal handler that publishes in the middle of a read leaves its
    entry to that.

    Args:
        bus (Bus): Where the entries come from. A shared one is followed from the first stream on.
        options (LogOptions): How much history this process keeps.
        report (Callable): Returns what the process says of itself to others.
    """

    def __init__(self, bus: Bus, options: LogOptions, report: Callable[[], Report]) -> None:
        self.report = report
        """Returns what this process says of itself; called by the bus."""
        self.log: Log | None = None
        """The entries; ``None`` until the bus has begun."""
        self._bus = bus
        self._options = options
        self._lock = ReentrantLock()
        burst = max(1, options.length // 2), options.max_bytes // 2
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

    def log_begun(self, epoch: str, position: int, entries: Sequence[Entry]) -> None:
        """Begin with another log; called by the bus."""
        length, seconds, max_bytes = self._options
        log = Log(epoch, length=length, seconds=seconds, max_bytes=max_bytes, head=position)
        for entry in entries:  # in no lock: there may be many, and nobody knows of this log yet
            log.append(entry)
        self._lock.post(self._replace, log)

    def entries_came(self, entries: Sequence[Entry]) -> None:
        """Add entries to the log; called by the bus, in their order."""
        for entry in entries:
            if self._bus.shared and not self._lock.is_busy:
                with self._lock:
                    self._append(entry)
            else:
                # The bus of this process is in the middle of a publish(), which a finalizer may have called,
                # and from which a signal handler may raise.
                self._lock.post(self._append, entry)
            if self._bus.shared and self.fanout.is_urgent:
                # The bus brings what was published elsewhere, perhaps faster than a publisher here is allowed
                # to.
                self.backpressure.hold(entry.channels, entry.sequence)

    def caught_up(self) -> None:
        """
        Wake those who began without a place in the log; called by the bus when everything stored has come.
        """
        self.fanout.notify_everybody()

    def place(self, last_event_id: str | None, seconds: float = 0.0) -> Start | None:
        """
        Return where a stream begins, see :meth:`Log.place`.

        Args:
            last_event_id (str | None): Where its client stopped; anything at all.
            seconds (float): How long to wait while a shared bus is read for the first time.

        Returns:
            Start | None: ``None`` while the bus is away: there is no log yet, or its end is not here.
        """
        bus = self._bus
        health = bus.health()
        if health.state == "idle" and bus.shared:
            bus.start(self)
            health = bus.health()
        if health.state == "starting" and seconds:
            end = time.monotonic() + seconds
            pause = current_backend().wakeup()
            while (health := bus.health()).state == "starting" and time.monotonic() < end:
                pause.wait(_LOOK_SECONDS)
        if health.state != "up":
            return None
        with self._lock:
            if self.log is None:
                return None
            self.log.expire(time.monotonic())
            return self.log.place(last_event_id, MAX_LAG if bus.shared else 0)

    def read(self, cursor: Cursor) -> Batch:
        """Return what comes after a cursor, and move it; see :meth:`Log.read`."""
        with self._lock:
            assert self.log is not None, "a cursor comes from a log"
            return self.log.read(cursor)

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
        if is_first:
            try:
                self.fanout.start()
            except RuntimeError:
                self.detach(channels, wakeup)
                raise

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
        if not self._lock.is_busy:
            with self._lock:
                if self.log is not None:
                    self.log.expire(time.monotonic())
        log, listeners = self.log, self.fanout.listeners.copy()
        return {
            "last_event_id": f"{log.epoch}-{log.head}" if log is not None else None,
            "channels": {channel: len(wakeups) for channel, wakeups in sorted(listeners.items())},
            "history": {
                "events": len(log) if log is not None else 0,
                "channels": log.channels if log is not None else 0,
                "bytes": log.size_bytes if log is not None else 0,
            },
        }

    def _replace(self, log: Log) -> None:
        self.log = log
        self.fanout.notify_everybody()

    def _append(self, entry: Entry) -> None:
        log, fanout = self.log, self.fanout
        assert log is not None, "a log begins before its entries"
        has_hole = entry.sequence != log.head + 1
        log.append(entry)
        urgent = fanout.add(entry.channels, len(entry.wire) + ENTRY_OVERHEAD_BYTES)
        if has_hole:
            fanout.notify_everybody()  # also who listens to none of this entry's channels has lost something
        elif fanout.listeners:
            fanout.notify(urgent)

    def _followed_to(self) -> int | None:
        bus, log = self._bus, self.log
        if log is None or (bus.shared and bus.health().state != "up"):
            return None
        return log.head
