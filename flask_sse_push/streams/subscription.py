"""A stream's source: a cursor on the log of a hub."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Protocol

from ..core import positions, wire
from ..core.cursor import NONE_REPORTED, Cursor
from ..core.log_cache import NOTHING, Batch
from ..platform.waiting import Wakeup
from .hub import Hub

__all__ = ["Begin", "SnapshotFailed", "SnapshotSource", "Subscription"]

_NOWHERE = ""  # no epoch: the bus is away

_UNPROVEN = "0-0"
"""An id of no log: a client that comes back with it is told of a gap again."""

_FAILED_MILLISECONDS = 5_000, 15_000
"""After how long clients come back when a snapshot has failed: what it reads may be back by then."""


class SnapshotFailed(Exception):
    """A snapshot could not be made: the stream cannot go on, and its client is to come back."""


class SnapshotSource(Protocol):
    """Where the snapshots of channels come from."""

    def covers(self, channels: tuple[str, ...]) -> bool:
        """Return whether a channel has one."""

    def take(self, channels: tuple[str, ...], position: int, wakeup: Wakeup) -> bytes | None:
        """
        Return the snapshots, encoded and without ids, of the channels that have one.

        Args:
            channels (tuple[str, ...]): Of a stream.
            position (int): Where the stream stands: each snapshot was begun when the log ended there or
                further on.
            wakeup (Wakeup): Is woken when it is worth asking again.

        Returns:
            bytes | None: ``None`` while one of them is being made.

        Raises:
            SnapshotFailed: One of them could not be made.
        """

    def leave(self, channels: tuple[str, ...], wakeup: Wakeup) -> None:
        """Forget a stream that may have asked. Once more is harmless."""


class Begin:
    """
    What a client asked for when it opened its stream. Never changed.

    Args:
        last_event_id (str | None): Where the client stopped; anything at all.
        rewind (int): How many of the newest events a client without an id gets first.
        heartbeat (bytes): What says that the stream lives: ``wire.COMMENT`` or ``wire.HEARTBEAT_EVENT``.
    """

    __slots__ = ("heartbeat", "last_event_id", "rewind")

    def __init__(self, last_event_id: str | None, rewind: int = 0, heartbeat: bytes = wire.COMMENT) -> None:
        self.last_event_id, self.rewind, self.heartbeat = last_event_id, rewind, heartbeat


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

    A client that has nothing yet gets the kept values of its channels and their snapshots first, and the id
    of its place behind the last of them; so does one that is told of a gap.

    Args:
        hub (Hub): Where the events are.
        channels (tuple[str, ...]): Checked and granted names, each once.
        begin (Begin): What its client asked for.
        wait_seconds (float): How long to wait until a shared bus has brought the channels.
        snapshots (SnapshotSource | None): Gives snapshots; ``None`` where there are none.
    """

    __slots__ = (
        "_begin",
        "_hub",
        "_is_new",
        "_lost",
        "_reason",
        "_snapshots",
        "_told",
        "_unproven",
        "_wakeup",
        "has_more",
        "outcome",
    )

    def __init__(
        self,
        hub: Hub,
        channels: tuple[str, ...],
        begin: Begin,
        wait_seconds: float = 0.0,
        snapshots: SnapshotSource | None = None,
    ) -> None:
        self.channels = _shared(channels)
        self.epoch, self.position, self.reported = _NOWHERE, 0, NONE_REPORTED
        self.has_more = False
        self.outcome: str | None = None
        self._hub = hub
        self._begin = begin
        self._snapshots = snapshots if snapshots is not None and snapshots.covers(channels) else None
        self._reason: str | None = None
        self._lost = self.channels
        self._unproven = _UNPROVEN
        self._is_new = False  # and has not got what a new client gets
        self._told = 0  # the last position that the client has seen as an id
        self._wakeup: Wakeup | None = None
        if self._find_place(wait_seconds) and begin.last_event_id:
            self._note_end()

    @property
    def has_place(self) -> bool:
        """Whether there is a log to have a position in."""
        return self.epoch is not _NOWHERE

    @property
    def is_complete(self) -> bool:
        """Whether its client came back behind the end of all channels, and has everything."""
        return self.outcome is not None

    def open(self, wakeup: Wakeup) -> None:
        """Listen to the channels."""
        self._hub.attach(self.channels, wakeup)
        self._wakeup = wakeup

    def close(self) -> None:
        """Stop listening."""
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            self._hub.detach(self.channels, wakeup)
            if self._snapshots is not None:
                self._snapshots.leave(self.channels, wakeup)

    def prelude(self) -> bytes:
        """
        Return the position as an ``id:`` alone, where it can be told before everything else.

        Browsers keep it and dispatch nothing, so that a stream cut off before its first event resumes.
        """
        if self.epoch is _NOWHERE:
            last_event_id = self._begin.last_event_id
            if not last_event_id:
                return b"\n"
            # "Set the last event ID string of the event source to the value of the last event ID buffer"
            # (WHATWG 9.2.6): a blank line alone would let a strict client forget where it stands, and come
            # back as if it were new. An id that no log of ours has sent is not repeated: its client hears of
            # the gap when the log is there, and no blank line comes before that.
            id = positions.parse(last_event_id)
            return wire.ID_BLOCK % str(id).encode() if id is not None else b""
        if self._reason is not None or self._is_new:
            # What follows says where the client stands, behind the reset, the kept values and the snapshots.
            # A client that knew its place before them would, cut off in between, never get the rest.
            return b""
        return wire.ID_BLOCK % self._id(self._told).encode()

    def read(self) -> bytes:
        """Return the events that are ready, behind a reset if some are missing."""
        log = self._hub.log
        if log is None or self.epoch is _NOWHERE:
            if not self._find_place():
                return b""
            if not self._begin.last_event_id:
                # Nobody knows what came since the client began to listen.
                self._reason = "unavailable"
            log = self._hub.log
            assert log is not None
        if self._is_new and self.epoch == log.epoch:
            introduction = self._introduce()
            if introduction is None or self._is_new:
                return introduction or b""
            chunk = introduction + self._read_events()
        else:
            chunk = self._read_events()
        if log.has_closed:
            self._note_end()
            if self.outcome is not None and self.position > self._told:
                # The mark may be no event of its own: a client that does not hear of its number would come
                # back before it, again and again.
                self._told = self.position
                chunk += wire.ID_BLOCK % self._id(self._told).encode()
        return chunk

    def _read_events(self) -> bytes:
        log, before = self._hub.log, self.position
        assert log is not None
        # Without the lock, which was a tenth of a delivery. An entry that comes meanwhile wakes this stream
        # again.
        is_same = self.epoch == log.epoch
        batch = NOTHING
        if before < log.head or not is_same:
            found = log.batches.get((self.channels, before)) if is_same else None
            if found is not None and not found[0].lost:
                batch, self.position = found  # another stream has read the same just now
            elif (read := self._hub.read(self)) is not None:
                batch = read
        if batch.reason is not None:
            return self._read_behind_gap(batch, before if is_same else 0)
        self.has_more = batch.has_more
        if batch.last:
            self._told = batch.last
        return batch.wire

    def _read_behind_gap(self, batch: Batch, before: int) -> bytes:
        """
        Tell of a gap. Events that follow it are read again behind what a new client gets: a client that is
        cut off behind the reset comes back before them.
        """
        is_evicted = batch.reason == "evicted"
        self._reason = batch.reason
        # Nobody knows in which of its channels a client has lost something whose position means nothing here.
        self._lost = batch.lost if is_evicted else self.channels
        self._unproven = self._id(before) if is_evicted else _UNPROVEN
        self._is_new = True
        if batch.last:
            self.position = before
        introduction = self._introduce()
        if introduction is None:
            return b""
        if self._is_new:
            return introduction
        return introduction + self._read_events() if batch.last else introduction

    def _introduce(self) -> bytes | None:
        """
        Return a reset if there is one to tell, kept values, snapshots, and the place behind them; ``None``
        while they are not here. When a snapshot has failed, the last words.
        """
        values = self._hub.kept(self.channels, self.position)
        if values is None:
            return None
        if values:
            values = wire.KEPT + values
        if self._snapshots is not None:
            taken = self._take_snapshots(self._snapshots)
            if taken is None or self.outcome is not None:
                return taken
            values += taken
        place = self._id(self.position)
        reason, lost = self._reason, self._lost
        self._is_new, self._reason, self._lost = False, None, self.channels
        self._told = self.position
        self.has_more = False
        if reason is None:
            return values + wire.ID_BLOCK % place.encode()
        if not values:
            return wire.reset(reason, lost, place)
        # The reset has an id in any case: a blank line on a connection without one would let a client that
        # follows the standard by the letter forget its own, and come back as if it had missed nothing.
        return wire.reset(reason, lost, self._unproven) + values + wire.ID_BLOCK % place.encode()

    def _take_snapshots(self, source: SnapshotSource) -> bytes | None:
        if self._wakeup is None or self.outcome is not None:
            return None  # not open yet, or over
        try:
            return source.take(self.channels, self.position, self._wakeup)
        except SnapshotFailed:
            self.outcome = "failed"
            milliseconds = random.randint(*_FAILED_MILLISECONDS)
            return wire.come_back("A snapshot could not be made. Come back later.", milliseconds)

    def heartbeat(self) -> bytes:
        """
        Return the position when it has moved since the client last saw it, else a comment.

        The position of a quiet stream would fall out of the history beside busy channels, and its client be
        told of a gap that is none.
        """
        heartbeat = self._begin.heartbeat
        if self.epoch is _NOWHERE or self._is_new:
            return b":\n"  # no blank line: maybe no id was sent here, see prelude()
        if self.position > self._told:
            self._told = self.position
            place = self._id(self._told).encode()
            is_seen = heartbeat is not wire.COMMENT
            return b"id: %b\n%b" % (place, heartbeat) if is_seen else wire.ID_BLOCK % place
        return heartbeat

    def farewell(self) -> bytes:
        """There is nothing to add: the client resumes."""
        return b""

    def _note_end(self) -> None:
        if not (self._is_new or self._reason) and self._hub.is_finished(
            self.channels, self.epoch, self.position
        ):
            self.outcome = "finished"

    def _find_place(self, wait_seconds: float = 0.0) -> bool:
        begin = self._begin
        start = self._hub.place(self.channels, begin.last_event_id, begin.rewind, wait_seconds)
        if start is None:
            return False
        self.epoch, self.position, self._reason, self._is_new, self.reported = start
        self._told = self.position
        return True

    def _id(self, position: int) -> str:
        return f"{self.epoch}-{position}"
