"""How all streams end when the server stops."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol

from ..core.session import Cause
from ..platform.gunicorn import MasterWatch
from ..platform.server import Server

__all__ = ["DRAIN_SECONDS", "GRACE_SECONDS", "TICK_SECONDS", "Drain", "Drained"]

TICK_SECONDS = 0.25
"""
How often it asks whether the server stops: so often that gunicorn's worker is gone 5 s after it was told to.
"""

DRAIN_SECONDS = 1.0
"""Over this time the streams end, so that their clients do not all come back at once."""

GRACE_SECONDS = 1.0
"""After this more, those are cut off that still wait for a client to take their last bytes."""


class Drained(Protocol):
    """What it does to a stream."""

    def end(self, cause: Cause) -> None:
        """End soon, and cleanly."""

    def cut_off(self) -> None:
        """End now."""


class Drain:
    """
    Ends all streams when the server stops, over a time and in a random order.

    Clients that came together must not come back together. For one thread.

    Args:
        server (Server): Of this process.
    """

    def __init__(self, server: Server) -> None:
        self._watch = MasterWatch(server.worker) if server.worker is not None else None
        if self._watch is not None:
            self._watch.look()  # the server may be told to stop before the first tick
        self.due_at = 0.0
        """When :meth:`go_on` has something to do next, on the monotonic clock."""
        self._parts: list[list[Drained]] | None = None
        self._cut_off_at = 0.0

    def go_on(self, streams: Sequence[Drained], now: float) -> None:
        """
        End the next part if the server stops; after the last part, whatever is left or came meanwhile.

        Args:
            streams (Sequence): All that there are.
            now (float): On the monotonic clock.
        """
        # The heartbeat's waits end a moment early where its next look is due: that must not cost a whole
        # tick.
        self.due_at = now + 0.9 * TICK_SECONDS
        if self._watch is None or not self._watch.look():
            return
        if self._parts is None:
            count = round(DRAIN_SECONDS / TICK_SECONDS)
            shuffled = random.sample(streams, len(streams))
            self._parts = [shuffled[part::count] for part in range(count)]
            self._cut_off_at = now + DRAIN_SECONDS + GRACE_SECONDS
        for stream in self._parts.pop() if self._parts else streams:
            stream.end(Cause.STOP)
            if now >= self._cut_off_at:
                stream.cut_off()
