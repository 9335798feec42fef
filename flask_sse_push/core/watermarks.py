"""What the log remembers of channels whose entries are all gone."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["MAX_WATERMARKS", "Watermarks"]

MAX_WATERMARKS = 100_000
"""How many channels without entries have a watermark of their own."""


class Watermarks(OrderedDict[str, int]):
    """
    The watermarks of channels that hold no entry.

    A *watermark* is the number of the newest entry that a channel has dropped: a cursor below it has missed
    something there. The *floor* is the watermark of every channel that has none of its own. The oldest of too
    many watermarks raises the floor, so the floor may report a gap where there is none, and never hides one.

    Args:
        floor (int): Up to this number nothing is known of any channel.
    """

    def __init__(self, floor: int) -> None:
        super().__init__()
        self.floor = floor

    def keep(self, channel: str, watermark: int) -> None:
        """Remember the watermark of a channel that has dropped its last entry."""
        self[channel] = watermark
        if len(self) > MAX_WATERMARKS:
            self.floor = max(self.floor, self.popitem(last=False)[1])
