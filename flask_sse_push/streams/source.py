"""What a stream sends, and what it is told of it."""

from __future__ import annotations

from typing import Protocol

from ..platform.waiting import Wakeup

__all__ = ["Source"]


class Source(Protocol):
    """Where a stream's bytes come from. All methods are called by the stream, from one thread at a time."""

    channels: tuple[str, ...]
    """What it reads; empty for one request's own stream."""

    outcome: str | None
    """Why there will be nothing more; ``None`` while there may be."""

    has_more: bool
    """Whether the last read left something that was ready."""

    def open(self, wakeup: Wakeup) -> None:
        """Take what it needs, and wake the stream from now on when there is something to read."""

    def close(self) -> None:
        """Give everything back, also where it was never opened. Once more is harmless."""

    def prelude(self) -> bytes:
        """Return what comes before everything else, beside ``retry:``."""

    def read(self) -> bytes:
        """Return everything that is ready, up to a bound; empty when nothing is."""

    def heartbeat(self) -> bytes:
        """Return a sign of life."""

    def farewell(self) -> bytes:
        """Return what is said last when the server stops."""
