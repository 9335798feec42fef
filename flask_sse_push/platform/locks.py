"""
Re-entrance: one rule and one class.

The garbage collector and signal handlers run foreign code at any place, also in the middle of a section of ours.
Such code may publish, and may switch greenlets. All greenlets of a loop are one thread, so a lock that its own
thread can take again never blocks between them; a mark says that somebody is inside already. Who finds the mark
leaves its work to the one who is inside, and goes.
"""

from __future__ import annotations

import _thread
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from .backends import current_backend

__all__ = ["ReentrantLock", "reentrant_lock", "short_lock", "when_free"]


class ReentrantLock:
    """
    A lock for short sections, in which our code never waits, switches greenlets, logs or calls foreign code.

    ``with lock:`` is for work whose result is needed at once; it is never used where a finalizer or a signal
    handler can come from. :meth:`post` is for those: it never waits for the stack that it interrupted.

    It is the interpreter's own lock also where gevent has patched threading: gevent's was a quarter of the cost
    of a delivery.
    """

    __slots__ = ("_lock", "_posted", "is_busy")

    def __init__(self) -> None:
        self._lock = _native_rlock()
        self._posted: deque[Callable[[], object]] = deque()
        self.is_busy = False
        """Whether a section is running: in another thread, another greenlet, or further up this very stack."""

    def __enter__(self) -> None:
        self._lock.acquire()
        while self.is_busy:
            # Another greenlet of this thread is inside: a finalizer switched from there to here.
            self._lock.release()
            if not current_backend().give_way():
                raise RuntimeError("A section of flask_sse_push was entered from within itself.")
            self._lock.acquire()
        self.is_busy = True
        if self._posted:
            try:
                self._run_all()  # what was posted before comes first
            except BaseException:
                self.is_busy = False
                self._lock.release()
                raise

    def __exit__(self, *_: object) -> None:
        self.is_busy = False
        self._lock.release()
        if self._posted:
            self._run_posted()

    def post(self, work: Callable[[], object]) -> None:
        """
        Run a section: now, or at the end of the one that is running. From anywhere; never waits.

        In the order of the calls, and before any ``with`` section that begins later.

        Args:
            work (Callable): The section. It does not raise.
        """
        self._posted.append(work)
        self._run_posted()

    def _run_posted(self) -> None:
        # Without waiting: the thread that has the lock may itself wait for a lock of the caller's, where a finalizer
        # publishes in the middle of its section. It looks here again behind each section.
        while self._posted and self._lock.acquire(False):  # noqa: FBT003
            try:
                if self.is_busy:
                    return
                try:
                    self.is_busy = True
                    self._run_all()
                finally:
                    self.is_busy = False
            finally:
                self._lock.release()

    def _run_all(self) -> None:
        while self._posted:
            self._posted.popleft()()


def _native_rlock() -> Any:
    monkey = sys.modules.get("gevent.monkey")
    make = _thread.RLock if monkey is None else monkey.get_original("_thread", "RLock")
    return make()


def short_lock() -> threading.Lock:
    """
    Return a lock for sections that never wait, switch, log or call foreign code.

    Foreign code comes in all the same, by the garbage collector and by signals: whatever a finalizer or a signal handler may do, publishing
    above all, must not ask for a lock that its own thread may hold.

    It is the real one also where gevent has patched threading: no code of ours switches greenlets while it is held, and another thread holds
    it for microseconds. (A finalizer may switch all the same: see :func:`when_free`.) gevent's own was a quarter of the cost of a delivery.
    """
    monkey = sys.modules.get("gevent.monkey")
    allocate = _thread.allocate_lock if monkey is None else monkey.get_original("_thread", "allocate_lock")
    return allocate()


def when_free(lock: threading.Lock) -> threading.Lock:
    """
    Return a :func:`short_lock` for ``with``, as soon as no other greenlet of this thread holds it.

    A finalizer that closes a connection waits for the network, in the middle of whatever the collector interrupted. To wait for that
    greenlet's lock as for a thread's would stop the loop for ever.
    """
    if lock.locked():
        backend = current_backend()
        while not backend.is_preemptive and lock.locked() and backend.give_way():
            pass
    return lock


def reentrant_lock() -> AbstractContextManager[bool]:
    """Return a :func:`short_lock` that its own thread may take again."""
    monkey = sys.modules.get("gevent.monkey")
    make = _thread.RLock if monkey is None else monkey.get_original("_thread", "RLock")
    return make()
