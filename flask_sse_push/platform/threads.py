"""The backend of threads."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from .polling import wait_readable
from .waiting import Backend, Wakeup

__all__ = ["THREADS"]

T = TypeVar("T")


class _ThreadWakeup:
    __slots__ = ("_event", "_waiting")

    def __init__(self) -> None:
        self._event = threading.Event()
        self._waiting = False

    @property
    def is_pending(self) -> bool:
        return self._waiting and self._event.is_set()

    def wake(self) -> None:
        self._event.set()

    def wait(self, timeout: float | None = None) -> bool:
        self._waiting = True
        rung = self._event.wait(timeout)
        self._waiting = False
        self._event.clear()
        return rung


class _Threads:
    is_preemptive = True

    def wakeup(self) -> Wakeup:
        return _ThreadWakeup()

    def spawn(self, run: Callable[[], None], name: str) -> Callable[[], None]:
        monkey = sys.modules.get("gevent.monkey")
        if monkey is not None and monkey.is_module_patched("threading"):
            # threading would start a greenlet too, but one that goes on in forked children.
            from .greenlets import GREENLETS

            return GREENLETS.spawn(run, name)
        threading.Thread(target=run, name=name, daemon=True).start()
        return _nothing

    def give_way(self) -> bool:
        # After a shorter sleep this thread may have the interpreter again before any other had it.
        time.sleep(0.001)
        return True

    def in_turns(self, items: Sequence[T]) -> Iterator[T]:
        return iter(items)

    def wait_readable(self, filenos: Sequence[int], timeout: float) -> None:
        wait_readable(filenos, timeout)


THREADS: Backend = _Threads()


def _nothing() -> None:
    """A thread cannot be interrupted from outside."""
