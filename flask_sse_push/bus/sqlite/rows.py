"""The rows of the table of entries: those that this package wrote, and the others, which are poison."""

from __future__ import annotations

import logging
from typing import NamedTuple

from ...core.channels import MAX_CHANNELS_PER_EVENT

__all__ = [
    "CLOCK_TOLERANCE_SECONDS",
    "ENTRIES",
    "MAX_CHANNELS_LENGTH",
    "PoisonEntry",
    "PoisonLog",
    "is_time",
]

ENTRIES = """
    SELECT sequence, CASE WHEN length(channels) <= ? THEN channels END, CASE WHEN typeof(block) = 'blob' AND
    length(block) <= ? THEN block END, appended_at FROM entries WHERE sequence BETWEEN ? AND ?
"""
"""
Selects what :class:`SqliteReader` takes, without values that are too long. Its parameters are the longest
text of channels, the longest block, and the first and the last number.
"""

MAX_CHANNELS_LENGTH = MAX_CHANNELS_PER_EVENT * 129
"""Of the channels in one row: names of at most 128 characters, with a line feed between two."""

CLOCK_TOLERANCE_SECONDS = 1.0

logger = logging.getLogger("flask_sse_push")


class PoisonEntry(NamedTuple):
    """
    A row that this package did not write, or that was damaged since. It is left out, and clients are told of
    a gap.
    """

    sequence: int
    """Its number."""
    reason: str
    """What is wrong with it, for people."""


class PoisonLog:
    """
    Logs once of each poison entry that it was left out, though each reader of the database meets it again.

    Args:
        path (str): Of the database.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._epoch = ""
        self._sequence = 0

    def warn(self, epoch: str, poison: list[PoisonEntry]) -> None:
        """
        Log the entries of which this was not said before.

        Args:
            epoch (str): Of the log that they are in.
            poison (list[PoisonEntry]): In the order of their numbers.
        """
        if self._epoch != epoch:
            self._epoch, self._sequence = epoch, 0
        news = [entry for entry in poison if entry.sequence > self._sequence]
        if news:
            self._sequence = news[-1].sequence
            logger.warning(
                "%d of the entries in %r were left out, and clients are told of a gap: "
                "the first is number %d, %s. "
                "Find out which other program writes there; the file may be damaged.",
                len(news),
                self._path,
                news[0].sequence,
                news[0].reason,
            )


def is_time(value: object, now: float) -> bool:
    """
    Say whether a value can be when an entry was stored: one of the future would make all before it look too
    old.
    """
    return type(value) in (int, float) and 0 <= value <= now + CLOCK_TOLERANCE_SECONDS  # type: ignore[operator]
