"""A cursor on the log of a hub, as the source of a stream."""

from __future__ import annotations

from functools import lru_cache

from ..core import positions, wire
from ..core.log import Cursor
from ..platform.waiting import Wakeup
from .hub import Hub

__all__ = ["Subscription"]


_NOWHERE = ""  # no epoch: the bus is away


@lru_cache(maxsize=512)
def _shared(channels: tuple[str, ...]) -> tuple[str, ...]:
    """Thousands of streams read the same channels: one tuple, with one set of names, is found in the processor's cache."""
    return channels


class Subscription(Cursor):
    """
    What a client reads of some channels. It holds a position from the start, and a place among the listeners while it is open.

    Where the bus is away, there is no log yet to have a position in: the stream begins without, and finds its place when the log is there.

    Args:
        hub (Hub): Where the events are.
        channels (tuple[str, ...]): Checked and granted names, each once.
        last_event_id (str | None): Where the client stopped; anything at all.
    """

    __slots__ = ("_hub", "_last_event_id", "_reason", "_told", "_wakeup", "has_more")

    outcome: str | None = None
    is_woken_in_turns = True

    def __init__(self, hub: Hub, channels: tuple[str, ...], last_event_id: str | None) -> None:
        super().__init__(_shared(channels), 0, _NOWHERE)
        self.has_more = False
        self._hub = hub
        self._last_event_id = last_event_id
        self._reason: str | None = None
        self._told = 0  # the last position that the client has seen as an id
        self._wakeup: Wakeup | None = None
        self._find_place()

    def abandon(self) -> None:
        """Nothing is held before ``open``."""

    def open(self, wakeup: Wakeup) -> None:
        """Listen to the channels."""
        self._hub.attach(self.channels, wakeup)
        self._wakeup = wakeup

    def close(self) -> None:
        """Stop listening."""
        assert self._wakeup is not None
        self._hub.detach(self.channels, self._wakeup)

    def prelude(self) -> bytes:
        """Return the position as an ``id:`` alone: browsers keep it and dispatch nothing, so that even a stream cut off before its first event resumes."""
        if self.epoch is _NOWHERE:
            if not self._last_event_id:
                return b"\n"
            # "Set the last event ID string of the event source to the value of the last event ID buffer" (WHATWG 9.2.6): a blank line alone would
            # let a strict client forget where it stands, and come back as if it were new. One that none of our logs has sent is not repeated,
            # and its client hears of the gap when the log is there: no blank line comes before that.
            id = positions.parse(self._last_event_id)
            return b"id: %s\n\n" % str(id).encode() if id is not None else b""
        if self._reason is not None:
            return b""  # the reset follows at once, and says where it stands; a client that knew that before and not the reset would miss the gap
        return self._id_block()

    def read(self) -> bytes:
        """Return the events that are ready, behind a reset if some are missing."""
        if self.epoch is _NOWHERE:
            if not self._find_place():
                return b""
            if not self._last_event_id:
                # Nobody knows what came since the client began to listen.
                self._reason = "unavailable"
        before, epoch = self.position, self.epoch
        batch = self._hub.read(self)
        self.has_more = batch.has_more
        events, last = batch.wire, batch.last
        if last:
            self._told = last
        reason = self._reason or batch.reason
        if reason is None:
            return events
        self._reason = None
        # Nobody knows in which of its channels a client has lost something whose position means nothing here.
        lost = batch.lost if reason == "evicted" else self.channels
        # While old events follow, the reset says where its client stands before them: cut behind it, the client comes back there. It says so
        # in any case, for a blank line on a connection without an id would let a strict client forget its own.
        if last:
            return wire.reset(reason, lost, self._id(before if epoch == self.epoch else 0)) + events
        self._told = self.position
        return wire.reset(reason, lost, self._id(self.position))

    def heartbeat(self) -> bytes:
        """
        Return the position when it has moved since the client last saw it, else a comment.

        A quiet stream's position would fall out of the history beside busy channels, and its client be told of a gap that is none.
        """
        if self.epoch is _NOWHERE:
            return b":\n"  # maybe no id was sent here: see prelude()
        if self.position > self._told:
            self._told = self.position
            return self._id_block()
        return b":\n\n"

    def farewell(self) -> bytes:
        """There is nothing to add: the client resumes."""
        return b""

    def _find_place(self) -> bool:
        start = self._hub.start(self._last_event_id)
        if start is None:
            return False
        self.epoch, self.position, self._reason = start
        self._told = self.position
        return True

    def _id(self, position: int) -> str:
        return f"{self.epoch}-{position}"

    def _id_block(self) -> bytes:
        return b"id: %s\n\n" % self._id(self._told).encode()
