"""
What a forked child inherits and must not use.

A child has copies of all objects of its parent, of its files, and in gevent of its greenlets. Four rules
stand here and in the backends: a value made for one process is made anew in another (:class:`PerProcess`); a
greenlet that a backend's ``spawn`` started never comes back from a wait in a child (it asks :func:`forks`);
a file that such a greenlet waits for is taken away from the child (:func:`keep_from_children`); and what is
closed at the end of a process is closed by the process that opened it (:func:`close_with`).
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakValueDictionary, finalize, ref

__all__ = ["Children", "PerProcess", "close_with", "forks", "keep_from_children"]

T = TypeVar("T")


class _HasFile(Protocol):
    def fileno(self) -> int: ...


class PerProcess(Generic[T]):
    """
    A value that is made on first use in each process, and anew after a fork.

    Thread-safe without a lock, which a fork could leave locked for ever: two threads may both make a value,
    and one of the two is kept. So making it must have no effect of its own.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self.made: dict[int | None, T] = {}
        """The value, once it is made. ``made.get(None) or get()`` spares a hot path one call."""
        _values[id(self)] = self

    def get(self) -> T:
        """Return the value of this process."""
        process = None if _process is None else _process()
        value = self.made.get(process)
        if value is None:
            value = self.made.setdefault(process, self._make())
        return value

    def take(self) -> T | None:
        """Return the value of this process if it was made, and let the next :meth:`get` make a new one."""
        made, self.made = self.made, {}
        return made.get(None if _process is None else _process())

    def forget(self) -> None:
        """Let the next :meth:`get` make a new value."""
        self.made = {}


class Children:
    """
    Tells a process, for one app, whether a child that was forked from it serves the app.

    Then what this process publishes may be heard by nobody there. The byte that a child sets is shared
    memory, made right before the first fork.
    """

    def __init__(self) -> None:
        self._own: mmap.mmap | None = None  # set by the children of this process
        self._parents: mmap.mmap | None = None  # set by this process
        _families[id(self)] = self

    @property
    def serve(self) -> bool:
        """Whether a child has served a request."""
        return self._own is not None and self._own[0] == 1

    def tell_parent(self) -> None:
        """Say that this process serves, to the one that it was forked from, if any."""
        if self._parents is not None:
            self._parents[0] = 1

    def _before_fork(self) -> None:
        if self._own is None:
            try:
                self._own = mmap.mmap(-1, 1)
            except OSError:
                pass  # no memory is left: then a warning is missing later, and nothing else

    def _in_child(self) -> None:
        self._parents, self._own = self._own, None


def forks() -> int:
    """Return a number that is another one in each child process."""
    return _forks


def keep_from_children(file: _HasFile) -> None:
    """
    Take a file away from every child that is forked from now on, as long as the object lives and is open.

    In the child its number then belongs to a file that is never ready. So the child cannot read what its
    parent waits for, does not keep the parent's connection open, cannot change a set of the kernel's that it
    would share (epoll), and its loop is not kept busy by a file that stays readable and that nobody there
    reads.

    Args:
        file (object): Has ``fileno()``, which returns a negative number or raises when it is closed.
    """
    _files[id(file)] = file


def close_with(owner: object, close: Callable[[], object]) -> None:
    """
    Close something when nobody holds its owner any more, or at the end of the process.

    A ``__del__`` would come too late: in a cycle, which every Flask app is, the garbage collector may come to
    the file first, and that warns of itself. The end of a forked child closes nothing of its parent's, whose
    threads may have been in the middle of it.

    Args:
        owner (object): Whose it is.
        close (Callable): Does not raise, and does not refer to the owner. Called from any thread, at any
            place where the interpreter lets finalizers in.
    """
    reference, process = ref(owner), os.getpid()

    def end() -> None:
        if reference() is None or os.getpid() == process:
            close()

    finalize(owner, end)


# By id(), because not all of these can be hashed. Weak dictionaries give their values as a list in one step
# of the interpreter's, while other threads add to them; a WeakSet does not.
_values: WeakValueDictionary[int, PerProcess[Any]] = WeakValueDictionary()
_families: WeakValueDictionary[int, Children] = WeakValueDictionary()
_files: WeakValueDictionary[int, _HasFile] = WeakValueDictionary()

# To ask for the process' number is a call into the kernel, several for each event. Python tells us of its
# forks; but uWSGI forks without telling Python.
_process: Callable[[], int] | None = os.getpid if "uwsgi" in sys.modules else None

_forks = 0


def _living(objects: WeakValueDictionary[int, T]) -> list[T]:
    return [found for reference in objects.valuerefs() if (found := reference()) is not None]


def _before_fork() -> None:
    for family in _living(_families):
        family._before_fork()  # noqa: SLF001


def _begin_child() -> None:
    global _forks  # noqa: PLW0603
    _forks += 1
    for values in _living(_values):
        values.forget()
    for family in _living(_families):
        family._in_child()  # noqa: SLF001
    _take_files_away()


def _take_files_away() -> None:
    never_ready = None
    for file in _living(_files):
        try:
            if (fileno := file.fileno()) >= 0:
                if never_ready is None:
                    # The reading end of a pipe into which nobody writes, and whose other end stays open.
                    never_ready, _ = os.pipe()
                os.dup2(never_ready, fileno, inheritable=False)
        except (OSError, ValueError):
            pass  # it was closed; or no file is left
    _files.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_begin_child)
