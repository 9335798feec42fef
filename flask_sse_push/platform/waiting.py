"""Waiting and running beside, as threads and greenlets both can."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

__all__ = ["TURN_SECONDS", "Backend", "Wakeup"]

TURN_SECONDS = 0.002
"""How long a loop over all streams keeps others from running, about: a page that needs four turns of its own then waits for some 8 ms."""

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

    def in_turns(self, items: Sequence[T]) -> Iterator[T]:
        """
        Return the items one after the other, and give way to others every :data:`TURN_SECONDS`.

        Threads just iterate: the interpreter itself makes a long loop give way.
        """

    def wait_readable(self, fileno: int, timeout: float) -> None:
        """Wait until a file is readable, at most ``timeout`` seconds."""
