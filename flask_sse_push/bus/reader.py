"""What the follower of a shared bus needs of its store: one connection that reads."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ..core.log import Entry
from .base import Report

__all__ = ["MAX_READ_SECONDS", "LogChanged", "Reader", "Tail"]

MAX_READ_SECONDS = 1.0
"""
The longest wait of one read: so often the follower looks whether to stop, and whether the log is the same.
"""


class Tail(NamedTuple):
    """All that a bus keeps, when a process begins to follow it."""

    epoch: str
    """Of the log."""
    position: int
    """The number before the first entry."""
    entries: list[Entry]
    """Everything after it, in order."""


class LogChanged(Exception):
    """Raised by :meth:`Reader.read`: another log is in the place of the one that was followed."""


class Reader(Protocol):
    """
    One connection to the store.

    Its methods raise the faults of its bus (:attr:`FollowedBus.faults`) when the store cannot be used. It is
    closed then, and another one is opened.
    """

    def epoch(self) -> str:
        """Return the epoch of the log, after beginning a log where there is none."""

    def tail(self) -> Tail:
        """Return all that is kept."""

    def read(self, epoch: str, position: int, seconds: float) -> list[Entry]:
        """
        Return some entries behind a position, in order.

        Args:
            epoch (str): Of the log that is followed.
            position (int): The number of the last entry that was read.
            seconds (float): How long to wait when there is none, at most :data:`MAX_READ_SECONDS`; 0 for not
                at all.

        Raises:
            LogChanged: The log is another one.
        """

    def wake(self) -> None:
        """Let a :meth:`read` that waits return soon. Called from any thread; never raises."""

    def report(self, report: Report) -> None:
        """Store what this process says of itself for :data:`base.LEASE_SECONDS`."""

    def withdraw(self) -> None:
        """Remove the report: this process stops following."""

    def close(self) -> None:
        """Let go of everything. Never raises."""
