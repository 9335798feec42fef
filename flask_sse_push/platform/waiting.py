"""Waiting and running beside, as threads and greenlets both can."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from .fork import forks

__all__ = ["TURN_SECONDS", "Backend", "Wakeup", "in_turns"]

TURN_SECONDS = 0.002
"""How long a loop over all streams keeps others from running, about: a page that needs four turns of its own then waits for some 8 ms."""

_LOOK_AT_CLOCK = 16  # items between two looks

T = TypeVar("T")


class Wakeup(Protocol):
    """All that others know of somebody who waits. Rung once or many times, it wakes once; or it does at once what it would wake for (``direct``)."""

    @property
    def is_pending(self) -> bool:
        """Whether somebody waits, was rung for, and has not come to run yet."""

    def wake(self) -> None:
        """Wake who waits, or who will wait next. From any thread, at any time; never blocks."""

    def wait(self, timeout: float | None = None) -> bool:
        """
        Wait until it is rung, at most ``timeout`` seconds, and make it silent again.

        Look at what it announces after this returns, never before: what came earlier is seen then.

        Returns:
            bool: Whether it was rung.
        """


class Backend(Protocol):
    """How a process waits: in threads or in greenlets."""

    is_preemptive: bool
    """Whether the interpreter itself makes a long loop give way."""

    def wakeup(self) -> Wakeup:
        """Return a new wakeup for the thread or greenlet that calls this."""

    def spawn(self, run: Callable[[], None], name: str) -> Callable[[], None]:
        """Run beside; never keeps the process alive. Returns what interrupts it, where that is possible."""

    def give_way(self) -> bool:
        """Let all others that are ready run once. False where the caller cannot make way: it is the loop itself."""

    def wait_readable(self, fileno: int, timeout: float) -> None:
        """Wait until a file is readable, at most ``timeout`` seconds."""


def in_turns(backend: Backend, items: Sequence[T]) -> Iterator[T]:
    """Return items one after the other, and make way for others now and then. (Threads are made to give way by the interpreter itself.)"""
    if backend.is_preemptive or len(items) <= _LOOK_AT_CLOCK:
        yield from items
        return
    born = forks()
    until = time.monotonic() + TURN_SECONDS
    for number, item in enumerate(items, 1):
        yield item
        if not number % _LOOK_AT_CLOCK and time.monotonic() >= until:
            backend.give_way()
            if forks() != born:
                return  # the items are the parent's
            until = time.monotonic() + TURN_SECONDS
