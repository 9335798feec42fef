"""The log behind a lock, and the bells of those who read it."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ..bus.base import Bus, Report
from ..core import resume
from ..core.log import ENTRY_OVERHEAD_BYTES, NOTHING, Batch, Cursor, Entry, Log
from ..extension.settings import Settings
from ..platform.backends import current_backend
from ..platform.locks import short_lock, when_free
from ..platform.waiting import Wakeup
from .fanout import Fanout

__all__ = ["Hub"]

MAX_TURN_SECONDS = 0.1
"""How long a burst waits for streams that were woken and have not run yet: on a busy machine a thread may need some of it."""

MAX_LAG = 10_000
"""By how many events this process may be behind another one, from which a client comes: further ahead no real position is."""

_LOOK_SECONDS = 0.005

_NOTHING: dict[str, int] = {}


class Hub:
    """
    What one process knows of one bus: its last entries, and who waits for more. Thread-safe.

    Under the lock nothing waits, switches, logs or calls foreign code. What was numbered lands in a box that needs no lock,
    and whoever looks at the log next empties it: so a finalizer or a signal handler can publish at any moment.

    Args:
        bus (Bus): Where the entries come from. A shared one is followed from the first stream on.
        settings (Settings): How much history this process keeps.
        report (Callable): Returns what the process says of itself to others.
    """

    def __init__(self, bus: Bus, settings: Settings, report: Callable[[], Report]) -> None:
        self._bus = bus
        self._settings = settings
        self._report = report
        self._log: Log | None = None
        self._lock = short_lock()
        self._inbox: deque[Entry | Log] = deque()
        self._bells: dict[str, dict[Wakeup, None]] = {}
        self._unannounced: dict[str, int] = {}
        self._announcing: dict[
            str, int
        ] = {}  # what the ringer is at, which streams at its end have not read yet
        self._ring_all = False
        # A burst longer than the history would push out what nobody had a chance to read yet.
        self._burst = max(1, settings.history_length // 2)
        self._burst_bytes = settings.history_bytes // 2
        self._unannounced_bytes = 0  # of all channels: what nobody listens to pushes out the rest too
        self._announcing_bytes = 0
        self._fanout = Fanout(self._take_bells)
        if not bus.shared:
            self._follow()  # nobody else keeps what is published before the first stream

    def wait_until_ready(self, seconds: float) -> None:
        """
        Begin to follow the bus where that is not done yet, and wait for what it keeps.

        Not when the bus is away: then streams begin without a place in the log.

        Args:
            seconds (float): How long to wait at most.
        """
        if not self._bus.shared:
            return
        self._follow()
        if self._bus.health().state != "starting":
            return
        end = time.monotonic() + seconds
        wakeup = current_backend().wakeup()
        while self._bus.health().state == "starting" and time.monotonic() < end:
            wakeup.wait(_LOOK_SECONDS)

    def start(self, last_event_id: str | None) -> resume.Start | None:
        """Return where a stream begins, see :func:`core.resume.start`; ``None`` while the log is not here, or its end is not."""
        if self._bus.health().state != "up":
            return None
        with when_free(self._lock):
            self._settle()
            if self._log is None:
                return None
            self._log.expire(time.monotonic())
            return resume.start(self._log, last_event_id, MAX_LAG if self._bus.shared else 0)

    def read(self, cursor: Cursor) -> Batch:
        """Return what comes after a cursor, and move it; see :meth:`Log.read`."""
        log = self._log
        assert log is not None, "a cursor comes from a log"
        # Both without the lock, which was a tenth of a delivery. An entry that comes in between rings the wakeup, and is read then.
        batch = log.read_shared(cursor)
        if batch is not None:
            return batch
        if cursor.position >= log.head and not self._inbox and cursor.epoch == log.epoch:
            return NOTHING
        with when_free(self._lock):
            if self._inbox:
                self._settle()
            return self._log.read(cursor)  # type: ignore[union-attr]

    def attach(self, channels: tuple[str, ...], wakeup: Wakeup) -> None:
        """Ring ``wakeup`` from now on when something was published to one of the channels."""
        # First: where no thread can be started, nothing is held. (The follower may have ended since the request came.)
        if self._bus.shared:
            self._follow()
        self._fanout.join()
        with when_free(self._lock):
            for channel in channels:
                self._bells.setdefault(channel, {})[wakeup] = None

    def detach(self, channels: tuple[str, ...], wakeup: Wakeup) -> None:
        """Undo :meth:`attach`."""
        with when_free(self._lock):
            for channel in channels:
                bells = self._bells[channel]
                del bells[wakeup]
                if not bells:
                    del self._bells[channel]
                    self._unannounced.pop(channel, None)
        self._fanout.leave()

    def let_streams_read(self, channels: tuple[str, ...], sequence: int, until: float = math.inf) -> None:
        """
        Give the streams a turn when a burst fills half the history; called after publishing, in no lock.

        It waits for those alone that could read and have not come to it, a tenth of a second at most: never for a client.

        Args:
            channels (tuple[str, ...]): To which something was published.
            sequence (int): Its number: the follower has to bring it here first.
            until (float): When the time of the publish is over, on the monotonic clock.
        """
        if not self._burst_in(channels, sequence):
            return
        end = min(time.monotonic() + MAX_TURN_SECONDS, until)
        while time.monotonic() < end:
            if not self._fanout.give_turn():
                return
            # Without the lock, which this thread may hold further up: list() of a dict is one step of the interpreter's.
            bells = [wakeup for channel in channels for wakeup in list(self._bells.get(channel, ()))]
            if not self._burst_in(channels, sequence) and not any(wakeup.is_pending for wakeup in bells):
                return

    def _burst_in(self, channels: tuple[str, ...], sequence: int) -> bool:
        unannounced = self._unannounced  # without the lock: counts that are late by one change nothing
        if unannounced:
            announcing, announcing_bytes = (
                (self._announcing, self._announcing_bytes) if self._fanout.is_ringing else (_NOTHING, 0)
            )
            if self._unannounced_bytes + announcing_bytes >= self._burst_bytes:
                return True
            for channel in channels:
                if unannounced.get(channel, 0) + announcing.get(channel, 0) >= self._burst:
                    return True
        if not self._bus.shared:
            return False
        log = self._log
        if not self._bells or log is None or sequence - log.head < self._burst:
            return False
        return self._bus.health().state == "up"  # else there is nobody to wait for

    def stats(self) -> dict[str, Any]:
        """Return what can be counted, JSON-able. Also in a signal handler, whose own stack may hold the lock: what it counts then is late by one."""
        if not self._lock.locked():
            with self._lock:
                self._settle()
                if self._log is not None:
                    self._log.expire(time.monotonic())
        log = self._log
        return {
            "last_event_id": f"{log.epoch}-{log.head}" if log is not None else None,
            "channels": {channel: len(bells) for channel, bells in sorted(self._bells.copy().items())},
            "history": {
                "events": len(log) if log is not None else 0,
                "channels": log.channels if log is not None else 0,
                "bytes": log.size_bytes if log is not None else 0,
            },
        }

    def _follow(self) -> None:
        self._bus.start(self)

    def report(self) -> Report:
        """See :meth:`Listener.report`."""
        return self._report()

    @property
    def is_wanted(self) -> bool:
        """See :attr:`Listener.is_wanted`."""
        return bool(self._bells)

    def log_begun(self, epoch: str, position: int, entries: Sequence[Entry]) -> None:
        """See :meth:`Listener.log_begun`."""
        settings = self._settings
        log = Log(
            epoch,
            length=settings.history_length,
            seconds=settings.history_seconds,
            max_bytes=settings.history_bytes,
            head=position,
        )
        for entry in entries:  # in no lock: there may be many, and nobody knows of this log yet
            log.append(entry)
        self._inbox.append(log)
        self._settle_unless_locked()
        if self._bells:
            self._fanout.announce(urgent=True)

    def entries_came(self, entries: Sequence[Entry]) -> None:
        """See :meth:`Listener.entries_came`."""
        for entry in entries:
            self._append(entry)

    def _append(self, entry: Entry) -> None:
        self._inbox.append(entry)
        urgent = self._settle_unless_locked()
        # After releasing the lock: a woken stream reads at once, and would only wait for us.
        if self._bells:
            self._fanout.announce(urgent)
        if urgent and self._bus.shared:
            # The follower brings what was published elsewhere, perhaps faster than a publisher here is allowed to.
            self.let_streams_read(entry.channels, entry.sequence)

    def caught_up(self) -> None:
        """Ring those who began without a place: now there is one."""
        if self._bells:
            self._ring_all = True
            self._fanout.announce(urgent=False)

    def _settle_unless_locked(self) -> bool:
        # Whoever holds the lock may be this very thread, further up: who comes next empties the box. (Asked first and then taken, not taken
        # by acquire(blocking=False): an exception out of a signal handler could come just behind that, and the lock would stay locked.)
        if self._lock.locked():
            self._fanout.announce(
                urgent=False
            )  # who holds it may be the first to listen, whom nobody sees yet
            return False
        with self._lock:
            return self._settle()

    def _settle(self) -> bool:
        """Move what was numbered into the log; with the lock. True when a burst fills half of a history."""
        urgent = False
        inbox, bells, unannounced, log = self._inbox, self._bells, self._unannounced, self._log
        while inbox:
            entry = inbox.popleft()
            if isinstance(entry, Log):
                self._log = log = entry
                self._ring_all = True  # everybody has lost something, or has waited for a log to read
                continue
            assert log is not None, "a log begins before its entries"
            if entry.sequence != log.head + 1:
                self._ring_all = True  # everybody has lost something here, also who listens to none of this entry's channels
            log.append(entry)
            self._unannounced_bytes += len(entry.wire) + ENTRY_OVERHEAD_BYTES
            for channel in entry.channels:
                if channel in bells:
                    unannounced[channel] = pending = unannounced.get(channel, 0) + 1
                    if pending >= self._burst:
                        urgent = True
        return urgent or (self._unannounced_bytes >= self._burst_bytes and bool(unannounced))

    def _take_bells(self) -> list[Wakeup]:
        """Return the bells of all channels that have news, each once."""
        with when_free(self._lock):
            self._settle()
            channels, self._unannounced = self._unannounced, {}
            self._announcing_bytes, self._unannounced_bytes = self._unannounced_bytes, 0
            if self._ring_all:
                self._ring_all = False
                channels = dict.fromkeys(self._bells, 0)
            self._announcing = channels
            if len(channels) == 1:
                return list(self._bells.get(next(iter(channels)), ()))
            return list({wakeup: None for channel in channels for wakeup in self._bells.get(channel, ())})
