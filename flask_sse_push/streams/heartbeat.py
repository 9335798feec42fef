"""
One greenlet or thread per process that looks after all open streams.

It has silent streams send a sign of life, ends those whose client hung up, cuts off those whose client takes nothing,
and ends all when the server stops.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from ..core.session import Cause
from ..platform.gunicorn import MasterWatch
from ..platform.hangups import Hangups
from ..platform.server import Server
from ..platform.waiting import Backend

__all__ = ["DRAIN_GRACE_SECONDS", "DRAIN_SECONDS", "MAX_LOOK_SECONDS", "TICK_SECONDS", "Heartbeat"]

TICK_SECONDS = 0.25
"""How often it asks whether the server stops: so often that gunicorn's worker is gone 5 s after it was told to."""

MAX_LOOK_SECONDS = 1.0
"""How often it looks at each stream, at least: thousands cost a millisecond, and time-outs are given in seconds."""

DRAIN_SECONDS = 1.0
"""Over this time the streams end when the server stops, so that their clients do not all come back at once."""

DRAIN_GRACE_SECONDS = 1.0
"""After this more, those are cut off that still wait for a client to take their last bytes."""

logger = logging.getLogger("flask_sse_push")


class Supervised(Protocol):
    """What the heartbeat does to a stream; see :class:`flask_sse_push.streams.stream.Stream`."""

    def look(self, now: float, looked_at: float, margin_seconds: float) -> None:
        """Do what is due at a time."""

    def end(self, cause: Cause) -> None:
        """End soon."""

    def cut_off(self) -> None:
        """End now."""


S = TypeVar("S", bound=Supervised)


class Heartbeat(Generic[S]):
    """
    The rounds over the streams of a process.

    Args:
        hangups (Hangups): Tells whose client has hung up. Closed at the end.
    """

    def __init__(self, hangups: Hangups[S]) -> None:
        self.hangups = hangups
        """The clients' sockets."""
        self.look_seconds = MAX_LOOK_SECONDS
        """How often it looks at each stream."""

    def run(self, backend: Backend, server: Server, streams_now: Callable[[], list[S]]) -> None:
        """
        Go on until there is no stream. The body of a greenlet or thread.

        Args:
            backend (Backend): Its own.
            server (Server): What sends the streams.
            streams_now (Callable): Returns the streams that there are.
        """
        drain = _Drain[S](server)
        looked_at = time.monotonic()
        while streams := streams_now():
            try:
                # Up to the next look: a hang-up ends the wait early, and a whole tick after that would come too late
                # for some sign of life.
                until_look = looked_at + self.look_seconds - time.monotonic()
                for stream in self.hangups.wait(backend, max(0.0, min(TICK_SECONDS, until_look))):
                    stream.end(Cause.HANG_UP)
                now = time.monotonic()
                drain.go_on(streams, now)
                if now - looked_at >= self.look_seconds:
                    before, looked_at = looked_at, now
                    for stream in backend.in_turns(streams):
                        stream.look(now, before, self.look_seconds)
            except Exception:
                logger.exception("The heartbeat failed and goes on.")
                backend.wakeup().wait(TICK_SECONDS)
        self.hangups.close()


class _Drain(Generic[S]):
    """
    Ends all streams when the server stops, over a time and in a random order.

    Clients that came together must not come back together.
    """

    def __init__(self, server: Server) -> None:
        # Looked at once before the first round: the server may be told to stop before the first tick.
        self._watch = MasterWatch(server.worker) if server.worker is not None else None
        if self._watch is not None:
            self._watch.look()
        self._parts: list[list[S]] | None = None
        self._cut_off_at = 0.0

    def go_on(self, streams: list[S], now: float) -> None:
        """End the next part if the server stops; after the last part, whatever is left or came meanwhile."""
        if self._watch is None or not self._watch.look():
            return
        if self._parts is None:
            count = round(DRAIN_SECONDS / TICK_SECONDS)
            shuffled = random.sample(streams, len(streams))
            self._parts = [shuffled[part::count] for part in range(count)]
            self._cut_off_at = now + DRAIN_SECONDS + DRAIN_GRACE_SECONDS
        for stream in self._parts.pop() if self._parts else streams:
            stream.end(Cause.STOP)
            if now >= self._cut_off_at:
                stream.cut_off()
