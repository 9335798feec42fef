"""
One greenlet or thread per process that looks after all open streams.

It tells silent streams to send a heartbeat, ends those whose client hung up, cuts those whose client takes nothing, and ends all
when the server stops. It is alive while a stream is open.
"""

from __future__ import annotations

import atexit
import logging
import random
import socket
import time
from typing import Protocol

from ..platform.backends import current_backend
from ..platform.fork import PerProcess
from ..platform.gunicorn import MasterWatch, lost_master
from ..platform.hangups import Hangups
from ..platform.locks import short_lock, when_free
from ..platform.server import Server
from ..platform.sockets import bound_waits
from ..platform.waiting import Backend

__all__ = ["Heartbeat", "Kept", "process_heartbeat"]

TICK_SECONDS = 0.25
"""How often it asks whether the server stops: often enough for gunicorn's worker to be gone in 5 s after it was told to stop."""

MAX_LOOK_SECONDS = 1.0
"""How often it looks at each stream, at least: thousands of streams cost a millisecond, and time-outs are given in seconds."""

DRAIN_SECONDS = 1.0
"""Over this time the streams end when the server stops, so that their clients do not all come back at once."""

ABANDONED_SECONDS = 5.0
"""So long after a stream was cut off, what it held is taken back: middleware that forgets close() is against PEP 3333, and common."""

DRAIN_GRACE_SECONDS = 1.0
"""After this more, those are cut that still wait for a client to take their last bytes."""

logger = logging.getLogger("flask_sse_push")


class Kept(Protocol):
    """What the heartbeat knows of a stream."""

    writing_since: float | None
    """Since when the server is busy with them; ``None`` when it is not."""
    heartbeat_seconds: float
    """How long the client may hear nothing."""
    sock: socket.socket | None
    """The client's, where the server shows it."""
    write_timeout_seconds: float
    server: Server

    def silent_for(self, now: float, looked_at: float) -> float:
        """Return for how many seconds its client has heard nothing, given the time of the last look."""

    def beat(self) -> None:
        """Send a sign of life."""

    def end(self, reason: str) -> None:
        """End soon, and cleanly where the client is there."""

    def cut_off(self) -> None:
        """End now: the client takes nothing."""

    def abandon(self) -> None:
        """Give back what it holds: the server will not come for it any more."""


class Heartbeat:
    """The open streams of this process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = short_lock()
        self._streams: dict[Kept, None] = {}
        self._new: dict[Kept, None] = {}  # not watched yet
        self._running = False
        self._look_seconds = MAX_LOOK_SECONDS
        self._hangups: Hangups[Kept] | None = None

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, stream: Kept, limit: int) -> bool:
        """
        Look after a stream from now on.

        Args:
            stream (Kept): Not added yet.
            limit (int): How many the process may have with this one.

        Returns:
            bool: False when there are too many already; the stream was not added.

        Raises:
            RuntimeError: No thread can be started; the stream was not added.
        """
        with when_free(self._lock):
            if len(self._streams) >= limit:
                return False
            self._streams[stream] = None
            self._new[stream] = None
            self._look_seconds = min(self._look_seconds, stream.heartbeat_seconds / 8)
            if self._hangups is None:
                self._hangups = Hangups()
            start, self._running = not self._running, True
        if start:
            atexit.unregister(
                _drain_at_exit
            )  # so that it is there once, and runs before what was registered earlier
            atexit.register(_drain_at_exit)
            backend = current_backend()
            try:
                backend.spawn(lambda: self._run(backend), "flask_sse_push.streams.heartbeat")
            except RuntimeError:
                self.remove(stream)
                with when_free(self._lock):
                    self._running = False
                raise
        return True

    def remove(self, stream: Kept) -> None:
        """Undo :meth:`add`; before the server closes the socket."""
        with when_free(self._lock):
            del self._streams[stream]
            self._new.pop(stream, None)
            if self._hangups is not None:
                self._hangups.remove(stream)

    def drain_at_exit(self) -> None:
        """
        End the streams of a gunicorn worker whose process ends though nobody told it to stop, and wait for them.

        So ends a worker whose app raised SystemExit from a signal handler of its own, or whose master was killed. One that was told has ended its
        streams, or was not to wait.
        """
        with when_free(self._lock):
            worker = next(iter(self._streams)).server.worker if self._streams else None
        if worker is None or not (worker.alive or lost_master(worker)):
            return
        worker.alive = False
        until = time.monotonic() + DRAIN_SECONDS + DRAIN_GRACE_SECONDS + 2 * TICK_SECONDS
        while self._streams and time.monotonic() < until:
            time.sleep(0.02)

    def _watch_new(self, backend: Backend, hangups: Hangups[Kept]) -> None:
        # Not with each request: these are five calls into the kernel, which cost far less one stream after the other, and the crowd that comes
        # back after a restart has its answers sooner. A hang-up that is older than the watch is seen when the watch begins.
        for stream in backend.in_turns(list(self._new)):
            with when_free(self._lock):
                if stream not in self._new:
                    continue  # it has ended, and its socket may be closed
                if stream.sock is not None:
                    bound_waits(stream.sock, stream.write_timeout_seconds)
                    hangups.add(stream.sock, stream)
                del self._new[
                    stream
                ]  # last: where a signal handler raised on the way here, the next tick does it all again

    def _run(self, backend: Backend) -> None:
        drain = _Drain()
        looked_at = time.monotonic()
        while True:
            with when_free(self._lock):
                hangups = self._hangups
                if not self._streams or hangups is None:
                    self._running, self._hangups, self._look_seconds = False, None, MAX_LOOK_SECONDS
                    break
                streams = list(self._streams)
                look_seconds = self._look_seconds
            try:
                drain.begin(streams[0].server)
                self._watch_new(backend, hangups)
                # Up to the next look: a hang-up ends the wait early, and a whole tick after that would come too late for some heartbeat.
                until_look = looked_at + look_seconds - time.monotonic()
                gone = hangups.wait(backend, max(0.0, min(TICK_SECONDS, until_look)))
                for stream in gone:
                    stream.end("gone")
                now = time.monotonic()
                drain.look(streams, now)
                if now - looked_at >= look_seconds:
                    before, looked_at = looked_at, now
                    for stream in backend.in_turns(streams):
                        _look_at(stream, now, before, look_seconds)
            except Exception:
                logger.exception("The heartbeat stumbled and goes on.")
                backend.wakeup().wait(TICK_SECONDS)
        if hangups is not None:
            hangups.close()


class _Drain:
    """Ends all streams when the server stops, over a time and at random: those that came together must not come back together."""

    def __init__(self) -> None:
        self._watch: MasterWatch | None = None
        self._parts: list[list[Kept]] | None = None
        self._cut_at = 0.0

    def begin(self, server: Server) -> None:
        """Look at the server for the first time: it may be told to stop before the first tick."""
        if self._watch is None and server.worker is not None:
            self._watch = MasterWatch(server.worker)
            self._watch.look()

    def look(self, streams: list[Kept], now: float) -> None:
        """Look whether the server stops, and end streams if it does."""
        if self._watch is not None:
            self._watch.look()
        if streams[0].server.stopping:
            self._go_on(streams, now)

    def _go_on(self, streams: list[Kept], now: float) -> None:
        """End the next part; after the last, whatever is left or came meanwhile."""
        if self._parts is None:
            parts = round(DRAIN_SECONDS / TICK_SECONDS)
            shuffled = random.sample(streams, len(streams))
            self._parts = [shuffled[part::parts] for part in range(parts)]
            self._cut_at = now + DRAIN_SECONDS + DRAIN_GRACE_SECONDS
        for stream in self._parts.pop() if self._parts else streams:
            stream.end("draining")
            if now >= self._cut_at:
                stream.cut_off()


def _look_at(stream: Kept, now: float, looked_at: float, look_seconds: float) -> None:
    writing_since = stream.writing_since
    if writing_since is not None:
        if now - writing_since >= stream.write_timeout_seconds:
            stream.cut_off()
        if now - writing_since >= stream.write_timeout_seconds + ABANDONED_SECONDS:
            stream.abandon()
    elif stream.silent_for(now, looked_at) >= stream.heartbeat_seconds - look_seconds:
        stream.beat()


process_heartbeat: PerProcess[Heartbeat] = PerProcess(Heartbeat)
"""The heartbeat of this process."""


def _drain_at_exit() -> None:
    process_heartbeat.get().drain_at_exit()  # in a child of the process that registered this it is a new one, without streams
