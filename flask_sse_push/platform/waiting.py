"""How to wait and to run beside others: what threads and greenlets have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

__all__ = ["TURN_SECONDS", "Backend", "Wakeup"]

TURN_SECONDS = 0.002
"""
How long a loop over all streams runs before it gives way to others: a page that needs four turns of its own
then waits for about 8 ms.
"""

T = TypeVar("T")


class Wakeup(Protocol):
    """
    Wakes one thread or greenlet that waits.

    Woken once or many times before it looks, a waiter wakes once. An implementation may instead do at once
    what it would wake for (``streams.direct``).
    """

    @property
    def is_pending(self) -> bool:
        """Whether somebody waits, was woken, and has not come to run yet."""

    def wake(self) -> None:
        """Wake who waits, or who will wait next. From any thread, at any time; never blocks."""

    def wait(self, timeout: float | None = None) -> bool:
        """
        Wait for :meth:`wake`, at most ``timeout`` seconds.

        Look for news after this returns, never before: what came before a ``wake`` is seen then.

        Returns:
            bool: Whether it was woken.
        """


class Backend(Protocol):
    """How a process waits: as threads or as greenlets do."""

    is_preemptive: bool
    """Whether the interpreter itself makes a long loop give way."""

    def wakeup(self) -> Wakeup:
        """Return a new wakeup for the thread or the loop of greenlets that calls this."""

    def spawn(self, run: Callable[[], None], name: str) -> Callable[[], None]:
        """
        Run something beside the caller. It never keeps the process alive.

        In a child process that is forked meanwhile its copy never comes back from a wait.

        Args:
            run (Callable): What to run.
            name (str): For people who look at threads.

        Returns:
            Callable: Interrupts it where it waits, which is not possible in threads.

        Raises:
            RuntimeError: No thread can be started.
        """

    def give_way(self) -> bool:
        """Let all others that are ready run once. False where that is impossible: in the loop itself."""

    def in_turns(self, items: Sequence[T]) -> Iterator[T]:
        """
        Return the items one after the other, and give way to others every :data:`TURN_SECONDS`.

        Threads just iterate: the interpreter itself makes a long loop give way.
        """

    def wait_readable(self, filenos: Sequence[int], timeout: float) -> None:
        """Wait until one of some files is readable, at most ``timeout`` seconds."""
