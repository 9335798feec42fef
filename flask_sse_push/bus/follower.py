"""How the entries of a shared bus come into a process: one greenlet or thread reads them, and goes on after any fault."""

from __future__ import annotations

import atexit
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..core.entry import Entry
from ..core.values import printable
from ..errors import ConfigurationError
from ..platform.backends import current_backend
from ..platform.backoff import backoff
from ..platform.locks import ReentrantLock
from ..platform.threads import THREADS
from ..platform.waiting import Wakeup
from .base import REPORT_SECONDS, Health, Listener, Report

__all__ = ["LINGER_SECONDS", "MAX_READ_SECONDS", "FollowedBus", "LogChanged", "Reader", "Tail"]

LINGER_SECONDS = 30.0
"""How long it goes on when nobody listens: a page that is left for the next one closes its stream and opens another."""

MAX_READ_SECONDS = 1.0
"""The longest that one read waits: so often it looks whether it is to stop, and whether the log is still the same."""

# Where publishing works and following does not, each publish ends a pause.
_SHORTEST_RETRY_SECONDS = 0.5
_LOOK_SECONDS = 0.005

logger = logging.getLogger("flask_sse_push")


class Tail(NamedTuple):
    """All that a bus keeps, when a process begins to follow it."""

    epoch: str
    """The life of the log."""
    position: int
    """The number before the first entry."""
    entries: list[Entry]
    """Everything after it, in order."""


class LogChanged(Exception):
    """The log that was followed is gone, and another is in its place. Raised by :meth:`Reader.read`."""


class Reader(Protocol):
    """
    One connection to the store.

    Its methods raise the faults of its bus (:attr:`FollowedBus.faults`) when the store cannot be used. It is
    closed then, and another one is opened.
    """

    def epoch(self) -> str:
        """Return the life of the log that is there now, after beginning one where there was none."""

    def tail(self) -> Tail:
        """Return everything that is kept."""

    def read(self, epoch: str, position: int, seconds: float) -> list[Entry]:
        """
        Return some entries behind a position, in order.

        Args:
            epoch (str): The life of the log that is followed.
            position (int): The number of the last entry that was read.
            seconds (float): How long to wait when there is none, up to :data:`MAX_READ_SECONDS`; 0 not at all.

        Raises:
            LogChanged: The log there is another one.
        """

    def wake(self) -> None:
        """Let a read that waits return soon. From any thread; never raises."""

    def report(self, report: Report) -> None:
        """Store what this process says of itself for :data:`base.LEASE_SECONDS`."""

    def withdraw(self) -> None:
        """Take the report back: this process stops to follow."""

    def close(self) -> None:
        """Let go of everything. Never raises."""


class _Run:
    """One life of the follower: it can be started again while the run before still cleans up."""

    def __init__(self, before: _Run | None) -> None:
        self.before = before
        self.is_stopping = self.has_ended = False
        self.wakeup: Wakeup | None = None
        self.reader: Reader | None = None
        self._pid = os.getpid()

    def stop(self) -> None:
        """Ask it to end, and wait a moment for that: by then its report is taken back."""
        if self._pid != os.getpid():
            return  # a forked child inherits its parent's atexit functions, and not the thread
        self.is_stopping = True
        wakeup, reader = self.wakeup, self.reader
        if wakeup is not None:
            wakeup.wake()
        if reader is not None:
            reader.wake()
        give_up_at = time.monotonic() + MAX_READ_SECONDS + 0.5
        while not self.has_ended and time.monotonic() < give_up_at:
            time.sleep(_LOOK_SECONDS)


class FollowedBus(ABC):
    """
    The half of a shared bus that follows its store. Thread-safe.

    It reads on from its place after whatever happened, and logs once when the store goes and once when it is
    back.

    Args:
        address (str): Where the store is, for people, without passwords.
    """

    name: str
    shared = True
    faults: tuple[type[Exception], ...]
    """What is raised when the store cannot be used."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = ReentrantLock()
        self._run_now: _Run | None = None
        self._health = Health("idle", time.monotonic())
        self._listener: Listener | None = None
        self._idle_since: float | None = None
        self._epoch = ""
        self._position = 0

    @abstractmethod
    def _open_reader(self) -> Reader:
        """Return a new reader, or raise a fault."""

    def health(self) -> Health:
        """Return how following goes; see :meth:`Bus.health`."""
        return self._health

    def start(self, listener: Listener) -> None:
        """
        Follow, unless it is followed already; see :meth:`Bus.start`.

        Raises:
            RuntimeError: No thread can be started.
        """
        run = self._run_now
        if run is not None and self._idle_since is None and not run.is_stopping:
            return  # without the lock: a run that somebody wanted until now goes on for LINGER_SECONDS
        with self._lock:
            self._listener, self._idle_since = listener, None
            before = self._run_now
            if before is not None and not before.is_stopping:
                return
            run = self._run_now = _Run(before)
            self._health = Health("starting", time.monotonic())
        atexit.register(run.stop)
        try:
            # A thread is a greenlet where gevent has patched; where it has not, a read would stop a loop that it ran in.
            THREADS.spawn(lambda: self._follow_to_the_end(run, listener), "flask_sse_push.follower")
        except RuntimeError:
            self._end(run)
            raise

    def _stop_following(self) -> None:
        """Ask the follower to end, and wait a moment for that."""
        run = self._run_now
        if run is not None:
            run.stop()

    def _retry_soon(self) -> None:
        """End the pause between two tries: the store was away, and has just taken an event. From any thread."""
        run = self._run_now
        wakeup = run.wakeup if run is not None else None
        if wakeup is not None:
            wakeup.wake()

    def _follow_to_the_end(self, run: _Run, listener: Listener) -> None:
        pauses = backoff()
        run.wakeup = wakeup = current_backend().wakeup()
        try:
            while run.before is not None and not run.before.has_ended:
                wakeup.wait(_LOOK_SECONDS)  # it was stopped and still reads: two would bring everything twice
            run.before = None
            while not self._is_over(run, listener):
                tried_at = time.monotonic()
                try:
                    run.reader = reader = self._open_reader()
                    try:
                        self._follow(run, listener, reader)
                        return
                    finally:
                        run.reader = None
                        reader.close()
                except ConfigurationError as error:
                    self._set_refused(error)
                except self.faults as error:
                    if self._set_down(error):
                        pauses = backoff()
                except Exception as error:
                    logger.exception("Following the bus %s stumbled; it is tried again.", self.name)
                    self._set_down(error)
                if not run.is_stopping and wakeup.wait(next(pauses)):
                    _wait_until(run, wakeup, tried_at + _SHORTEST_RETRY_SECONDS)
        finally:
            self._end(run)

    def _is_over(self, run: _Run, listener: Listener) -> bool:
        """Say whether this run is to end: it was asked to, or nobody has listened for long."""
        if self._run_now is not run:
            return True  # also where listeners came since: they have another run
        if not run.is_stopping:
            if listener.is_wanted:
                self._idle_since = None
                return False
            if self._idle_since is None:
                self._idle_since = time.monotonic()
        with self._lock:
            # Decided under the lock: who starts it a moment later gets a new run, and not one that is about to end.
            idle_since = self._idle_since
            if not run.is_stopping and (
                idle_since is None or time.monotonic() - idle_since <= LINGER_SECONDS
            ):
                return False
            self._forget(run)
            return True

    def _end(self, run: _Run) -> None:
        atexit.unregister(run.stop)
        with self._lock:
            self._forget(run)
        run.has_ended = True

    def _forget(self, run: _Run) -> None:
        if self._run_now is run:
            self._run_now = None
            self._health = Health("idle", time.monotonic())

    def _follow(self, run: _Run, listener: Listener, reader: Reader) -> None:
        """Read until it is to stop. Raises a fault when there is one."""
        if reader.epoch() == self._epoch:
            self._catch_up(listener, reader)
        else:
            self._begin(listener, reader)
        self._set_up()
        listener.caught_up()
        next_report = 0.0
        while not self._is_over(run, listener):
            now = time.monotonic()
            if now >= next_report:
                next_report = now + REPORT_SECONDS
                reader.report(listener.report())
            try:
                entries = reader.read(self._epoch, self._position, MAX_READ_SECONDS)
            except LogChanged:
                self._begin(listener, reader)
            else:
                if entries:
                    self._hand_on(listener, entries)
        try:
            reader.withdraw()
        except self.faults as error:
            # It runs out by itself. How the bus is, only a run says that goes on: another may have begun by now.
            logger.debug("A report could not be taken back: %s", error)

    def _catch_up(self, listener: Listener, reader: Reader) -> None:
        try:
            while entries := reader.read(self._epoch, self._position, 0):
                self._hand_on(listener, entries)
        except LogChanged:
            self._begin(listener, reader)

    def _begin(self, listener: Listener, reader: Reader) -> None:
        tail = reader.tail()
        listener.log_begun(tail.epoch, tail.position, tail.entries)
        self._epoch = tail.epoch
        self._position = tail.entries[-1].sequence if tail.entries else tail.position

    def _hand_on(self, listener: Listener, entries: Sequence[Entry]) -> None:
        # The place first: were it the other way round, a fault between the two would bring the entries twice.
        self._position = entries[-1].sequence
        listener.entries_came(entries)

    def _set_up(self) -> None:
        was, self._health = self._health, Health("up", time.monotonic())
        if was.state == "down":
            logger.warning(
                "The bus %s at %s is back after %.1f s.",
                self.name,
                self._address,
                time.monotonic() - was.since,
            )

    def _set_down(self, error: Exception) -> bool:
        """Say it once. True when it was up until now."""
        was = self._health
        text = printable(f"{type(error).__name__}: {error}")  # the store may be anybody's
        self._health = Health("down", was.since if was.state == "down" else time.monotonic(), text)
        if was.state != "down":
            logger.warning(
                "The bus %s at %s is away (%s). Streams stay open, and read on when it is back.",
                self.name,
                self._address,
                text,
            )
        return was.state == "up"

    def _set_refused(self, error: ConfigurationError) -> None:
        """Say it once, and louder: it does not pass by itself."""
        was = self._health
        self._health = Health(
            "down", was.since if was.state == "down" else time.monotonic(), str(error), is_refused=True
        )
        if not was.is_refused:
            logger.error("Streams are refused: %s", error)


def _wait_until(run: _Run, wakeup: Wakeup, end: float) -> None:
    """Wait until a moment, however often the wakeup rings, unless the run is to stop."""
    while not run.is_stopping and (left := end - time.monotonic()) > 0:
        wakeup.wait(left)
