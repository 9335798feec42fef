"""The connections that a process publishes by."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from ...errors import BusUnavailable
from ...platform.fork import close_with, keep_from_children
from .connection import Connection, are_sockets_patched

__all__ = ["MAX_CONNECTIONS", "Pool"]

MAX_CONNECTIONS = 16
"""How many are in use at once; more publishes wait, and their waiting counts."""

# Routers and load balancers forget a silent connection after a few minutes, and tell nobody.
_MAX_IDLE_SECONDS = 60.0


class Pool:
    """
    Lends connections, one to each caller. Thread-safe.

    It has no lock: at any place in here a finalizer or a signal handler may publish, and a signal handler may
    raise. Each step is one operation of a deque, which other threads see done or not done.

    Args:
        open (Callable): Returns a new connection by a moment on the monotonic clock.
    """

    def __init__(self, open: Callable[[float], Connection]) -> None:
        self._open = open
        self._places = deque(range(MAX_CONNECTIONS))
        self._waiting: deque[threading.Lock] = deque()
        self._idle: deque[tuple[Connection, float]] = deque()  # and when each was used last
        self._closed = False
        close_with(self, partial(_close_all, self._idle))

    @contextlib.contextmanager
    def connection(self, until: float) -> Iterator[Connection]:
        """
        Lend a connection until the block ends. The pool keeps it if no exception comes out of the block.

        Args:
            until (float): The deadline for getting it and for what is done with it, on the monotonic clock.

        Raises:
            BusUnavailable: All are in use for too long, or the caller is a callback of an event loop.
            redis.RedisError: None can be opened.
        """
        can_keep = _can_keep()
        place = self._take_place(until)
        try:
            connection = (self._take_idle(until) if can_keep else None) or self._open_own(until)
            try:
                yield connection
            except BaseException:
                connection.close()  # an answer may still come, and would be taken for the next one's
                raise
            if can_keep and not self._closed:
                self._idle.append((connection, time.monotonic()))
            else:
                connection.close()
        finally:
            self._places.append(place)
            if self._waiting:
                self._wake_next()

    def _open_own(self, until: float) -> Connection:
        connection = self._open(until)
        # A child's copies of greenlets that wait for an answer would take it, and the parent get none.
        keep_from_children(connection)
        return connection

    def close_idle(self) -> None:
        """Close what is not in use."""
        _close_all(self._idle)

    def close(self) -> None:
        """Close what is not in use, and the others when they come back."""
        self._closed = True
        self.close_idle()

    def _take_idle(self, until: float) -> Connection | None:
        while self._idle:
            try:
                connection, used_at = self._idle.pop()
            except IndexError:
                break  # another thread was faster
            if time.monotonic() - used_at < _MAX_IDLE_SECONDS and not connection.is_stale():
                connection.set_deadline(until)
                return connection
            connection.close()
        return None

    def _take_place(self, until: float) -> int:
        """Return a place once one is free. Wakes the next caller if more are free by then."""
        try:
            while True:
                try:
                    return self._places.pop()
                except IndexError:
                    self._wait(until)
        finally:
            if self._waiting and self._places:
                self._wake_next()

    def _wait(self, until: float) -> None:
        # A plain lock for each caller that waits. Events and semaphores have a lock inside, which a signal
        # handler could find held by its own thread.
        wakeup = threading.Lock()
        wakeup.acquire()
        self._waiting.append(wakeup)
        try:
            # Looked at once more: a place may have become free just before the wakeup was there to be found.
            if not self._places and not wakeup.acquire(timeout=max(0.0, until - time.monotonic())):
                raise BusUnavailable(
                    f"The event was not stored: {MAX_CONNECTIONS} other publishes of this process wait for "
                    "Redis. See how it is, or publish less at once."
                )
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(wakeup)

    def _wake_next(self) -> None:
        with contextlib.suppress(IndexError):
            self._waiting.popleft().release()


def _close_all(connections: deque[tuple[Connection, float]]) -> None:
    with contextlib.suppress(IndexError):
        while True:
            connections.pop()[0].close()


def _can_keep() -> bool:
    """
    Say whether a connection that is opened here can serve other callers later.

    Raises:
        BusUnavailable: Nothing can wait here.
    """
    if not are_sockets_patched():
        return True
    import gevent

    hub = gevent.get_hub()
    if gevent.getcurrent() is hub:
        raise BusUnavailable(
            "The event was not stored: gevent's loop itself cannot wait for Redis. "
            "Publish from a greenlet: gevent.spawn(publish, ...)."
        )
    # A patched socket belongs to the loop of its thread, and each native thread has a loop of its own.
    return bool(hub.main_hub)
