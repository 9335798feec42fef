"""The backend of greenlets. Imported only where gevent runs already."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import gevent
import gevent.monkey
from gevent._hub_local import get_hub_if_exists
from gevent.hub import Waiter

from .waiting import TURN_SECONDS, Backend, Wakeup

__all__ = ["GREENLETS"]

T = TypeVar("T")

_LOOK_AT_CLOCK = 16  # items between two looks at the clock

_native_sleep: Callable[[float], None] = gevent.monkey.get_original("time", "sleep")


class _GreenletWakeup:
    """
    Wakes one greenlet.

    gevent's own event lets many wait, and costs twice as much. Everything but :meth:`wake` happens in the
    loop of the greenlet.
    """

    __slots__ = ("_hub", "_rung", "_waiter", "_waiting")

    def __init__(self) -> None:
        self._hub = gevent.get_hub()
        self._rung = False
        self._waiting = False
        self._waiter: Waiter | None = None

    @property
    def is_pending(self) -> bool:
        return self._waiting and self._rung

    def wake(self) -> None:
        if get_hub_if_exists() is not self._hub:
            # Another thread's plain callback would not wake a loop that is asleep.
            self._hub.loop.run_callback_threadsafe(self.wake)
        elif not self._rung:
            self._rung = True
            if self._waiter is not None:
                # A waiter takes one switch, and none when its greenlet has gone on already: the switch cannot
                # come out at another place.
                self._hub.loop.run_callback(self._waiter.switch, None)
                self._waiter = None

    def wait(self, timeout: float | None = None) -> bool:
        if not self._rung:
            self._waiter = waiter = Waiter(self._hub)
            self._waiting = True
            if timeout is None:
                waiter.get()
            else:
                with gevent.Timeout(timeout, False):
                    waiter.get()
            self._waiting = False
        rung, self._rung, self._waiter = self._rung, False, None
        return rung


class _OwnGreenlet(gevent.Greenlet):  # type: ignore[misc]
    """
    A greenlet whose copy in a forked child never comes back from a wait.

    A child inherits all greenlets, and its loop would run the copies as soon as anything in it waits. Their
    sockets are the parent's too: each byte would be read by one of the two processes, and written by both.
    """

    def __init__(self, run: Callable[[], None], name: str) -> None:
        super().__init__(run)
        self.name = name
        _alive.add(self)
        self.rawlink(_alive.discard)


# Held here, for nothing may let go of a copy in a child: that would raise GreenletExit in it, and run its
# ``finally``.
_alive: set[_OwnGreenlet] = set()


def _park_copies() -> None:
    forker = gevent.getcurrent()
    for greenlet in _alive:
        if greenlet is not forker:  # which the child is, and goes on as
            # Whoever wakes it looks these up on the greenlet itself.
            greenlet.switch = _stop_watching
            greenlet.throw = _do_nothing


def _do_nothing(*_: Any) -> None:
    """Stand in the place of what would raise in a copy."""


def _stop_watching(waiter: object = None, *_: Any) -> None:
    """
    Stand in the place of what would let a copy go on, and stop what called it.

    A file that nobody here reads stays ready, and would keep the loop busy. gevent tells nobody which of its
    watchers a wait belongs to, so the waiter's referrers are asked. That takes some milliseconds, once for
    each wait that a child inherited.
    """
    for values in gc.get_referrers(waiter) if isinstance(waiter, Waiter) else ():
        for watcher in gc.get_referrers(values) if type(values) is tuple else ():
            if getattr(watcher, "args", None) is values and hasattr(watcher, "stop"):
                watcher.stop()


os.register_at_fork(after_in_child=_park_copies)


class _Greenlets:
    is_preemptive = False

    def wakeup(self) -> Wakeup:
        return _GreenletWakeup()

    def spawn(self, run: Callable[[], None], name: str) -> Callable[[], None]:
        greenlet = _OwnGreenlet(run, name)
        greenlet.start()

        def interrupt() -> None:
            greenlet.kill(block=False)

        return interrupt

    def give_way(self) -> bool:
        hub = get_hub_if_exists()
        if hub is None:
            # A native thread, not one of a loop: the greenlets run while it sleeps.
            _native_sleep(0.001)
        elif gevent.getcurrent() is hub:
            return False
        else:
            gevent.sleep(0)
        return True

    def in_turns(self, items: Sequence[T]) -> Iterator[T]:
        if len(items) <= _LOOK_AT_CLOCK:
            yield from items
            return
        until = time.monotonic() + TURN_SECONDS
        for number, item in enumerate(items, 1):
            yield item
            if not number % _LOOK_AT_CLOCK and time.monotonic() >= until:
                self.give_way()
                until = time.monotonic() + TURN_SECONDS

    def wait_readable(self, filenos: Sequence[int], timeout: float) -> None:
        loop = (hub := gevent.get_hub()).loop
        watchers = [*(loop.io(fileno, 1) for fileno in filenos), loop.timer(timeout)]
        waiter = Waiter(hub)
        try:
            for watcher in watchers:
                watcher.start(waiter.switch, waiter)  # with the waiter, so that _stop_watching() finds it
            waiter.get()
        finally:
            for watcher in watchers:
                watcher.close()


GREENLETS: Backend = _Greenlets()
