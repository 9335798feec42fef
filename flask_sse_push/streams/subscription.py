"""A stream's source: a cursor on the log of a hub."""

from __future__ import annotations

from functools import lru_cache

from ..core import positions, wire
from ..core.cursor import NONE_REPORTED, Cursor
from ..core.log_cache import NOTHING
from ..platform.waiting import Wakeup
from .hub import Hub

__all__ = ["Subscription"]


_NOWHERE = ""  # no epoch: the bus is away


@lru_cache(maxsize=512)
def _shared(channels: tuple[str, ...]) -> tuple[str, ...]:
    """
    Return one tuple for thousands of streams of the same channels: it is found in the processor's cache.
    """
    return channels


class Subscription(Cursor):
    """
    What a client reads of some channels: a position, and while it is open a place among the listeners.

    Where the bus is away, there is no log yet to have a position in. The stream then begins without one, and
    finds its place when the log is there.

    Args:
        hub (Hub): Where the events are.
        channels (tuple[str, ...]): Checked and granted names, each once.
        last_event_id (str | None): Where the client stopped; anything at all.
        wait_seconds (float): How long to wait while a shared bus is read for the first time.
        heartbeat (bytes): What says that the stream lives: ``wire.COMMENT`` or ``wire.HEARTBEAT_EVENT``.
    """

    __slots__ = ("_heartbeat", "_hub", "_last_event_id", "_reason", "_told", "_wakeup", "has_more")

    outcome: str | None = None

    def __init__(
        self,
        hub: Hub,
        channels: tuple[str, ...],
        last_event_id: str | None,
        wait_seconds: float = 0.0,
        heartbeat: bytes = wire.COMMENT,
    ) -> None:
        self.channels = _shared(channels)
        self.epoch, self.position, self.reported = _NOWHERE, 0, NONE_REPORTED
        self.has_more = False
        self._hub = hub
        self._heartbeat = heartbeat
        self._last_event_id = last_event_id
        self._reason: str | None = None
        self._told = 0  # the last position that the client has seen as an id
        self._wakeup: Wakeup | None = None
        self._find_place(wait_seconds)

    @property
    def has_place(self) -> bool:
        """Whether there is a log to have a position in."""
        return self.epoch is not _NOWHERE

    def open(self, wakeup: Wakeup) -> None:
        """Listen to the channels."""
        self._hub.attach(self.channels, wakeup)
        self._wakeup = wakeup

    def close(self) -> None:
        """Stop listening."""
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            self._hub.detach(self.channels, wakeup)

    def prelude(self) -> bytes:
        """
        Return the position as an ``id:`` alone.

        Browsers keep it and dispatch nothing, so that a stream cut off before its first event resumes.
        """
        if self.epoch is _NOWHERE:
            if not self._last_event_id:
                return b"\n"
            # "Set the last event ID string of the event source to the value of the last event ID buffer"
            # (WHATWG 9.2.6): a blank line alone would let a strict client forget where it stands, and come
            # back as if it were new. An id that no log of ours has sent is not repeated: its client hears of
            # the gap when the log is there, and no blank line comes before that.
            id = positions.parse(self._last_event_id)
            return wire.ID_BLOCK % str(id).encode() if id is not None else b""
        if self._reason is not None:
            # The reset follows at once, and says where it stands. A client that knew that before the reset
            # would, cut off between the two, never hear of the gap.
            return b""
        return wire.ID_BLOCK % self._id(self._told).encode()

    def read(self) -> bytes:
        """Return the events that are ready, behind a reset if some are missing."""
        log = self._hub.log
        if log is None or self.epoch is _NOWHERE:
            if not self._find_place():
                return b""
            if not self._last_event_id:
                # Nobody knows what came since the client began to listen.
                self._reason = "unavailable"
            log = self._hub.log
            assert log is not None
        before, epoch = self.position, self.epoch
        # Without the lock, which was a tenth of a delivery. An entry that comes meanwhile wakes this stream
        # again.
        if before >= log.head and epoch == log.epoch:
            batch = NOTHING
        else:
            found = log.batches.get((self.channels, before)) if epoch == log.epoch else None
            if found is not None and not found[0].lost:
                batch, self.position = found  # another stream has read the same just now
            else:
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
        # While old events follow, the reset says where its client stands before them: a client that is cut
        # off behind the reset comes back there. It says so in any case, for a blank line on a connection
        # without an id would let a strict client forget its own.
        if last:
            return wire.reset(reason, lost, self._id(before if epoch == self.epoch else 0)) + events
        self._told = self.position
        return wire.reset(reason, lost, self._id(self.position))

    def heartbeat(self) -> bytes:
        """
        Return the position when it has moved since the client last saw it, else a comment.

        The position of a quiet stream would fall out of the history beside busy channels, and its client be
        told of a gap that is none.
        """
        if self.epoch is _NOWHERE:
            return b":\n"  # no blank line: maybe no id was sent here, see prelude()
        if self.position > self._told:
            self._told = self.position
            place = self._id(self._told).encode()
            is_seen = self._heartbeat is not wire.COMMENT
            return b"id: %b\n%b" % (place, self._heartbeat) if is_seen else wire.ID_BLOCK % place
        return self._heartbeat

    def farewell(self) -> bytes:
        """There is nothing to add: the client resumes."""
        return b""

    def _find_place(self, wait_seconds: float = 0.0) -> bool:
        start = self._hub.place(self._last_event_id, wait_seconds)
        if start is None:
            return False
        self.epoch, self.position, self._reason = start
        self._told = self.position
        return True

    def _id(self, position: int) -> str:
        return f"{self.epoch}-{position}"
