"""The life of what follows a shared bus: one greenlet or thread, which starts, stumbles, and ends."""

from __future__ import annotations

import atexit
import logging
import os
import time
from abc import ABC, abstractmethod

from ..core.values import printable
from ..errors import ConfigurationError
from ..platform.backends import current_backend
from ..platform.backoff import backoff
from ..platform.locks import ReentrantLock
from ..platform.threads import THREADS
from ..platform.waiting import Wakeup
from .base import Health, Listener
from .store import MAX_READ_SECONDS, BrokenLog, Reader

__all__ = ["LINGER_SECONDS", "FollowedBus", "FollowerRun"]

LINGER_SECONDS = 30.0
"""
How long a bus is followed when nobody listens: who goes to the next page closes a stream and opens another.
"""

# Each publish ends the pause before the next try, also where publishing works and following does not.
_SHORTEST_RETRY_SECONDS = 0.5
_LOOK_SECONDS = 0.005

logger = logging.getLogger("flask_sse_push")


class FollowerRun:
    """One life of the follower: it can be started again while the run before still cleans up."""

    def __init__(self, before: FollowerRun | None) -> None:
        self.before = before
        self.is_stopping = self.has_ended = False
        self.wakeup: Wakeup | None = None
        self.reader: Reader | None = None
        """What reads now; ``None`` between two tries."""
        self._pid = os.getpid()

    def stop(self) -> None:
        """Ask the follower to end, and wait a moment for that, so that its report is removed by then."""
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
    Opens readers of a store, one after the other, and says how that goes. Thread-safe.

    After any fault it opens another reader. It logs once that the store is away, with what the first failed
    try to read it again says, and once that it is back.

    Args:
        address (str): Where the store is, for people, without passwords.
    """

    name: str
    shared = True
    faults: tuple[type[Exception], ...]
    """What a reader raises when the store cannot be used."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = ReentrantLock()
        self._run_now: FollowerRun | None = None
        self._health = Health("idle", time.monotonic())
        self._is_told = False  # that the store is away; until it was read again, also by a later run
        self._away_since = 0.0
        self._listener: Listener | None = None
        self._idle_since: float | None = None

    @abstractmethod
    def _follow(self, run: FollowerRun, listener: Listener, reader: Reader) -> None:
        """Read until the run is over, or raise a fault. Call :meth:`_set_up` once everything is read."""

    @abstractmethod
    def _open_reader(self) -> Reader:
        """Return a new reader, or raise a fault."""

    @abstractmethod
    def _cure_of(self, error: Exception) -> str:
        """Return what a person can do about a fault: a sentence with a space in front, or nothing."""

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
            run = self._run_now = FollowerRun(before)
            self._health = Health("starting", time.monotonic())
        atexit.register(run.stop)
        try:
            # A real thread where gevent has not patched threading: a read in a greenlet would stop the whole
            # loop there.
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
        """End the pause between two tries. From any thread."""
        run = self._run_now
        wakeup = run.wakeup if run is not None else None
        if wakeup is not None:
            wakeup.wake()

    def _follow_to_the_end(self, run: FollowerRun, listener: Listener) -> None:
        pauses = backoff()
        run.wakeup = wakeup = current_backend().wakeup()
        try:
            while run.before is not None and not run.before.has_ended:
                wakeup.wait(_LOOK_SECONDS)  # it still reads: two readers would bring everything twice
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
                except Exception as error:
                    is_fault = isinstance(error, (BrokenLog, *self.faults))
                    if not is_fault:
                        logger.exception("Following the bus %s stumbled; it is tried again.", self.name)
                    if self._set_down(error) and is_fault:
                        pauses = backoff()
                if not run.is_stopping and wakeup.wait(next(pauses)):
                    _wait_until(run, wakeup, tried_at + _SHORTEST_RETRY_SECONDS)
        finally:
            self._end(run)

    def _is_over(self, run: FollowerRun, listener: Listener) -> bool:
        """Say whether this run is to end: it was asked to, or nobody has listened for a while."""
        if self._run_now is not run:
            return True  # listeners that came since have another run
        if not run.is_stopping:
            if listener.is_wanted:
                self._idle_since = None
                return False
            if self._idle_since is None:
                self._idle_since = time.monotonic()
        with self._lock:
            # Under the lock, so that a start() a moment later makes a new run, and does not count on this
            # one.
            idle_since = self._idle_since
            if not run.is_stopping and (
                idle_since is None or time.monotonic() - idle_since <= LINGER_SECONDS
            ):
                return False
            self._forget(run)
            return True

    def _end(self, run: FollowerRun) -> None:
        atexit.unregister(run.stop)
        with self._lock:
            self._forget(run)
        run.has_ended = True

    def _forget(self, run: FollowerRun) -> None:
        if self._run_now is run:
            self._run_now = None
            self._health = Health("idle", time.monotonic())

    def _set_up(self) -> None:
        now = time.monotonic()
        was, self._health = self._health, Health("up", now)
        if self._is_told:
            self._is_told = False
            logger.warning(
                "The bus %s at %s is back after %.1f s.", self.name, self._address, now - self._away_since
            )
        elif was.state == "down" and not was.is_refused:
            logger.warning(
                "The bus %s at %s was away for %.1f s (%s). Streams read on.",
                self.name,
                self._address,
                now - was.since,
                was.error,
            )

    def _set_down(self, error: Exception) -> bool:
        """
        Note that the store is away, and log it once. Return whether it was up until now.

        What ends a connection seldom says why there is no other one ("deleted or replaced" of a file that
        this user may not open any more), so the log waits for the first try that fails.
        """
        was, now = self._health, time.monotonic()
        text = printable(f"{type(error).__name__}: {error}")  # the store may be anybody's
        since = was.since if was.state == "down" else now
        self._health = Health("down", since, text)
        if was.state != "up" and not self._is_told:
            self._is_told, self._away_since = True, since
            logger.warning(
                "The bus %s at %s is away (%s).%s Streams stay open, and read on when it is back.",
                self.name,
                self._address,
                text,
                self._cure_of(error),
            )
        return was.state == "up"

    def _set_refused(self, error: ConfigurationError) -> None:
        """Log that this app may not use the bus, once; as an error, because it does not pass by itself."""
        was = self._health
        self._health = Health(
            "down", was.since if was.state == "down" else time.monotonic(), str(error), is_refused=True
        )
        if not was.is_refused:
            logger.error("Streams are refused: %s", error)


def _wait_until(run: FollowerRun, wakeup: Wakeup, end: float) -> None:
    """Wait until a moment, however often the wakeup rings, unless the run is to stop."""
    while not run.is_stopping and (left := end - time.monotonic()) > 0:
        wakeup.wait(left)
