"""The open streams of one process."""

from __future__ import annotations

import atexit
import time
from typing import Protocol

from ..core.session import Cause
from ..platform.backends import current_backend
from ..platform.fork import PerProcess
from ..platform.gunicorn import lost_master
from ..platform.hangups import Hangups
from ..platform.locks import ReentrantLock
from ..platform.server import Connection
from ..platform.sockets import bound_waits
from .heartbeat import DRAIN_GRACE_SECONDS, DRAIN_SECONDS, TICK_SECONDS, Heartbeat

__all__ = ["StreamRegistry", "SupervisedStream", "process_registry"]


class SupervisedStream(Protocol):
    """What the registry and the heartbeat know of a stream."""

    connection: Connection
    """What sends it."""
    heartbeat_seconds: float
    """How long the client may hear nothing."""

    @property
    def write_timeout_seconds(self) -> float:
        """How long one write may wait for the client."""

    def look(self, now: float, looked_at: float, margin_seconds: float) -> None:
        """Do what is due at a time; see :meth:`Stream.look`."""

    def end(self, cause: Cause) -> None:
        """End soon, and cleanly where the client is there."""

    def cut_off(self) -> None:
        """End now: the client takes nothing."""


class StreamRegistry:
    """The open streams of this process, and the heartbeat that runs while there are any. Thread-safe."""

    def __init__(self) -> None:
        self._lock = ReentrantLock()
        self._streams: dict[SupervisedStream, None] = {}
        self._heartbeat: Heartbeat[SupervisedStream] | None = None  # while it runs

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
            starts = self._heartbeat is None
            if self._heartbeat is None:
                self._heartbeat = Heartbeat(Hangups())
            heartbeat = self._heartbeat
            heartbeat.look_seconds = min(heartbeat.look_seconds, stream.heartbeat_seconds / 8)
        if starts:
            self._start(stream, heartbeat)
        sock = stream.connection.sock
        if sock is not None:
            bound_waits(sock, stream.write_timeout_seconds)
            heartbeat.hangups.add(sock, stream)
        return True

    def remove(self, stream: SupervisedStream) -> None:
        """Undo :meth:`add`; before the server closes the socket."""
        with self._lock:
            del self._streams[stream]
            if self._heartbeat is not None:
                self._heartbeat.hangups.remove(stream)

    def drain_at_exit(self) -> None:
        """
        End the streams of a gunicorn worker whose process ends though nobody told it to stop, and wait for them.

        So ends a worker whose app raised SystemExit from a signal handler of its own, or whose master was killed. One
        that was told has ended its streams, or was not to wait.
        """
        with self._lock:
            worker = next(iter(self._streams)).connection.server.worker if self._streams else None
        if worker is None or not (worker.alive or lost_master(worker)):
            return
        worker.alive = False
        until = time.monotonic() + DRAIN_SECONDS + DRAIN_GRACE_SECONDS + 2 * TICK_SECONDS
        while self._streams and time.monotonic() < until:
            time.sleep(0.02)

    def _start(self, stream: SupervisedStream, heartbeat: Heartbeat[SupervisedStream]) -> None:
        atexit.unregister(
            _drain_at_exit
        )  # so that it is there once, and runs before what was registered earlier
        atexit.register(_drain_at_exit)
        backend = current_backend()
        server = stream.connection.server
        try:
            backend.spawn(lambda: heartbeat.run(backend, server, self._round), "flask_sse_push.heartbeat")
        except RuntimeError:
            with self._lock:
                del self._streams[stream]
                self._heartbeat = None
            heartbeat.hangups.close()
            raise

    def _round(self) -> list[SupervisedStream]:
        """Return the streams that the heartbeat is to look after; none when it is to end."""
        with self._lock:
            if not self._streams:
                self._heartbeat = None
            return list(self._streams)


process_registry: PerProcess[StreamRegistry] = PerProcess(StreamRegistry)
"""The registry of this process."""


def _drain_at_exit() -> None:
    process_registry.get().drain_at_exit()  # in a child of the process that registered this it is a new one
