"""
Whether a process that was forked from this one serves the app: then what is published here may be heard by
nobody there.
"""

from __future__ import annotations

import mmap
import os
import weakref

__all__ = ["Children"]


class Children:
    """
    What a process learns of the children that were forked from it, for one app.

    Before a fork the parent makes a byte that both share, and a child that serves sets it. Nothing is made
    where nothing is forked.
    """

    def __init__(self) -> None:
        self._own: mmap.mmap | None = None  # set by the children of this process
        self._parents: mmap.mmap | None = None  # set by this process
        _all.add(self)

    @property
    def serve(self) -> bool:
        """Whether a child has served a request."""
        return self._own is not None and self._own[0] == 1

    def tell_parent(self) -> None:
        """Say that this process serves, to the one that it was forked from, if any."""
        if self._parents is not None:
            self._parents[0] = 1

    def fork(self) -> None:
        """Get ready for a fork."""
        if self._own is None:
            try:
                self._own = mmap.mmap(-1, 1)
            except OSError:
                pass  # the machine has no memory left, and a warning less

    def begin(self) -> None:
        """Begin in a child."""
        self._parents, self._own = self._own, None


_all: weakref.WeakSet[Children] = weakref.WeakSet()


def _before_fork() -> None:
    for children in list(_all):
        children.fork()


def _begin_child() -> None:
    for children in list(_all):
        children.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_begin_child)
