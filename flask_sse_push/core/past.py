"""What a store still has of one channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .entry import Entry

__all__ = ["Past"]


class Past(NamedTuple):
    """
    What a store still has of one channel, at one moment: the process that gets it knows everything of the
    channel between ``max(behind, lost_up_to)`` and that moment.
    """

    channel: str
    """Its name."""
    behind: int
    """What was asked for: the entries above this number."""
    lost_up_to: int
    """
    The number of the newest entry above ``behind`` that is gone; 0 where none is. An entry with a key is not
    gone when a newer one with its key came: it was replaced.
    """
    entries: Sequence[Entry]
    """The entries without a key above ``behind``, those that forget a value, and the one that closes it."""
    kept: Sequence[Entry]
    """All values that it keeps by their keys, in the order of their numbers."""
    closed: int = 0
    """The number of the entry that closed it; 0 while it is open."""
    closed_at: float = 0.0
    """When that was, in seconds on a monotonic clock."""
