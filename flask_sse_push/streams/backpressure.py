"""The guard against bursts that outrun the history."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from .fanout import Fanout

__all__ = ["MAX_HOLD_SECONDS", "Backpressure"]

MAX_HOLD_SECONDS = 0.1
"""
The longest that one publish waits for streams that have not come to read: on a busy machine a thread may need
that.
"""


class Backpressure:
    """
    Makes a publisher give way when it would push out what no stream had a chance to read. Thread-safe.

    It waits for streams that could read and have not come to it, and never for a client.

    Args:
        fanout (Fanout): Who listens, and what they have not been woken for.
        max_events (int): Half of the history of most channels.
        max_bytes (int): Half of what the history may weigh.
        followed_to (Callable): Returns the number of the last event that has come here, or ``None`` where
            nothing is on its way, because the bus is away.
    """

    def __init__(
        self, fanout: Fanout, max_events: int, max_bytes: int, followed_to: Callable[[], int | None]
    ) -> None:
        self._fanout = fanout
        self._max_events, self._max_bytes = max_events, max_bytes
        self._followed_to = followed_to

    def hold(self, channels: tuple[str, ...], sequence: int, until: float = math.inf) -> None:
        """
        Return when the streams have come to read, after a tenth of a second at most. Called in no lock.

        Args:
            channels (tuple[str, ...]): To which something was published.
            sequence (int): Its number: it must come here first, from a shared bus or by another thread.
            until (float): When the publish must be over, on the monotonic clock.
        """
        fanout = self._fanout
        if not fanout.listeners or not self._is_burst(channels, sequence):
            return
        if fanout.pending_bytes + fanout.current_bytes >= self._max_bytes:
            # Bytes of one channel push out the events of all others too.
            channels = (*channels, *list(fanout.pending), *list(fanout.current))
        end = min(time.monotonic() + MAX_HOLD_SECONDS, until)
        while time.monotonic() < end and fanout.give_way():
            # A copy of a dict is one step of the interpreter's: no lock is needed, which this stack may hold.
            waiting = (w for channel in channels for w in list(fanout.listeners.get(channel, ())))
            if not self._is_burst(channels, sequence) and not any(wakeup.is_pending for wakeup in waiting):
                return

    def _is_burst(self, channels: tuple[str, ...], sequence: int) -> bool:
        fanout = self._fanout
        pending, current = fanout.pending, fanout.current
        if pending:
            if fanout.pending_bytes + fanout.current_bytes >= self._max_bytes:
                return True
            for channel in channels:
                if pending.get(channel, 0) + current.get(channel, 0) >= fanout.limit_of(channel):
                    return True
        head = self._followed_to()
        if head is None or sequence - head < self._max_events:
            return False
        # What nobody hears may not come here at all, and is not waited for.
        return any(channel in fanout.listeners for channel in channels)
