"""
Waiting and running beside, for threads and for greenlets.

Under a patched gevent worker the standard library's threads are greenlets, and threads alone would do. The module
``greenlets`` stands beside this one for two reasons: gevent's own event is cheaper than ``threading.Event`` where each
delivery waits on one, and an app may run in greenlets without patching anything (``gevent.pywsgi``).
"""

from __future__ import annotations

import _thread
import os
import select
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Generic, Protocol, TypeVar

__all__ = [
    "THREADS",
    "TURN_SECONDS",
    "Bell",
    "Mode",
    "PerProcess",
    "current_mode",
    "forks",
    "in_turns",
    "reentrant_lock",
    "short_lock",
    "when_free",
]

TURN_SECONDS = 0.002
"""How long a loop over all streams keeps others from running, about: a page that needs four turns of its own then waits for some 8 ms."""

_LOOK_AT_CLOCK = 16  # items between two looks

T = TypeVar("T")


class Bell(Protocol):
    """All that others know of somebody who waits. Rung once or many times, it wakes once; or it does at once what it would wake for (``direct``)."""

    @property
    def unanswered(self) -> bool:
        """Whether somebody waits, was rung for, and has not come to run yet."""

    def ring(self) -> None:
        """Wake who waits, or who will wait next. From any thread, at any time; never blocks."""

    def wait(self, timeout: float | None = None) -> bool:
        """
        Wait until it is rung, at most ``timeout`` seconds, and make it silent again.

        Look at what it announces after this returns, never before: what came earlier is seen then.

        Returns:
            bool: Whether it was rung.
        """


class Mode(Protocol):
    """How a process waits: in threads or in greenlets."""

    name: str

    def bell(self) -> Bell:
        """Return a new bell for the thread or greenlet that calls this."""

    def spawn(self, run: Callable[[], None], name: str) -> Callable[[], None]:
        """Run beside; never keeps the process alive. Returns what interrupts it, where that is possible."""

    def turn(self) -> bool:
        """Let all others that are ready run once. False where the caller cannot make way: it is the loop itself."""

    def wait_readable(self, fileno: int, timeout: float) -> None:
        """Wait until a file is readable, at most ``timeout`` seconds."""


class _ThreadBell:
    __slots__ = ("_event", "_waiting")

    def __init__(self) -> None:
        self._event = threading.Event()
        self._waiting = False

    @property
    def unanswered(self) -> bool:
        return self._waiting and self._event.is_set()

    def ring(self) -> None:
        self._event.set()

    def wait(self, timeout: float | None = None) -> bool:
        self._waiting = True
        rung = self._event.wait(timeout)
        self._waiting = False
        self._event.clear()
        return rung


class _Threads:
    name = "threads"

    def bell(self) -> Bell:
        return _ThreadBell()

    def spawn(self, run: Callable[[], None], name: str) -> Callable[[], None]:
        threading.Thread(target=run, name=name, daemon=True).start()
        return _nothing

    def turn(self) -> bool:
        # A thread that gives the interpreter away for less may get it back before anybody else had it.
        time.sleep(0.001)
        return True

    def wait_readable(self, fileno: int, timeout: float) -> None:
        poll = select.poll()  # unlike select(), any file number will do
        poll.register(fileno, select.POLLIN)
        poll.poll(timeout * 1000)


THREADS: Mode = _Threads()


def current_mode() -> Mode:
    """Return the mode of the caller: greenlets inside a gevent greenlet, threads everywhere else."""
    gevent: Any = sys.modules.get("gevent")
    if gevent is not None and isinstance(gevent.getcurrent(), gevent.Greenlet):
        return _greenlets()
    return THREADS


@cache
def _greenlets() -> Mode:
    from .greenlets import GREENLETS

    return GREENLETS


def in_turns(mode: Mode, items: Sequence[T]) -> Iterator[T]:
    """Return items one after the other, and make way for others now and then. (Threads are made to give way by the interpreter itself.)"""
    if mode is THREADS or len(items) <= _LOOK_AT_CLOCK:
        yield from items
        return
    born = _forks
    until = time.monotonic() + TURN_SECONDS
    for number, item in enumerate(items, 1):
        yield item
        if not number % _LOOK_AT_CLOCK and time.monotonic() >= until:
            mode.turn()
            if _forks != born:
                return  # the items are the parent's
            until = time.monotonic() + TURN_SECONDS


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
        mode = current_mode()
        while mode is not THREADS and lock.locked() and mode.turn():
            pass
    return lock


def reentrant_lock() -> AbstractContextManager[bool]:
    """Return a :func:`short_lock` that its own thread may take again."""
    monkey = sys.modules.get("gevent.monkey")
    make = _thread.RLock if monkey is None else monkey.get_original("_thread", "RLock")
    return make()


class PerProcess(Generic[T]):
    """
    A value that is made on first use in each process, and anew after a fork.

    Thread-safe without a lock, which a fork could leave locked for ever: two threads may both make one, and one of them wins. So making it
    must have no effect of its own.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[int | None, T] = {}
        _per_process.add(self)

    def get(self) -> T:
        """Return the value of this process."""
        process = None if _process is None else _process()
        value = self._made.get(process)
        if value is None:
            value = self._made.setdefault(process, self._make())
        return value

    def forget(self) -> None:
        """Begin anew: this is a child of the process that made the value."""
        self._made = {}


# To ask for the process' number is a call into the kernel, several for each event. A process that Python forks begins anew in _forget_parent();
# but uWSGI forks without telling Python.
_process: Callable[[], int] | None = os.getpid if "uwsgi" in sys.modules else None

_per_process: weakref.WeakSet[PerProcess[Any]] = weakref.WeakSet()

_forks = 0


def forks() -> int:
    """
    Return a number that is another one in a child process.

    A child inherits every greenlet, and its loop runs the copies as soon as anything in it waits. Those that look after streams end when they
    see another number than at their begin: the sockets are the parent's, and each byte would go out twice.
    """
    return _forks


def _forget_parent() -> None:
    global _forks  # noqa: PLW0603
    _forks += 1
    for values in list(_per_process):
        values.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)


def _nothing() -> None:
    """A thread cannot be interrupted from outside."""
