"""Snapshots of channels: made beside the streams, once for all that wait for the same one."""

from __future__ import annotations

import logging
import time
from typing import Protocol

from ..core.log import Log
from ..platform.backends import current_backend
from ..platform.locks import ReentrantLock
from ..platform.waiting import Backend, Wakeup
from .hub import Hub
from .subscription import SnapshotFailed

__all__ = ["MAX_RUNS", "SLOW_SECONDS", "Maker", "Snapshots"]

MAX_RUNS = 8
"""
How many runs of one function a process has at once: after a restart thousands of streams, each on its own
channel, must not be as many queries. A function that hangs holds back its own channels, and no other
function's.
"""

SLOW_SECONDS = 10.0
"""After this time a run is said to be slow: streams wait for it, and pages show nothing."""

_GATHER_SECONDS = 0.1  # while more and more streams ask: those of a fan-out come in turns

logger = logging.getLogger("flask_sse_push")


class Maker(Protocol):
    """Makes the snapshots of channels."""

    def find(self, channel: str) -> int | None:
        """Return the number of the function that counts for a channel; ``None`` where there is none."""

    def make(self, number: int, channel: str) -> bytes:
        """Return a snapshot, encoded and without ids. May wait and raise."""


class _Run:
    """One call of a function, for one channel."""

    __slots__ = ("began_at", "block", "channel", "head", "is_told", "log", "streams")

    def __init__(self, channel: str, log: Log | None, streams: dict[Wakeup, None]) -> None:
        self.channel = channel
        self.log = log
        self.head = 0 if log is None else log.head  # what was published up to here, the function sees
        self.began_at = time.monotonic()
        self.streams = streams
        self.block: bytes | None = None  # what was made; None when that failed
        self.is_told = False  # whether it was said that it is slow

    def fits(self, log: Log | None, position: int) -> bool:
        """Whether a stream that stands there may show it: the snapshot must not be older than the stream."""
        return self.log is log and position <= self.head

    def is_newly_slow(self) -> bool:
        """Whether it takes too long, and nobody was told."""
        is_told, self.is_told = self.is_told, time.monotonic() - self.began_at > SLOW_SECONDS
        return self.is_told and not is_told


class Snapshots:
    """
    Makes the snapshots of channels in greenlets or threads of its own. Thread-safe.

    A channel has one run at a time. A run notes where the log ends before it calls the function. Streams that
    stand no further on share its result, and the others wait for the next run, which begins when this one has
    ended. A result is kept for the streams that waited for it, until each has taken it, and for nobody else.

    Args:
        hub (Hub): Says where the log ends.
        maker (Maker): Calls the functions.
    """

    def __init__(self, hub: Hub, maker: Maker) -> None:
        self._hub, self._maker = hub, maker
        self._lock = ReentrantLock()
        self._waiting: dict[str, dict[Wakeup, None]] = {}  # who waits for a run of a channel to begin
        self._runs: dict[str, _Run] = {}  # of channels
        self._results: dict[Wakeup, dict[str, _Run]] = {}  # of channels, until their stream takes them all
        self._queues: dict[int, dict[str, None]] = {}  # what to run next, of functions that have workers
        self._workers: dict[int, int] = {}

    def covers(self, channels: tuple[str, ...]) -> bool:
        """Return whether a channel has a snapshot."""
        return any(self._maker.find(channel) is not None for channel in channels)

    def take(self, channels: tuple[str, ...], position: int, wakeup: Wakeup) -> bytes | None:
        """
        Return the snapshots of the channels that have one, or have them made; see :class:`SnapshotSource`.

        Raises:
            SnapshotFailed: One of them could not be made. That was logged.
        """
        log = self._hub.log
        asked = [(channel, self._maker.find(channel)) for channel in channels]
        taken: list[_Run] = []
        to_start: list[int] = []
        slow: list[str] = []
        is_whole = True
        with self._lock:
            results = self._results.get(wakeup, {})
            for channel, function in asked:
                if function is None:
                    continue
                run = results.get(channel)
                if run is not None and run.fits(log, position):
                    taken.append(run)
                    continue
                is_whole = False
                run = self._runs.get(channel)
                if run is not None and run.fits(log, position):
                    run.streams[wakeup] = None
                elif self._wait(channel, function, wakeup):
                    to_start.append(function)
                if run is not None and run.is_newly_slow():
                    slow.append(channel)
            has_failed = any(run.block is None for run in taken)
            if is_whole or has_failed:
                self._forget(channels, wakeup)
        self._warn(slow)
        for function in to_start:
            self._start(function)
        if has_failed:
            raise SnapshotFailed
        return b"".join(run.block or b"" for run in taken) if is_whole else None

    def leave(self, channels: tuple[str, ...], wakeup: Wakeup) -> None:
        """Forget a stream that does not wait any more. Never waits; once more is harmless."""
        self._lock.post(self._forget, channels, wakeup)

    def _forget(self, channels: tuple[str, ...], wakeup: Wakeup) -> None:
        self._results.pop(wakeup, None)
        for channel in channels:
            run = self._runs.get(channel)
            if run is not None:
                run.streams.pop(wakeup, None)
            waiting = self._waiting.get(channel)
            if waiting is not None:
                waiting.pop(wakeup, None)
                if not waiting:
                    del self._waiting[channel]
                    for queue in self._queues.values():
                        queue.pop(channel, None)

    def _wait(self, channel: str, function: int, wakeup: Wakeup) -> bool:
        """
        Let a stream wait for the next run of a channel, and say whether a worker is to be started for it.
        With the lock.
        """
        self._waiting.setdefault(channel, {})[wakeup] = None
        if channel in self._runs:
            return False  # whose worker runs it again
        queue, count = self._queues.setdefault(function, {}), self._workers.get(function, 0)
        is_new = channel not in queue
        queue[channel] = None
        if is_new and count < MAX_RUNS:
            self._workers[function] = count + 1
            return True
        return False

    def _warn(self, slow: list[str]) -> None:
        for channel in slow:
            logger.warning(
                "The snapshot of channel %r takes longer than %g seconds, and its streams wait for it. Give "
                "what the function waits for a time-out.",
                channel,
                SLOW_SECONDS,
            )

    def _start(self, function: int) -> None:
        try:
            current_backend().spawn(lambda: self._work(function), "flask_sse_push.snapshot")
        except RuntimeError:
            logger.exception("No thread can be started for a snapshot; its streams ask again.")
            with self._lock:
                self._let_go(function)

    def _work(self, function: int) -> None:
        backend = current_backend()
        while True:
            self._gather(function, backend)
            run = self._begin(function)
            if run is None:
                return
            try:
                run.block = self._maker.make(function, run.channel)
            except BaseException:  # a time-out of gevent's is no Exception
                logger.exception(
                    "The snapshot of channel %r failed; its streams end, and their clients come back.",
                    run.channel,
                )
            for wakeup in backend.in_turns(self._end(function, run)):
                try:
                    wakeup.wake()
                except Exception:
                    logger.exception("A stream could not be woken; it reads at its next heartbeat.")

    def _gather(self, function: int, backend: Backend) -> None:
        """Wait while more and more streams ask for the next run."""
        until, before = time.monotonic() + _GATHER_SECONDS, 0
        while (count := self._count_waiting(function)) > before and time.monotonic() < until:
            before = count
            backend.give_way()

    def _count_waiting(self, function: int) -> int:
        with self._lock:
            channel = next(iter(self._queues[function]), None)
            return 0 if channel is None else len(self._waiting[channel])

    def _begin(self, function: int) -> _Run | None:
        """Return the next run, or let the worker go."""
        with self._lock:
            queue = self._queues[function]
            if not queue:
                self._let_go(function)
                return None
            channel = next(iter(queue))
            del queue[channel]
            run = self._runs[channel] = _Run(channel, self._hub.log, self._waiting.pop(channel))
            return run

    def _end(self, function: int, run: _Run) -> list[Wakeup]:
        """Give a result to those who waited for it; return them."""
        with self._lock:
            del self._runs[run.channel]
            for wakeup in run.streams:
                self._results.setdefault(wakeup, {})[run.channel] = run
            if run.channel in self._waiting:
                self._queues[function][run.channel] = None  # this worker looks there next
            return list(run.streams)

    def _let_go(self, function: int) -> None:
        """Count a worker no longer. With the lock."""
        self._workers[function] -= 1
        if not self._workers[function]:
            del self._workers[function], self._queues[function]
