"""Where a stream stands in the log, and where it begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["NONE_REPORTED", "Cursor", "Start"]

NONE_REPORTED: Mapping[str, int] = {}
"""No loss was reported to a cursor, or it has read past all of them."""


class Cursor:
    """
    A stream's place in the log. Not thread-safe: it belongs to its stream.

    Args:
        channels (tuple[str, ...]): What the stream reads, each once.
        position (int): The number of the last entry that the stream has read; 0 for none.
        epoch (str): The epoch of the log that the number belongs to.
    """

    __slots__ = ("channels", "epoch", "position", "reported")

    def __init__(self, channels: tuple[str, ...], position: int, epoch: str) -> None:
        self.channels = channels
        """What the stream reads."""
        self.epoch = epoch
        """The epoch of the log that the position belongs to."""
        self.position = position
        """Every entry up to this number was read, or was reported as lost."""
        self.reported: Mapping[str, int] = NONE_REPORTED
        """Per channel: the watermark up to which losses were reported already."""


class Start(NamedTuple):
    """Where a stream begins, and whether its client must hear of a gap first."""

    epoch: str
    """The epoch of the log that the position belongs to."""

    position: int
    """The stream reads what comes after this number."""

    reason: str | None = None
    """Why continuity cannot be proved; ``None`` when it can, or when the first read will tell."""

    is_new: bool = False
    """Whether the client has nothing yet: it gets the kept values first."""

    reported: Mapping[str, int] = NONE_REPORTED
    """Per channel: what was lost before the stream began, and is none of its client's business."""
