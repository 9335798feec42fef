"""Who listens to which channel, and who wakes them when it has news."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from ..platform.backends import current_backend
from ..platform.locks import ReentrantLock
from ..platform.waiting import Backend, Wakeup

__all__ = ["MAX_PAUSE_SECONDS", "Fanout"]

MAX_PAUSE_SECONDS = 0.02
"""
The longest that news waits for the fan-out to rest: below what a person notices, and half of it on average.
"""

_GATHER_SECONDS = 0.002  # between two looks whether others still publish

logger = logging.getLogger("flask_sse_push")


class Fanout:
    """
    The listeners of one process, and one greenlet or thread that wakes them, alive while somebody listens.

    It gathers news as long as others publish in a loop. When news came while it woke everybody, which took a
    time T, it rests for T before it begins again. Both together take 20 ms at most. So a fan-out that keeps
    up adds no delay, and a busy one puts many events into each write: a write costs as much as a publish,
    however much it carries.

    Its owner's lock guards who comes and goes. Noting and waking need none: a channel is noted before it is
    looked for, and a listener that comes in between reads by itself.

    Args:
        lock (ReentrantLock): Its owner's.
        max_events (int): So many events of one channel that nobody was woken for make the fan-out urgent,
            unless :meth:`limit` says otherwise.
        max_bytes (int): So many bytes of all channels do.
    """

    def __init__(self, lock: ReentrantLock, max_events: int, max_bytes: int) -> None:
        self._max_events, self._max_bytes = max_events, max_bytes
        self._limits: dict[str, int] = {}  # of the channels with another limit, while somebody listens
        self._lock = lock
        self.listeners: dict[str, dict[Wakeup, None]] = {}
        """Who listens to each channel."""
        self.pending: dict[str, int] = {}
        """How many events of each channel nobody was woken for."""
        self.pending_bytes = 0
        """What all events since the last fan-out weigh: those that nobody hears push out the rest too."""
        self.current: dict[str, int] = {}
        """What :attr:`pending` was for those who are woken at this moment, and have not read yet."""
        self.current_bytes = 0
        """The same for :attr:`pending_bytes`."""
        self._everybody = False  # is to be woken, whatever the channel
        self._count = 0
        self._backend: Backend | None = None  # set while the greenlet or thread runs
        self._wakeup: Wakeup | None = None
        self._is_notified = False
        self.is_urgent = False
        """Whether the history fills up: the next fan-out does not rest before."""

    def attach(self, channels: tuple[str, ...], wakeup: Wakeup) -> bool:
        """
        Wake a listener from now on when one of the channels has news. With the lock.

        Returns:
            bool: Whether it is the first: then :meth:`start` is to follow.
        """
        for channel in channels:
            self.listeners.setdefault(channel, {})[wakeup] = None
        self._count += 1
        is_first = self._backend is None
        if is_first:
            self._backend = current_backend()
            self._wakeup = self._backend.wakeup()
        return is_first

    def detach(self, channels: tuple[str, ...], wakeup: Wakeup) -> None:
        """Undo :meth:`attach`. With the lock. With the last listener the greenlet or thread ends."""
        for channel in channels:
            listeners = self.listeners[channel]
            del listeners[wakeup]
            if not listeners:
                del self.listeners[channel]
                self.pending.pop(channel, None)
                self._limits.pop(channel, None)
        self._count -= 1
        if not self._count and self._wakeup is not None:
            self._wakeup.wake()

    def limit(self, channel: str, max_events: int) -> None:
        """Give a channel that somebody listens to a limit of its own. With the lock."""
        if max_events != self._max_events:
            self._limits[channel] = max_events

    def limit_of(self, channel: str) -> int:
        """Return how many events of a channel make the fan-out urgent."""
        return self._limits.get(channel, self._max_events)

    def start(self) -> None:
        """
        Run the greenlet or thread. In no lock.

        Raises:
            RuntimeError: No thread can be started. The next listener tries again.
        """
        assert self._backend is not None
        try:
            self._backend.spawn(self._run, "flask_sse_push.fanout")
        except RuntimeError:
            with self._lock:
                self._backend = self._wakeup = None
            raise
        self.notify()  # of what came while nobody listened

    def add(self, channels: Iterable[str], size: int) -> bool:
        """
        Note one event. Called by one thread at a time, maybe in a lock; :meth:`notify` is to follow.

        Args:
            channels (Iterable[str]): To which it was published.
            size (int): What it weighs, in bytes.

        Returns:
            bool: Whether a burst fills half of the history.
        """
        listeners, pending, limits, most = self.listeners, self.pending, self._limits, self._max_events
        self.pending_bytes += size
        urgent = False
        for channel in channels:
            if channel in listeners:
                pending[channel] = count = pending.get(channel, 0) + 1
                if count >= (limits.get(channel, most) if limits else most):
                    urgent = True
        return urgent or (self.pending_bytes >= self._max_bytes and bool(pending))

    def notify(self, urgent: bool = False) -> None:
        """
        Begin a fan-out soon. From any thread; never blocks.

        Args:
            urgent (bool): Do not rest before: the history is filling up.
        """
        if urgent and not self.is_urgent:
            self.is_urgent = True
        elif self._is_notified:
            return
        self._is_notified = True
        own = self._wakeup
        if own is not None:
            own.wake()

    def notify_everybody(self) -> None:
        """
        Begin a fan-out to all listeners soon: each may have lost something, or has waited for a log to read.
        """
        self._everybody = True
        self.notify(urgent=True)

    def give_way(self) -> bool:
        """
        Let the fan-out and the streams run. False when there are none, or the caller cannot make way for
        them.
        """
        backend = self._backend
        return backend is not None and backend.give_way()

    def _run(self) -> None:
        while True:
            try:
                return self._wake_listeners()
            except Exception:
                logger.exception("The fan-out failed and goes on.")
                self.current, self.current_bytes = {}, 0
                self._is_notified = True
                time.sleep(MAX_PAUSE_SECONDS)

    def _wake_listeners(self) -> None:
        backend, own = self._backend, self._wakeup
        assert backend is not None and own is not None
        wake_by: float | None = None
        while self._goes_on():
            if not self._is_notified:
                own.wait()
                wake_by = None
                continue
            if not backend.is_preemptive:
                self._gather(
                    backend, own, time.monotonic() + MAX_PAUSE_SECONDS if wake_by is None else wake_by
                )
            self._is_notified = self.is_urgent = False
            started = time.monotonic()
            for wakeup in backend.in_turns(self._take()):
                try:
                    wakeup.wake()
                except Exception:
                    logger.exception("A stream could not be woken; it reads at its next heartbeat.")
            self.current, self.current_bytes = {}, 0
            # In greenlets this returns when all who were woken have written, or wait for a socket.
            backend.give_way()
            if self._is_notified:
                now = time.monotonic()
                wake_by = now + MAX_PAUSE_SECONDS
                self._wait(own, min(now + now - started, wake_by))

    def _goes_on(self) -> bool:
        if self._count:
            return True
        with self._lock:
            if not self._count:
                self._backend = self._wakeup = None
            return bool(self._count)

    def _take(self) -> list[Wakeup]:
        """Return the listeners of all channels that have news, each once."""
        # One by one: another thread may add the same channel meanwhile, and must find it in here, or have it
        # looked at.
        pending = self.pending
        taken: dict[str, int] = {}
        self.current_bytes, self.pending_bytes = self.pending_bytes, 0
        self.current = taken
        while pending:
            channel, count = pending.popitem()
            taken[channel] = count
        if self._everybody:
            self._everybody = False
            return list(
                {wakeup: None for listeners in list(self.listeners.values()) for wakeup in list(listeners)}
            )
        if len(taken) == 1:
            return list(self.listeners.get(next(iter(taken)), ()))
        return list({wakeup: None for channel in taken for wakeup in list(self.listeners.get(channel, ()))})

    def _gather(self, backend: Backend, own: Wakeup, until: float) -> None:
        """Wait while each turn of the others brings more. (Threads have their turns whenever they like.)"""
        while not self.is_urgent and (now := time.monotonic()) < until:
            self._is_notified = False
            backend.give_way()
            if not self._is_notified:
                return
            self._wait(own, min(now + _GATHER_SECONDS, until))

    def _wait(self, own: Wakeup, until: float) -> None:
        """Wait, but not while the history fills up."""
        while not self.is_urgent and (left := until - time.monotonic()) > 0:
            own.wait(left)
