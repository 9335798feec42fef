"""A lock for work that has a result, and that finalizers and signal handlers may ask for in its own middle."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from ..platform.locks import ReentrantLock

__all__ = ["Exclusive", "Within"]

T = TypeVar("T")


class Within(Exception):
    """The work that runs is further up this very stack, or another greenlet of this thread runs it."""


class Exclusive(ReentrantLock):
    """Runs work whose result is needed at once, one piece at a time. Safe also where a signal handler raises."""

    __slots__ = ()

    def run(self, seconds: float | None, work: Callable[..., T], *arguments: Any) -> T:
        """
        Return what ``work(*arguments)`` returns.

        Args:
            seconds (float | None): How long to wait for other threads; ``None`` for as long as they take. The
                main thread always waits as long as they take.
            work (Callable): In it nothing waits or switches greenlets.
            *arguments (Any): Of the work.

        Raises:
            Within: It was called in the middle of other work; nothing was done.
            TimeoutError: Another thread was at work all the time.
        """
        lock = self._lock
        # A signal handler, which runs in the main thread alone, may raise behind any call: an acquire() that it
        # interrupts would leave the lock held. A "with" statement does not.
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
