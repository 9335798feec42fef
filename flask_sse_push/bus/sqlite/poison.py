"""Rows that are no entries of ours, and how that is said."""

from __future__ import annotations

import logging
from typing import NamedTuple

__all__ = ["PoisonEntry", "PoisonLog"]

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
