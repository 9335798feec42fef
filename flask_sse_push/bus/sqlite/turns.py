"""Who may write to the database: one of this process, and of all processes the one that has its lock."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ...errors import BusUnavailable
from ...platform.locks import reentrant_lock

__all__ = ["PATIENCE_SECONDS", "Turn", "is_busy", "patiently"]

PATIENCE_SECONDS = 5.0
"""How long a reader waits, for whom nobody waits."""

_FIRST_PAUSE_SECONDS = 0.0005
_LONGEST_PAUSE_SECONDS = 0.01

_BUSY = frozenset({5, 6})  # SQLITE_BUSY and SQLITE_LOCKED, which Python names from 3.11 on

T = TypeVar("T")


class Turn:
    """
    One writer of this process at a time, for one transaction in which nothing waits or switches.

    The lock is reentrant, so that a finalizer or a signal handler further down the same stack gets in and is seen, also in the moment
    between taking the lock and writing down who has it. With another lock it would wait there for itself, for ever.
    """

    def __init__(self) -> None:
        self._lock: Any = reentrant_lock()
        self._owner = 0

    def take(self, work: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
        """
        Return what the work returns.

        Args:
            work (Callable): One transaction, in which nothing waits or switches.
            seconds (float): How long a thread waits for another one, whose commit may wait for the disk. The
                main thread waits as long as that takes.

        Raises:
            BusUnavailable: It is called from within itself.
            sqlite3.OperationalError: Another thread or greenlet of this process has its turn.
        """
        if threading.get_native_id() == os.getpid():
            # A signal handler, which runs here alone, may raise behind any call: where that call had taken
            # the lock, nobody would give it back.
            with self._lock:
                return self._work(work)
        if not self._lock.acquire(timeout=max(0.0, seconds)):
            raise sqlite3.OperationalError("locked by another thread of this process")
        try:
            return self._work(work)
        finally:
            self._lock.release()

    def _work(self, work: Callable[[], T]) -> T:
        if self._owner == threading.get_ident():
            raise BusUnavailable(
                "The event was not stored: publish() was called from within itself, by a finalizer or a signal handler, "
                "and its own transaction is in the way. Publish from a thread instead."
            )
        if self._owner:
            # Foreign code in its transaction gave way to us. To wait as greenlets wait lets it finish.
            raise sqlite3.OperationalError("locked by another greenlet of this process")
        try:
            self._owner = threading.get_ident()
            return work()
        finally:
            self._owner = 0


def patiently(call: Callable[[float], T], seconds: float) -> T:
    """
    Return what a call returns that meets no lock of another process; waited for in no lock of ours, as
    greenlets wait.

    Args:
        call (Callable): Called again and again, with the seconds that are left.
        seconds (float): When the last error is raised. What the call itself takes then comes on top, and so
            does the time until the system runs this thread again, or the loop this greenlet.
    """
    give_up_at = time.monotonic() + seconds
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return call(give_up_at - time.monotonic())
        except sqlite3.Error as error:
            if not is_busy(error) or time.monotonic() + pause > give_up_at:
                raise
            busy = error
        try:
            time.sleep(random.uniform(pause / 2, pause))
        except AssertionError:
            raise busy from None  # gevent's, in a callback of the loop itself, which cannot wait
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def is_busy(error: BaseException) -> bool:
    """Say whether somebody else holds a lock that is worth waiting for."""
    if not isinstance(error, sqlite3.Error):
        return False
    code = getattr(error, "sqlite_errorcode", None)  # from Python 3.11 on
    return code & 0xFF in _BUSY if code is not None else "locked" in str(error)
