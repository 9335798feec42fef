"""A source turned into the chunks of one response."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

from . import server as servers
from .concurrency import Bell, current_mode
from .heartbeat import process_heartbeat
from .server import Server
from .settings import Settings

__all__ = ["Observer", "Source", "Stream", "StreamInfo"]

LAST_WORDS_SECONDS = 1.0
"""How long a stream that is to end goes on sending what is ready: a busy channel must not keep a worker from stopping."""

UNKNOWN_SERVER = Server("unknown server")

# A browser that is told to come later waits this long: long enough for room, and not all at once.
_FULL_RETRY_MILLISECONDS = (15_000, 60_000)


class Source(Protocol):
    """Where a stream's bytes come from."""

    channels: tuple[str, ...]
    """What it reads; empty for one request's own stream."""

    outcome: str | None
    """Why there will be nothing more; ``None`` while there may be."""

    def open(self, bell: Bell) -> None:
        """Take what it needs, and ring when there is something to read."""

    def close(self) -> None:
        """Give everything back. Called once after every ``open``, from the thread or greenlet that reads."""

    def abandon(self) -> None:
        """Give back what it had before ``open``: it will not be opened."""

    def prelude(self) -> bytes:
        """Return what comes before everything else, beside ``retry:``."""

    def read(self) -> bytes:
        """Return everything that is ready, up to a bound; empty when nothing is."""

    def heartbeat(self) -> bytes:
        """Return a sign of life."""

    def farewell(self) -> bytes:
        """Return what is said last when the server stops."""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What observers learn of a stream."""

    channels: tuple[str, ...]
    """What it reads; empty for :meth:`SSEPush.response`."""
    last_event_id: str | None
    """What its client sent when it came; not checked."""
    remote_address: str | None
    """``REMOTE_ADDR`` of its request."""


class Observer(Protocol):
    """Who is told of a stream's life."""

    def stream_opened(self, info: StreamInfo) -> None:
        """Its first byte is about to be sent."""

    def stream_closed(self, info: StreamInfo, reason: str) -> None:
        """It is over and holds nothing any more."""

    def stream_refused(self, reason: str) -> None:
        """Its client was asked to come later: ``"full"`` or ``"draining"``."""


class Stream:
    """
    The iterable that the server sends: it waits for a bell, reads its source, and never holds a queue.

    Nothing is taken before the server asks for the first chunk: a server may close what it never began to send
    (HEAD, a client that left), and a generator that was not started runs no ``finally``.

    Args:
        source (Source): Where the bytes come from.
        settings (Settings): Time-outs and limits.
        info (StreamInfo): Told to the observer.
        observer (Observer): Told of opening, closing and refusal.
    """

    __slots__ = (
        "_beat",
        "_bell",
        "_chunks",
        "_closed",
        "_end_by",
        "_ending",
        "_info",
        "_limit",
        "_observer",
        "_retry_milliseconds",
        "_source",
        "heartbeat_seconds",
        "server",
        "silent_since",
        "sock",
        "write_timeout_seconds",
        "writing_since",
    )

    def __init__(self, source: Source, settings: Settings, info: StreamInfo, observer: Observer) -> None:
        self.server = UNKNOWN_SERVER
        """What sends it; told by :meth:`bind`."""
        self.sock: socket.socket | None = None
        """The client's socket, where the server shows it."""
        # Streams that got an event together are silent together: they must not all beat together too.
        self.heartbeat_seconds = settings.heartbeat_seconds * random.uniform(0.75, 1)
        self.write_timeout_seconds = settings.write_timeout_seconds
        self.silent_since = 0.0
        self.writing_since: float | None = None
        self._source = source
        self._info = info
        self._observer = observer
        self._retry_milliseconds = settings.retry_milliseconds
        self._limit = 1
        self._bell: Bell | None = None
        self._beat = self._closed = False
        self._ending: str | None = None
        self._end_by = 0.0
        self._chunks = self._run()

    def bind(self, server: Server, sock: socket.socket | None, limit: int) -> None:
        """
        Say what sends this stream, before the first chunk.

        Args:
            server (Server): The server of this process.
            sock (socket.socket | None): The client's socket, where the server shows it.
            limit (int): How many streams the process may have with this one.
        """
        self.server, self.sock, self._limit = server, sock, limit

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> bytes:
        if self._closed:
            raise StopIteration
        self.writing_since = None
        chunk = next(self._chunks)
        self.silent_since = self.writing_since = time.monotonic()
        return chunk

    def close(self) -> None:
        """Give everything back. Any number of times, before the first chunk or after the last."""
        if self._bell is None and not self._closed:
            self._source.abandon()
        self._closed = True
        self._chunks.close()

    def beat(self) -> None:
        """Send a heartbeat, unless there is something better to send. From any thread."""
        self._beat = True
        self._ring()

    def end(self, reason: str) -> None:
        """
        End soon: at once when the client is ``"gone"``, else after what is ready was sent. From any thread.
        """
        if reason == "gone" and self.sock is not None:
            servers.forget_error(self.sock)
        # Who was cut off looks gone too; who is to come back may go before.
        if self._ending is None or (reason == "gone" and self._ending != "stalled"):
            self._ending, self._end_by = reason, time.monotonic() + LAST_WORDS_SECONDS
        self._ring()

    def cut_off(self) -> None:
        """End now: the client takes nothing, and a write may be waiting for it. From any thread."""
        self._ending = "stalled"
        if self.sock is not None:
            servers.cut(self.sock)
        self._ring()

    def abandon(self) -> None:
        """Give everything back though the server has not called ``close``. From any thread."""
        try:
            self.close()
        except ValueError:
            pass  # it runs at this moment, so it is not abandoned

    def _ring(self) -> None:
        bell = self._bell
        if bell is not None:
            bell.ring()

    def _run(self) -> Generator[bytes, None, None]:
        heartbeat = process_heartbeat.get()
        self._bell = bell = current_mode().bell()
        self.silent_since = time.monotonic()
        try:
            refused = "draining" if self.server.stopping else None if heartbeat.add(self, self._limit) else "full"
        except BaseException:
            self._source.abandon()
            raise
        if refused is not None:
            self._source.abandon()
            self._observer.stream_refused(refused)
            yield _refusal(refused, self._retry_milliseconds)
            return
        source = self._source
        opened = False
        try:
            if self.sock is not None:
                servers.bound_waits(self.sock, self.write_timeout_seconds)
            source.open(bell)
            opened = True
            self._observer.stream_opened(self._info)
            yield _retry_line(self._retry_milliseconds) + source.prelude() + source.read()
            while self._ending not in ("gone", "stalled"):
                chunk = source.read()
                if chunk and (self._ending is None or source.outcome is not None or time.monotonic() < self._end_by):
                    self._beat = False
                    yield chunk
                elif source.outcome is not None:
                    return
                elif self._ending is not None:
                    yield source.farewell() + _retry_line(self._retry_milliseconds) + b"\n"
                    return
                elif self._beat:
                    self._beat = False
                    yield source.heartbeat()
                else:
                    bell.wait()
        finally:
            heartbeat.remove(self)
            source.close() if opened else source.abandon()
            # Still writing means that the server came no more: its write failed.
            left = "closed" if self.writing_since is None else "gone"
            if opened:
                self._observer.stream_closed(self._info, self._ending or source.outcome or left)


def _retry_line(milliseconds: int) -> bytes:
    """Within half of it, so that clients cut off together come back apart: browsers add nothing of their own."""
    return b"retry: %d\n" % random.uniform(milliseconds * 0.5, milliseconds * 1.5)


def _refusal(reason: str, retry_milliseconds: int) -> bytes:
    """
    The answer to a client that is to come later. Any status but 200 would stop an ``EventSource`` for ever.
    """
    if reason == "full":
        return b": This server has as many streams as it may have. Come back later.\nretry: %d\n\n" % random.uniform(*_FULL_RETRY_MILLISECONDS)
    return b": This server is stopping. Come back.\n" + _retry_line(retry_milliseconds) + b"\n"
