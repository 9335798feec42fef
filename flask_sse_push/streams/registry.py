"""
The open streams of one process, and the heartbeat that looks after them.

The heartbeat is one greenlet or thread, alive while a stream is open. It has silent streams send a sign of
life, ends those whose client hung up, cuts off those whose client takes nothing, and ends all when the server
stops.
"""

from __future__ import annotations

import atexit
import logging
import time
from functools import partial
from typing import Protocol

from ..core.session import Cause
from ..platform.backends import current_backend
from ..platform.fork import PerProcess
from ..platform.gunicorn import lost_master
from ..platform.hangups import Hangups
from ..platform.locks import ReentrantLock
from ..platform.server import Connection
from ..platform.waiting import Backend
from .drain import DRAIN_SECONDS, GRACE_SECONDS, TICK_SECONDS, Drain

__all__ = ["MAX_LOOK_SECONDS", "StreamRegistry", "SupervisedStream", "process_registry"]

MAX_LOOK_SECONDS = 1.0
"""
How often the heartbeat looks at each stream, at least: thousands cost a millisecond, and time-outs are in
seconds.
"""

_LOOK_SECONDS = 0.005

logger = logging.getLogger("flask_sse_push")


class SupervisedStream(Protocol):
    """What the registry knows of a stream."""

    connection: Connection
    """What sends it."""
    heartbeat_seconds: float
    """How long its client may hear nothing."""
    write_timeout_seconds: float
    """How long its client may take nothing of a write."""

    @property
    def observer(self) -> object:
        """Whose it is."""

    def look(self, now: float, looked_at: float, margin_seconds: float) -> None:
        """Do what is due at a time; see :meth:`Stream.look`."""

    def end(self, cause: Cause) -> None:
        """End soon, and cleanly where the client is there."""

    def cut_off(self) -> None:
        """End now: the client takes nothing."""

    def close(self) -> None:
        """Give everything back. :class:`ValueError` while its thread or greenlet runs it."""


class StreamRegistry:
    """The open streams of this process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = ReentrantLock()
        self._streams: dict[SupervisedStream, None] = {}
        self._hangups: Hangups[SupervisedStream] | None = None  # while the heartbeat runs
        self._look_seconds = MAX_LOOK_SECONDS

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, stream: SupervisedStream, limit: int) -> bool:
        """
        Look after a stream from now on.

        Args:
            stream (SupervisedStream): Not added yet.
            limit (int): How many the process may have with this one.

        Returns:
            bool: False when there are too many already; the stream was not added.

        Raises:
            RuntimeError: No thread can be started; the stream was not added.
        """
        with self._lock:
            if len(self._streams) >= limit:
                return False
            self._streams[stream] = None
            self._look_seconds = min(self._look_seconds, stream.heartbeat_seconds / 8)
            starts = self._hangups is None
            hangups = self._hangups = self._hangups or Hangups()
        if starts:
            self._start(stream, hangups)
        if stream.connection.sock is not None:
            hangups.add(stream.connection.sock, stream, stream.write_timeout_seconds)
        return True

    def remove(self, stream: SupervisedStream) -> None:
        """Undo :meth:`add`; before the server closes the socket."""
        with self._lock:
            del self._streams[stream]
            if self._hangups is not None:
                self._hangups.remove(stream)

    def end_streams_of(self, observer: object) -> None:
        """
        Ask the streams of one app to end, and wait for that. Who takes nothing for a second is cut off.

        Args:
            observer (object): Who is told of their lives.
        """
        streams = [stream for stream in list(self._streams) if stream.observer is observer]
        for stream in streams:
            stream.end(Cause.STOP)
        until = time.monotonic() + GRACE_SECONDS
        pause = current_backend().wakeup()
        while any(stream in self._streams for stream in streams) and time.monotonic() < until:
            pause.wait(_LOOK_SECONDS)
        for stream in streams:
            if stream not in self._streams:
                continue
            stream.cut_off()
            try:
                stream.close()  # nobody may ask for more of it, as in a test that has left its response open
            except ValueError:
                pass  # its thread or greenlet runs, and ends it

    def drain_at_exit(self) -> None:
        """
        End the streams of a gunicorn worker whose process ends though nobody told it to stop, and wait for
        them.

        So ends a worker whose app raised SystemExit from a signal handler of its own, or whose master was
        killed. One that was told has ended its streams, or was not to wait.
        """
        with self._lock:
            worker = next(iter(self._streams)).connection.server.worker if self._streams else None
        if worker is None or not (worker.alive or lost_master(worker)):
            return
        worker.alive = False
        until = time.monotonic() + DRAIN_SECONDS + GRACE_SECONDS + 2 * TICK_SECONDS
        while self._streams and time.monotonic() < until:
            time.sleep(0.02)

    def _start(self, stream: SupervisedStream, hangups: Hangups[SupervisedStream]) -> None:
        atexit.unregister(
            _drain_at_exit
        )  # so that it is there once, and runs before what was registered earlier
        atexit.register(_drain_at_exit)
        backend = current_backend()
        drain = Drain(stream.connection.server)
        try:
            backend.spawn(partial(self._run, backend, hangups, drain), "flask_sse_push.heartbeat")
        except RuntimeError:
            with self._lock:
                del self._streams[stream]
                self._hangups = None
            hangups.close()
            raise

    def _run(self, backend: Backend, hangups: Hangups[SupervisedStream], drain: Drain) -> None:
        looked_at = time.monotonic()
        while streams := self._streams_now():
            try:
                # Up to the next look: a hang-up ends the wait early, and a whole tick after that would come
                # too late for some sign of life.
                look_seconds = self._look_seconds
                until_look = looked_at + look_seconds - time.monotonic()
                for stream in hangups.wait(backend, max(0.0, min(TICK_SECONDS, until_look))):
                    stream.end(Cause.HANG_UP)
                now = time.monotonic()
                if now >= drain.due_at:
                    drain.go_on(streams, now)
                if now - looked_at >= look_seconds:
                    before, looked_at = looked_at, now
                    for stream in backend.in_turns(streams):
                        try:
                            stream.look(now, before, look_seconds)
                        except Exception:
                            logger.exception(
                                "A stream could not be looked after; the heartbeat comes to it again."
                            )
            except Exception:
                logger.exception("The heartbeat failed and goes on.")
                backend.wakeup().wait(TICK_SECONDS)
        hangups.close()

    def _streams_now(self) -> list[SupervisedStream]:
        """Return the streams that there are; the heartbeat ends when there is none."""
        with self._lock:
            if not self._streams:
                self._hangups, self._look_seconds = None, MAX_LOOK_SECONDS
            return list(self._streams)


process_registry: PerProcess[StreamRegistry] = PerProcess(StreamRegistry)
"""The registry of this process."""


def _drain_at_exit() -> None:
    process_registry.get().drain_at_exit()  # in a child of the process that registered this it is a new one
