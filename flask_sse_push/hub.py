"""The log behind a lock, and the bells of those who read it."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from .bus import Bus
from .concurrency import Bell, short_lock
from .core import resume
from .core.log import NOTHING, Batch, Cursor, Entry, Log
from .fanout import Fanout
from .settings import Settings

__all__ = ["Hub"]

MAX_TURN_SECONDS = 0.1
"""How long a burst waits for streams that were woken and have not run yet: on a busy machine a thread may need some of it."""


class Hub:
    """
    What one process knows of one bus: its last entries, and who waits for more. Thread-safe.

    Under the lock nothing waits, switches, logs or calls foreign code. What was numbered lands in a box that needs no lock,
    and whoever looks at the log next empties it: so a finalizer or a signal handler can publish at any moment.
    """

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self.bus = bus
        """Where the entries come from."""
        self._log = Log(
            bus.epoch,
            length=settings.history_length,
            seconds=settings.history_seconds,
            max_bytes=settings.history_bytes,
            head=bus.head,
        )
        self._lock = short_lock()
        self._inbox: deque[Entry] = deque()
        self._bells: dict[str, dict[Bell, None]] = {}
        self._unannounced: dict[str, int] = {}
        # A burst longer than the history would push out what nobody had a chance to read yet.
        self._burst = max(1, settings.history_length // 2)
        self._fanout = Fanout(self._take_bells)
        # The only receiver there ever is. Strong: a weak one would be gone with the next garbage collection.
        bus.entry_numbered.connect(self._append, sender=bus, weak=False)

    def start(self, last_event_id: str | None) -> resume.Start:
        """Return where a stream begins; see :func:`core.resume.start`."""
        with self._lock:
            self._settle()
            self._log.expire(time.monotonic())
            return resume.start(self._log, last_event_id)

    def read(self, cursor: Cursor) -> Batch:
        """Return what comes after a cursor, and move it; see :meth:`Log.read`."""
        # Without the lock: one number and one length. An entry that comes in between rings the bell, and is read then.
        if cursor.position >= self._log.head and not self._inbox:
            return NOTHING
        with self._lock:
            self._settle()
            return self._log.read(cursor)

    def attach(self, channels: tuple[str, ...], bell: Bell) -> None:
        """Ring ``bell`` from now on when something was published to one of the channels."""
        self._fanout.join()  # first: where no thread can be started, nothing is held
        with self._lock:
            for channel in channels:
                self._bells.setdefault(channel, {})[bell] = None

    def detach(self, channels: tuple[str, ...], bell: Bell) -> None:
        """Undo :meth:`attach`."""
        with self._lock:
            for channel in channels:
                bells = self._bells[channel]
                del bells[bell]
                if not bells:
                    del self._bells[channel]
                    self._unannounced.pop(channel, None)
        self._fanout.leave()

    def position(self, sequence: int) -> str:
        """Return a number in this log as clients see it."""
        return f"{self.bus.epoch}-{sequence}"

    def let_streams_read(self, channels: tuple[str, ...]) -> None:
        """
        Give the streams a turn when a burst fills half the history; called after publishing, in no lock.

        It waits for those alone that could read and have not come to it, a tenth of a second at most: never for a client.
        """
        if not self._burst_in(channels):
            return
        end = time.monotonic() + MAX_TURN_SECONDS
        while time.monotonic() < end:
            if not self._fanout.give_turn():
                return
            # Without the lock, which this thread may hold further up: list() of a dict is one step of the interpreter's.
            bells = [bell for channel in channels for bell in list(self._bells.get(channel, ()))]
            if not self._burst_in(channels) and not any(bell.unanswered for bell in bells):
                return

    def _burst_in(self, channels: tuple[str, ...]) -> bool:
        unannounced = self._unannounced  # without the lock: counts that are late by one change nothing
        return bool(unannounced) and any(unannounced.get(channel, 0) >= self._burst for channel in channels)

    def stats(self) -> dict[str, Any]:
        """Return what can be counted, JSON-able."""
        with self._lock:
            self._settle()
            self._log.expire(time.monotonic())
            return {
                "last_event_id": self.position(self._log.head),
                "channels": {channel: len(bells) for channel, bells in sorted(self._bells.items())},
                "history": {"events": len(self._log), "channels": self._log.channels, "bytes": self._log.size_bytes},
            }

    def _append(self, bus: Bus, entry: Entry) -> None:
        self._inbox.append(entry)
        urgent = False
        # Whoever holds the lock may be this very thread, further up: who comes next empties the box. (Asked first and then taken, not taken
        # by acquire(blocking=False): an exception out of a signal handler could come just behind that, and the lock would stay locked.)
        if not self._lock.locked():
            with self._lock:
                urgent = self._settle()
        # After releasing the lock: a woken stream reads at once, and would only wait for us.
        if self._bells:
            self._fanout.announce(urgent)

    def _settle(self) -> bool:
        """Move what was numbered into the log; with the lock. True when a burst fills half of a history."""
        urgent = False
        while self._inbox:
            entry = self._inbox.popleft()
            self._log.append(entry)
            for channel in entry.channels:
                if channel in self._bells:
                    self._unannounced[channel] = pending = self._unannounced.get(channel, 0) + 1
                    urgent = urgent or pending >= self._burst
        return urgent

    def _take_bells(self) -> list[Bell]:
        """Return the bells of all channels that have news, each once."""
        with self._lock:
            self._settle()
            channels, self._unannounced = self._unannounced, {}
            if len(channels) == 1:
                return list(self._bells.get(next(iter(channels)), ()))
            return list({bell: None for channel in channels for bell in self._bells.get(channel, ())})
