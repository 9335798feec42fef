"""What a forked child inherits and must not use: values of its parent, and greenlets."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["PerProcess", "forks"]

T = TypeVar("T")


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
