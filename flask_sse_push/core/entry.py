"""One event with its number, and what it costs in memory."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CHANNEL_OVERHEAD_BYTES", "ENTRY_OVERHEAD_BYTES", "PLACE_OVERHEAD_BYTES", "Entry"]

ENTRY_OVERHEAD_BYTES = 250
"""What an entry costs beside its bytes (a test weighs it)."""

PLACE_OVERHEAD_BYTES = 64
"""What an entry costs for each of its channels, beside the bytes of the name (a test weighs it)."""

CHANNEL_OVERHEAD_BYTES = 1_000
"""What a channel with entries costs: mostly the first block of a deque (a test weighs it)."""


@dataclass(slots=True, eq=False)  # never changed; a named tuple takes twice as long to make and to read
class Entry:
    """One event with its number; all of its channels share the object."""

    sequence: int
    """Its number: from 1, rising, and given once per bus and epoch."""

    channels: tuple[str, ...]
    """The channels that it was published to, each once."""

    wire: bytes
    """What every stream sends, ``id:`` line included; empty where there is nothing to send."""

    appended_at: float
    """Seconds on a monotonic clock."""

    key: str | None = None
    """
    The key under which each of its channels keeps it, until an entry with the same key comes. With an empty
    ``wire`` it says that the value of the key is forgotten.
    """

    closes: bool = False
    """Whether its channels are closed behind it."""
