"""
A lock for work with a result, that a finalizer or signal handler may ask for in the middle of the same work.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from ..platform.locks import ReentrantLock

__all__ = ["Exclusive", "Within"]

T = TypeVar("T")


class Within(Exception):
    """Work is going on further up this very stack, or in another greenlet of this thread."""


class Exclusive(ReentrantLock):
    """Runs work and returns its result, one at a time. Safe also where a signal handler raises."""

    __slots__ = ()

    def run(self, seconds: float | None, work: Callable[..., T], *arguments: Any) -> T:
        """
        Return what ``work(*arguments)`` returns.

        Args:
            seconds (float | None): How long to wait for other threads; ``None`` for as long as it takes. The
                main thread always waits as long as it takes.
            work (Callable): Never waits, and never switches greenlets.
            *arguments (Any): What the work is given.

        Raises:
            Within: The caller is in the middle of other work; nothing was done.
            TimeoutError: Another thread was at work all the time.
        """
        lock = self._lock
        # Signal handlers run in the main thread, and may raise behind any call. Behind acquire() the lock
        # would stay held; "with" releases it.
        waits = seconds is None or threading.get_native_id() == os.getpid()
        if not waits and not lock.acquire(timeout=max(0.0, seconds or 0.0)):
            raise TimeoutError
        try:
            with lock:
                if self.is_busy:
                    raise Within
                try:
                    self.is_busy = True
                    return work(*arguments)
                finally:
                    self.is_busy = False
                    if self._posted:
                        self._run_posted()
        finally:
            if not waits:
                lock.release()
