"""A cursor on the channels of a hub, as the source of a stream."""

from __future__ import annotations

from .concurrency import Bell
from .core import resume
from .core.log import Cursor
from .hub import Hub

__all__ = ["Subscription"]


class Subscription:
    """
    What a client reads of some channels. It holds a position from the start, and a place among the listeners while it is open.

    Args:
        hub (Hub): Where the events are.
        channels (tuple[str, ...]): Checked and granted names, each once.
        last_event_id (str | None): Where the client stopped; anything at all.
    """

    __slots__ = ("_bell", "_cursor", "_hub", "_reason", "_told", "channels")

    outcome: str | None = None

    def __init__(self, hub: Hub, channels: tuple[str, ...], last_event_id: str | None) -> None:
        start = hub.start(last_event_id)
        self.channels = channels
        self._hub = hub
        self._cursor = Cursor(channels, start.position)
        self._reason = start.reason
        self._told = start.position  # the last position that the client has seen as an id
        self._bell: Bell | None = None

    def abandon(self) -> None:
        """Nothing is held before ``open``."""

    def open(self, bell: Bell) -> None:
        """Listen to the channels."""
        self._hub.attach(self.channels, bell)
        self._bell = bell

    def close(self) -> None:
        """Stop listening."""
        assert self._bell is not None
        self._hub.detach(self.channels, self._bell)

    def prelude(self) -> bytes:
        """Return the position as an ``id:`` alone: browsers keep it and dispatch nothing, so that even a stream cut off before its first event resumes."""
        if self._reason is not None:
            return b"\n"  # a client that had the position and not the reset behind it would come back as if it had missed nothing
        return b"id: %s\n\n" % self._hub.position(self._told).encode()

    def read(self) -> bytes:
        """Return the events that are ready, behind a reset if some are missing."""
        batch = self._hub.read(self._cursor)
        reason, self._reason = self._reason, None
        if batch.last:
            self._told = batch.last
        if not batch.lost and reason is None:
            return batch.wire
        # A client of another epoch has lost something in all of its channels.
        lost = self.channels if reason else batch.lost
        if batch.last:
            return resume.reset(reason or "evicted", lost, None) + batch.wire
        self._told = self._cursor.position
        return resume.reset(reason or "evicted", lost, self._hub.position(self._cursor.position))

    def heartbeat(self) -> bytes:
        """
        Return the position when it has moved since the client last saw it, else a comment.

        A quiet stream's position would fall out of the history beside busy channels, and its client be told of a gap that is none.
        """
        if self._cursor.position > self._told:
            self._told = self._cursor.position
            return b"id: %s\n\n" % self._hub.position(self._told).encode()
        return b":\n\n"

    def farewell(self) -> bytes:
        """There is nothing to add: the client resumes."""
        return b""
