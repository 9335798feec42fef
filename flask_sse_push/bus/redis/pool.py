"""The connections that a process publishes by."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from ...errors import BusUnavailable
from .link import Link

__all__ = ["MAX_CONNECTIONS", "Pool"]

MAX_CONNECTIONS = 16
"""How many are in use at once; more publishes wait, and their waiting counts."""

_MAX_IDLE_SECONDS = (
    60.0  # routers and balancers forget a silent connection after a few minutes, and tell nobody
)


class Pool:
    """
    Lends links, one to each caller. Thread-safe without a lock: a finalizer or a signal handler may come in at any place.

    Args:
        open (Callable): Returns a new link by a moment on the monotonic clock.
    """

    def __init__(self, open: Callable[[float], Link]) -> None:
        self._open = open
        self._places = deque(range(MAX_CONNECTIONS))
        self._waiting: deque[threading.Lock] = deque()
        self._idle: deque[Link] = deque()
        self._closed = False

    @contextlib.contextmanager
    def link(self, until: float) -> Iterator[Link]:
        """
        Lend a link, until the block ends. It is kept if no exception comes out of the block.

        Raises:
            BusUnavailable: All are in use for too long, or the caller is an event loop's own callback.
        """
        keep = _may_keep()
        place = self._take(until)
        try:
            link = self._find(keep=keep) or self._open(until)
            try:
                yield link
            except BaseException:
                link.close()  # an answer may still come, and would be taken for the next one's
                raise
            if keep and not self._closed:
                self._idle.append(link)
            else:
                link.close()
        finally:
            self._places.append(place)
            self._wake()

    def forget(self) -> None:
        """Close what is not in use: the server is not the right one any more."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()

    def close(self) -> None:
        """Close what is not in use, and the others when they come back."""
        self._closed = True
        self.forget()

    def _find(self, *, keep: bool) -> Link | None:
        while keep:
            try:
                link = self._idle.pop()
            except IndexError:
                break
            if time.monotonic() - link.used_at < _MAX_IDLE_SECONDS and not link.is_stale():
                return link
            link.close()
        return None

    def _take(self, until: float) -> int:
        while True:
            try:
                return self._places.pop()
            except IndexError:
                pass
            # A bare lock per waiter: a semaphore has one inside that a signal handler could meet locked by its own thread.
            bell = threading.Lock()
            bell.acquire()
            self._waiting.append(bell)
            rung = False
            try:
                # Looked at once more: a place may have become free before the bell hung there.
                rung = bool(self._places) or bell.acquire(timeout=max(0.0, until - time.monotonic()))
            finally:
                try:
                    self._waiting.remove(bell)
                except ValueError:
                    if not rung:
                        self._wake()  # it was meant for somebody who can use it
            if not rung:
                raise BusUnavailable(
                    f"The event was not stored: {MAX_CONNECTIONS} other publishes of this process wait for Redis. See how it is, or publish less at once."
                )

    def _wake(self) -> None:
        with contextlib.suppress(IndexError):
            self._waiting.popleft().release()


def _may_keep() -> bool:
    """
    Say whether a connection that is made here can serve others later.

    Raises:
        BusUnavailable: Nothing can wait here.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("socket"):
        return True
    import gevent

    hub = gevent.get_hub()
    if gevent.getcurrent() is hub:
        raise BusUnavailable(
            "The event was not stored: gevent's loop itself cannot wait for Redis. Publish from a greenlet: gevent.spawn(publish, ...)."
        )
    # Patched sockets belong to the loop of their thread. A native thread beside it has another, so it takes its connections along.
    return bool(hub.main_hub)
