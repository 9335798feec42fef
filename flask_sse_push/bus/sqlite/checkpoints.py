"""
How the write-ahead log stays small.

SQLite begins it anew only in a moment in which nobody reads, and with readers at all times there is none: it
grew without end. All readers are ours, and read for a few milliseconds. So who writes looks now and then how
large it is, and empties it when it is too large. Who wants to read waits a moment when it is larger still,
and so does a publisher at last, because on a busy machine a reader may be held up in the middle of a read.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Callable

from .schema import Execute

__all__ = ["Checkpoints"]

_MANY_BYTES = 6 * 1024 * 1024
"""SQLite itself goes back to the beginning at 4 MiB, if it can."""
_TOO_MANY_BYTES = 10 * 1024 * 1024
_FULL_BYTES = 13 * 1024 * 1024

_LOOK_EVERY_BYTES = 256 * 1024
_LOOK_EVERY_READS = 4
_PAGE_BYTES = 4096
_PAUSE_SECONDS = 0.001
_LONGEST_PAUSE_SECONDS = 0.05
"""A process that was stopped in the middle of a read keeps the log from being emptied: the others go on."""
_LONGEST_WAIT_SECONDS = 0.1
_NO_WAIT_SECONDS = 5.0  # after one that was in vain


class Checkpoints:
    """
    Keeps the write-ahead log of one connection small. Not thread-safe.

    Args:
        execute (Execute): Of the connection.
        path (str): The database.
    """

    def __init__(self, execute: Execute, path: str) -> None:
        self._execute = execute
        self._path = f"{path}-wal"
        self._written = self._reads = 0
        self._wait_again_at = 0.0
        self.is_full = False
        """Whether a publisher is to wait for readers, by :meth:`make_room`."""

    def wrote(self, size: int) -> None:
        """
        Empty the write-ahead log, if it is too large. Called behind each transaction that writes; never
        waits.

        Args:
            size (int): About how many bytes of events were written.
        """
        self._written += size + 4 * _PAGE_BYTES
        if self._written >= _LOOK_EVERY_BYTES and not self._empty():
            self.is_full = self._size() > _FULL_BYTES and time.monotonic() >= self._wait_again_at

    def make_room(self, run: Callable[[Callable[[], bool]], bool]) -> None:
        """
        Wait until the write-ahead log can be emptied, a tenth of a second at most. Called in no lock.

        Args:
            run (Callable): Runs a piece of work while nobody else uses the connection, and returns what it
                returns.
        """
        self.is_full = False
        end = time.monotonic() + _LONGEST_WAIT_SECONDS
        while time.monotonic() < end:
            try:
                time.sleep(random.uniform(_PAUSE_SECONDS / 2, _PAUSE_SECONDS))
            except AssertionError:
                return  # gevent's, in a callback of the loop itself, which cannot wait
            if run(self._empty):
                return
        self._wait_again_at = time.monotonic() + _NO_WAIT_SECONDS

    def _empty(self) -> bool:
        """Empty the log if it is too large. Return False when somebody reads or writes: try again."""
        if self._size() > _MANY_BYTES:
            try:
                ((is_busy, _, _),) = self._execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error:
                return False
            if is_busy:
                return False
        self._written = 0
        return True

    def give_way(self) -> None:
        """Wait a moment before a read, while the write-ahead log has to be emptied."""
        self._reads += 1
        if self._reads % _LOOK_EVERY_READS:
            return
        end = 0.0
        while self._size() > _TOO_MANY_BYTES:
            now = time.monotonic()
            end = end or now + _LONGEST_PAUSE_SECONDS
            if now >= end:
                return
            self._reads = -1  # the next read looks too
            time.sleep(_PAUSE_SECONDS)

    def _size(self) -> int:
        try:
            return os.stat(self._path).st_size  # noqa: PTH116  # a quarter of the time
        except OSError:
            return 0
