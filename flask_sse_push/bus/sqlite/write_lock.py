"""The lock of all who write to the database: one thread of this process, and one process of the machine."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ...errors import BusUnavailable
from ...platform.locks import Busy, ReentrantLock

__all__ = ["PATIENCE_SECONDS", "WriteLock", "is_busy"]

PATIENCE_SECONDS = 5.0
"""How long the follower tries: no client waits for it."""

_FIRST_PAUSE_SECONDS = 0.0005
_LONGEST_PAUSE_SECONDS = 0.01

_BUSY = frozenset({5, 6})  # SQLITE_BUSY and SQLITE_LOCKED, which Python names from 3.11 on

_FROM_WITHIN_ITSELF = (
    "The event was not stored: publish() was called from within itself, by a finalizer or a signal handler, "
    "and its own transaction is in the way. Publish from a thread instead."
)

T = TypeVar("T")


class WriteLock:
    """
    Runs one transaction of this process at a time, and tries again while another process has the database
    locked. Thread-safe.

    A finalizer or a signal handler that publishes in the middle of a transaction is refused at once: it would
    wait for ever for the stack that it interrupted.
    """

    def __init__(self) -> None:
        self._lock = ReentrantLock()

    def run(self, seconds: float, work: Callable[..., T], *arguments: Any) -> T:
        """
        Return what ``work(*arguments)`` returns.

        Args:
            seconds (float): How long to try. The time of the work itself comes on top, and the time until the
                system or the loop runs the caller again. The main thread waits for other threads as long as
                they take.
            work (Callable): One transaction. It never waits, and never switches greenlets.
            *arguments (Any): What the work is given.

        Raises:
            BusUnavailable: The caller is in the middle of other work of the same stack.
            sqlite3.OperationalError: Another process, thread or greenlet had the lock all the time.
        """
        give_up_at = time.monotonic() + seconds
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                left = give_up_at - time.monotonic()
                return self._lock.run(work, *arguments, seconds=left)
            except Busy as error:
                if error.is_own:
                    raise BusUnavailable(_FROM_WITHIN_ITSELF) from None
                # With a finalizer, a greenlet may have switched to this one in the middle of its transaction.
                busy: sqlite3.Error = sqlite3.OperationalError("locked by another thread or greenlet")
            except sqlite3.Error as error:
                if not is_busy(error):
                    raise
                busy = error
            if time.monotonic() + pause > give_up_at:
                raise busy
            try:
                time.sleep(random.uniform(pause / 2, pause))
            except AssertionError:
                raise busy from None  # gevent's, in a callback of the loop itself, which cannot wait
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def is_busy(error: BaseException) -> bool:
    """Say whether an error means that another process has the database locked."""
    if not isinstance(error, sqlite3.Error):
        return False
    code = getattr(error, "sqlite_errorcode", None)  # from Python 3.11 on
    return code & 0xFF in _BUSY if code is not None else "locked" in str(error)
