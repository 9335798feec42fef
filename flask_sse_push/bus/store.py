"""What a shared bus needs of its store while it follows it: one connection that reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..core.entry import Entry
from ..core.past import Past
from .base import Report

__all__ = [
    "MAX_READ_SECONDS",
    "Beginning",
    "BrokenLog",
    "LogChanged",
    "News",
    "Reader",
    "StoredEntry",
    "Tail",
    "Wanted",
]

MAX_READ_SECONDS = 1.0
"""
The longest wait of one read: so often the follower looks whether to stop, and whether the log is the same.
"""


class StoredEntry(NamedTuple):
    """An entry, and what proves that nothing before it is missing."""

    entry: Entry
    before: tuple[int, ...]
    """
    For each of its channels, in order, the number of the entry before it there, 0 for none; ``~n`` where that
    is not known, and at most ``n``.
    """


class Wanted(NamedTuple):
    """One channel whose past is asked for."""

    channel: str
    behind: int | None
    """The entries above this number; ``None`` for none, only what comes from now on."""


class Tail(NamedTuple):
    """The past of a channel, and the end of its chain."""

    past: Past
    last: int
    """The number of its last entry, 0 for none; ``~n`` where that is not known, and at most ``n``."""


class News(NamedTuple):
    """What a read brings."""

    entries: Sequence[StoredEntry]
    """Of the channels that are listened to, in the order of their numbers."""
    head: int
    """There is no other entry of these channels up to this number."""
    tails: Sequence[Tail] = ()
    """
    What was asked for by :meth:`Reader.tail`, one for each channel. Each has everything that its channel held
    up to its ``last``; an entry behind that comes later.
    """


class Beginning(NamedTuple):
    """The log that a reader finds."""

    epoch: str
    head: int


class LogChanged(Exception):
    """Raised by :meth:`Reader.read` and :meth:`Reader.tail`: another log is in the place of this one."""


class BrokenLog(Exception):
    """Raised by the follower: what a reader says of the log cannot be. Another reader is opened."""


class Reader(Protocol):
    """
    One connection to the store. Its owner calls it from one thread, but for :meth:`wake`.

    Its methods raise the faults of its bus (:attr:`StoredBus.faults`) when the store cannot be used. It is
    closed then, and another one is opened.
    """

    def begin(self) -> Beginning:
        """
        Return the log, after beginning one where there is none, and write beside it how much is to be kept.

        Called first, and again after :class:`LogChanged`: then nothing is listened to any more.
        """

    def tail(self, wanted: Sequence[Wanted], head: int) -> News:
        """
        Listen to some channels from now on, and return their pasts.

        Args:
            wanted (Sequence[Wanted]): At most 256 channels.
            head (int): What the last read returned, or :meth:`begin`; before the first read, the number up to
                which the channels were read by an earlier connection. What comes behind it in channels that
                were listened to before is among the entries of this read or of the next.

        Raises:
            LogChanged: The log is another one.
        """

    def ignore(self, channels: Sequence[str]) -> None:
        """Listen to some channels no longer."""

    def read(self, head: int, seconds: float) -> News:
        """
        Return what came.

        Args:
            head (int): See :meth:`tail`.
            seconds (float): How long to wait when there is nothing, at most :data:`MAX_READ_SECONDS`; 0 for
                not at all.

        Raises:
            LogChanged: The log is another one.
        """

    def wake(self) -> None:
        """
        Let the :meth:`read` that waits return soon, or the next one where none does. From any thread; never
        raises.
        """

    def report(self, report: Report) -> None:
        """Store what this process says of itself for :data:`base.LEASE_SECONDS`."""

    def withdraw(self) -> None:
        """Remove the report: this process stops following."""

    def close(self) -> None:
        """Let go of everything. Never raises."""
