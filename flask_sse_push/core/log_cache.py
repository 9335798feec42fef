"""Batches that were joined for one stream, kept for all other streams at the same place."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MAX_CACHED_BATCHES", "MAX_CACHED_BYTES", "NOTHING", "Batch", "BatchCache"]

MAX_CACHED_BYTES = 4 * 1024 * 1024
"""Enough for thousands of clients that resume from places all over the history."""

MAX_CACHED_BATCHES = 1_000
"""A batch without entries has no bytes, and costs memory all the same."""


@dataclass(slots=True)  # never changed; a frozen class takes three times as long to make
class Batch:
    """What one read of a cursor returns; shared by all streams at the same place."""

    wire: bytes
    """
    Entries in order, joined, behind a comment where one of them is a value that its channels keep; empty when
    there is nothing new.
    """

    last: int
    """The number of the last entry in ``wire``; 0 when ``wire`` is empty."""

    lost: tuple[str, ...]
    """Channels in which entries before this batch are gone: the client must hear of them before ``wire``."""

    reason: str | None
    """
    Why the entries are gone: the log has ``"evicted"`` them, or the cursor comes from another log
    (``"epoch"``). ``None`` when nothing is lost.
    """

    has_more: bool = False
    """Whether the read stopped at the size of a batch, before the end of the log."""


NOTHING = Batch(b"", 0, (), None)
"""What a cursor at the end of the log reads."""


class BatchCache(dict[tuple[tuple[str, ...], int], tuple[Batch, int]]):
    """
    Batches by the place of the cursor, which is its channels and its position.

    The value is the batch and the position behind it. Readers use ``get`` of ``dict``: one step of the
    interpreter, so a thread without the lock of the log finds a whole value or none.
    """

    __slots__ = ("_size_bytes",)

    def __init__(self) -> None:
        super().__init__()
        self._size_bytes = 0

    def keep(self, place: tuple[tuple[str, ...], int], found: tuple[Batch, int]) -> None:
        """Remember what was read at a place; a full cache starts again from empty."""
        size = len(found[0].wire)
        if len(self) >= MAX_CACHED_BATCHES or self._size_bytes + size > MAX_CACHED_BYTES:
            self.clear()
        self._size_bytes += size
        self[place] = found

    def clear(self) -> None:
        """Forget all batches, because the log has changed."""
        super().clear()
        self._size_bytes = 0
