"""
Re-entrance: one rule and one class.

The garbage collector and signal handlers run foreign code at any place, also within a section of ours. Such
code may publish, may switch greenlets, and a handler may raise. All greenlets of a loop are one thread, so a
lock that its own thread can take again never blocks between them, and a mark says that a section runs. Who
finds the mark leaves work to the section that runs (:meth:`ReentrantLock.post`), is refused
(:meth:`ReentrantLock.run`) or lets the other greenlet finish (``with``).

An exception of a signal handler may come right behind the taking of a lock, or right before its release,
where no ``with`` and no ``finally`` gives it back: Python 3.14 does that to most sections that a handler
interrupts. So the mark is the frame that runs the section. Where that frame has ended, the next caller of its
thread takes over.
"""

from __future__ import annotations

import _thread
import sys
from collections import deque
from collections.abc import Callable
from sys import _getframe
from types import FrameType
from typing import Any, TypeVar

from .backends import current_backend

__all__ = ["Busy", "ReentrantLock"]

T = TypeVar("T")


class Busy(Exception):
    """A section was not run, because another one of the same lock runs."""

    def __init__(self, *, is_own: bool) -> None:
        super().__init__("further up this stack" if is_own else "in another thread or greenlet")
        self.is_own = is_own
        """Whether the other section is further up the caller's own stack: waiting would be for ever."""


class ReentrantLock:
    """
    A lock for short sections that never wait, switch greenlets, log or call foreign code.

    - ``with lock:`` where no finalizer and no signal handler comes from. A section that is entered from
      within itself raises :class:`RuntimeError`.
    - :meth:`post` from anywhere, where nobody needs the result at once. Never waits.
    - :meth:`run` from anywhere, where the result is needed. May be refused.

    It is the interpreter's own lock also where gevent has patched threading: gevent's took a quarter of the
    time of a delivery. A signal handler that raises in a section may leave the lock taken until its thread,
    the main one, uses it again; other threads wait until then.
    """

    __slots__ = ("_acquire", "_holder", "_is_owned", "_posted", "_release")

    def __init__(self) -> None:
        lock = _native_rlock()
        # Kept, because looking a method up costs a tenth of a section.
        self._acquire, self._release = lock.acquire, lock.release
        self._is_owned = lock._is_owned  # noqa: SLF001  # as threading.Condition does
        self._posted: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        # The frame that runs a section. Kept in no local variable of that frame: it would refer to itself.
        self._holder: FrameType | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a section runs: in another thread, in another greenlet, or further up this very stack."""
        return self._holder is not None

    def __enter__(self) -> None:
        try:
            self._acquire()
            if self._holder is not None:
                self._wait_for_greenlets(_getframe(1))
            self._holder = _getframe(1)
        except BaseException:
            self._undo()
            raise
        if self._posted:
            try:
                self._run_all()  # what was posted before this section comes before it
            except BaseException:
                self._holder = None
                self._release()
                raise

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._holder = None
        self._release()
        if self._posted:
            self._run_posted()

    def run(self, work: Callable[..., T], *arguments: Any, seconds: float | None = None) -> T:
        """
        Run a section and return what it returns.

        Args:
            work (Callable): The section.
            *arguments (Any): What the section is given.
            seconds (float | None): How long to wait for another thread at most; ``None`` without end.

        Raises:
            Busy: Another section runs further up this stack, in another greenlet of this thread, or, after
                that time, in another thread.
        """
        try:
            if not (self._acquire() if seconds is None else self._acquire(True, max(0.0, seconds))):
                raise Busy(is_own=False)  # noqa: TRY301
            if self._holder is not None and not self._take_over(_getframe()):
                raise Busy(is_own=_is_below(self._holder, _getframe()))  # noqa: TRY301
            self._holder = _getframe()
        except BaseException:
            self._undo()
            raise
        try:
            return work(*arguments)
        finally:
            self._holder = None
            self._release()
            if self._posted:
                self._run_posted()

    def post(self, work: Callable[..., object], *arguments: Any) -> None:
        """
        Run a section now, or let the section that runs do so at its end. Never waits.

        Args:
            work (Callable): The section; it does not raise by itself. Sections are run in the order in which
                they are posted, each once. One that an exception of a signal handler ends is not run again.
            *arguments (Any): What the section is given.
        """
        self._posted.append((work, arguments))
        self._run_posted()

    def _run_posted(self) -> None:
        posted = self._posted
        # Looked at again behind each section: what was posted in its last moment was left to it.
        while posted:
            try:
                if not self._acquire(False):
                    return  # another thread's section looks at its end
                if is_free := self._holder is None or self._take_over(_getframe()):
                    self._holder = _getframe()
            except BaseException:
                self._undo()
                raise
            if not is_free:
                self._release()
                return
            try:
                self._run_all()
            finally:
                self._holder = None
                self._release()

    def _run_all(self) -> None:
        posted = self._posted
        while posted:
            work, arguments = posted.popleft()
            work(*arguments)

    def _wait_for_greenlets(self, frame: FrameType) -> None:
        """Return when no other greenlet of this thread, which holds the lock, runs a section."""
        while self._holder is not None and not self._take_over(frame):
            if _is_below(self._holder, frame):
                raise RuntimeError("A section of flask_sse_push was entered from within itself.")
            backend = current_backend()
            self._release()
            try:
                is_stuck = backend.is_preemptive or not backend.give_way()
            finally:
                self._acquire()
            if is_stuck:
                raise RuntimeError("A callback of the loop came into a section that a greenlet runs.")

    def _take_over(self, frame: FrameType) -> bool:
        """
        Take the mark off if its section has ended without doing so, and give back the lock that it left.

        A frame that enters again has caught the exception that ended its section.
        """
        holder = self._holder
        if holder is not None and holder is not frame:
            try:
                holder.clear()  # refused as long as the frame runs, in this greenlet or another
            except RuntimeError:
                return False
        self._holder = None
        self._release()
        return True

    def _undo(self) -> None:
        # An acquire() that was interrupted while it waited has not taken the lock: another thread has it.
        if self._is_owned():
            self._release()


def _is_below(holder: FrameType | None, frame: FrameType | None) -> bool:
    """Whether a frame is the other one, or was called from there."""
    while frame is not None and frame is not holder:
        frame = frame.f_back
    return frame is not None


def _native_rlock() -> Any:
    monkey = sys.modules.get("gevent.monkey")
    make = _thread.RLock if monkey is None else monkey.get_original("_thread", "RLock")
    return make()
