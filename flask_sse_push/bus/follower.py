"""What a shared bus has in each process that listens: one greenlet or thread that brings the entries, and goes on after any fault."""

from __future__ import annotations

import atexit
import logging
import os
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from ..core.log import Entry
from ..core.values import printable
from ..errors import ConfigurationError
from ..platform.backends import current_backend
from ..platform.backoff import backoff
from ..platform.locks import short_lock, when_free
from ..platform.threads import THREADS
from ..platform.waiting import Wakeup
from .base import REPORT_SECONDS, Bus, Health, Report

__all__ = ["LINGER_SECONDS", "MAX_READ_SECONDS", "Follower", "LogChanged", "Reader", "Tail"]

LINGER_SECONDS = 30.0
"""How long it goes on when nobody listens: a page that is left for the next one closes its stream and opens another."""

MAX_READ_SECONDS = 1.0
"""The longest that one read waits: so often it looks whether it is to stop, and whether the log is still the same."""

_SHORTEST_RETRY_SECONDS = (
    0.5  # where publishing works and following does not, each publish says that the store is there
)
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
    """One connection to the store. Its methods raise what :class:`Follower` was told are faults, and it is closed then."""

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
    """One thread's life: a follower that has ended can be started again while its thread still cleans up."""

    def __init__(self, before: _Run | None) -> None:
        self.before = before
        self.stopping = self.ended = False
        self.wakeup: Wakeup | None = None
        self.reader: Reader | None = None
        self._pid = os.getpid()

    def stop(self) -> None:
        if self._pid != os.getpid():
            return  # a fork inherits what is to be done at the end of its parent, and not the thread
        self.stopping = True
        wakeup, reader = self.wakeup, self.reader
        if wakeup is not None:
            wakeup.wake()
        if reader is not None:
            reader.wake()
        give_up_at = time.monotonic() + MAX_READ_SECONDS + 0.5
        while not self.ended and time.monotonic() < give_up_at:
            time.sleep(_LOOK_SECONDS)


class Follower:
    """
    Reads on from its place after whatever happened, and says so once when the store goes and once when it is back.

    Args:
        bus (Bus): Whose signals are sent.
        where (str): Where it is, for people, without passwords.
        open (Callable): Returns a new reader, or raises a fault.
        faults (tuple): What may be raised when the store cannot be used.
    """

    def __init__(
        self, bus: Bus, where: str, open: Callable[[], Reader], faults: tuple[type[Exception], ...]
    ) -> None:
        self._bus, self._where = bus, where
        self._open, self._faults = open, faults
        self._lock = short_lock()
        self._run_now: _Run | None = None
        self._health = Health("idle", time.monotonic())
        self._report: Callable[[], Report] = dict
        self._wanted: Callable[[], bool] = _never
        self._idle_since: float | None = None
        self._epoch = ""
        self._position = 0

    def health(self) -> Health:
        """Return how it goes."""
        return self._health

    def start(self, report: Callable[[], Report], wanted: Callable[[], bool]) -> None:
        """
        Run, unless it runs already; see :meth:`Bus.start`.

        Raises:
            RuntimeError: No thread can be started.
        """
        with when_free(self._lock):
            self._report, self._wanted, self._idle_since = report, wanted, None
            before = self._run_now
            if before is not None and not before.stopping:
                return
            run = self._run_now = _Run(before)
            self._health = Health("starting", time.monotonic())
        atexit.register(run.stop)
        try:
            # A thread is a greenlet where gevent has patched; where it has not, a read would stop a loop that it ran in.
            THREADS.spawn(lambda: self._run(run), "flask_sse_push.follower")
        except RuntimeError:
            self._end(run)
            raise

    def stop(self) -> None:
        """Ask it to end. Waits a moment, so that what it has in the store is taken back by then."""
        run = self._run_now
        if run is not None:
            run.stop()

    def retry_soon(self) -> None:
        """End the pause when the store was away: it has just taken an event. From any thread; costs nothing while it is there."""
        if self._health.state != "down":
            return
        run = self._run_now
        wakeup = run.wakeup if run is not None else None
        if wakeup is not None:
            wakeup.wake()

    def _run(self, run: _Run) -> None:
        pauses = backoff()
        run.wakeup = wakeup = current_backend().wakeup()
        try:
            while run.before is not None and not run.before.ended:
                wakeup.wait(_LOOK_SECONDS)  # it was stopped and still reads: two would bring everything twice
            run.before = None
            while not self._is_over(run):
                tried_at = time.monotonic()
                try:
                    run.reader = reader = self._open()
                    try:
                        self._follow(run, reader)
                        return
                    finally:
                        run.reader = None
                        reader.close()
                except ConfigurationError as error:
                    self._set_refused(error)
                except self._faults as error:
                    if self._set_down(error):
                        pauses = backoff()
                except Exception as error:
                    logger.exception("Following the bus %s stumbled; it is tried again.", self._bus.name)
                    self._set_down(error)
                if not run.stopping and wakeup.wait(next(pauses)):
                    _wait_until(run, wakeup, tried_at + _SHORTEST_RETRY_SECONDS)
        finally:
            self._end(run)

    def _is_over(self, run: _Run) -> bool:
        """Say whether this run is to end: it was asked to, or nobody has listened for long."""
        wanted = self._wanted()
        with when_free(self._lock):
            if self._run_now is not run:
                return True  # also where listeners came since: they have another run
            now = time.monotonic()
            if wanted:
                self._idle_since = None
            elif self._idle_since is None:
                self._idle_since = now
            if run.stopping or (self._idle_since is not None and now - self._idle_since > LINGER_SECONDS):
                # Decided under the lock: who starts it a moment later gets a new run, and not one that is about to end.
                self._forget(run)
                return True
            return False

    def _end(self, run: _Run) -> None:
        atexit.unregister(run.stop)
        with when_free(self._lock):
            self._forget(run)
        run.ended = True

    def _forget(self, run: _Run) -> None:
        if self._run_now is run:
            self._run_now = None
            self._health = Health("idle", time.monotonic())

    def _follow(self, run: _Run, reader: Reader) -> None:
        """Read until it is to stop. Raises a fault when there is one."""
        if reader.epoch() == self._epoch:
            self._catch_up(reader)
        else:
            self._begin(reader)
        self._set_up()
        next_report = 0.0
        while not self._is_over(run):
            now = time.monotonic()
            if now >= next_report:
                next_report = now + REPORT_SECONDS
                reader.report(self._report())
            try:
                self._hand_on(reader.read(self._epoch, self._position, MAX_READ_SECONDS))
            except LogChanged:
                self._begin(reader)
        try:
            reader.withdraw()
        except self._faults as error:
            # It runs out by itself. How the bus is, only a run says that goes on: another may have begun by now.
            logger.debug("A report could not be taken back: %s", error)

    def _catch_up(self, reader: Reader) -> None:
        try:
            while entries := reader.read(self._epoch, self._position, 0):
                self._hand_on(entries)
        except LogChanged:
            self._begin(reader)

    def _begin(self, reader: Reader) -> None:
        tail = reader.tail()
        self._bus.log_begun.send(self._bus, epoch=tail.epoch, position=tail.position, entries=tail.entries)
        self._epoch = tail.epoch
        self._position = tail.entries[-1].sequence if tail.entries else tail.position

    def _hand_on(self, entries: list[Entry]) -> None:
        for entry in entries:
            # Before it is handed on: were it the other way round, a fault between the two would bring it twice.
            self._position = entry.sequence
            self._bus.entry_numbered.send(self._bus, entry=entry)

    def _set_up(self) -> None:
        was, self._health = self._health, Health("up", time.monotonic())
        if was.state == "down":
            logger.warning(
                "The bus %s at %s is back after %.1f s.",
                self._bus.name,
                self._where,
                time.monotonic() - was.since,
            )
        self._bus.caught_up.send(self._bus)

    def _set_down(self, error: Exception) -> bool:
        """Say it once. True when it was up until now."""
        was = self._health
        text = printable(f"{type(error).__name__}: {error}")  # the store may be anybody's
        self._health = Health("down", was.since if was.state == "down" else time.monotonic(), text)
        if was.state != "down":
            logger.warning(
                "The bus %s at %s is away (%s). Streams stay open, and read on when it is back.",
                self._bus.name,
                self._where,
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
    while not run.stopping and (left := end - time.monotonic()) > 0:
        wakeup.wait(left)


def _never() -> bool:
    return False
