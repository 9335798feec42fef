"""A source turned into the chunks of one response."""

from __future__ import annotations

import errno
import random
import socket
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from ..core import positions, wire
from ..extension.clients import ANYBODY, Place
from ..extension.settings import Settings
from ..platform import sockets
from ..platform.backends import current_backend
from ..platform.gunicorn import is_server_asking, sends_whole_body
from ..platform.server import Server
from ..platform.waiting import Wakeup
from .heartbeat import Heartbeat, process_heartbeat

if TYPE_CHECKING:
    from .direct import DirectBell

__all__ = ["Observer", "Source", "Stream", "StreamInfo"]

LAST_WORDS_SECONDS = 1.0
"""How long a stream that is to end goes on sending what is ready: a busy channel must not keep a worker from stopping."""

UNKNOWN_SERVER = Server("unknown server")

_HARD_ENDINGS = frozenset({"gone", "stalled"})  # there is nobody to send anything to

# A browser that is told to come later waits this long: long enough for room, and not all at once.
_LATER_MILLISECONDS = (15_000, 60_000)


_REFUSALS = {
    "draining": "This server is stopping. Come back.",
    "full": "This server has as many streams as it may have. Come back later.",
    "client": "This client has as many streams as it may have. Come back later.",
    "unknown client": "This server cannot tell whose stream this would be. Come back later.",
    "bus": "This server cannot read the events of its app. Come back later.",
}


def _nothing_to_close() -> None:
    """The stream has begun, or its server cannot be told."""


class Source(Protocol):
    """Where a stream's bytes come from."""

    channels: tuple[str, ...]
    """What it reads; empty for one request's own stream."""

    outcome: str | None
    """Why there will be nothing more; ``None`` while there may be."""

    is_woken_in_turns: bool
    """Whether who rings makes way for others between two streams: then its bytes may be sent by who rings. It has no outcome of its own."""

    has_more: bool
    """Whether the last read left something that was ready."""

    def open(self, wakeup: Wakeup) -> None:
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
    """
    Where its client said it stopped, if that can be the id of an event: a position in a log, or for
    :meth:`SSEPush.response` 1 to 64 letters, digits and ``. _ ~ -``. Else ``None``: a client can send
    anything, and observers write this into logs.
    """
    remote_address: str | None
    """``REMOTE_ADDR`` of its request."""

    def __post_init__(self) -> None:
        id = self.last_event_id
        if id is not None and not (positions.parse(id) if self.channels else positions.is_token(id)):
            object.__setattr__(self, "last_event_id", None)


class Observer(Protocol):
    """Who is told of a stream's life."""

    def stream_opened(self, info: StreamInfo, is_direct: bool) -> None:
        """Its first byte is about to be sent; ``is_direct``: by the express lane from then on."""

    def stream_closed(self, info: StreamInfo, reason: str, is_direct: bool) -> None:
        """It is over and holds nothing any more."""

    def stream_refused(self, reason: str) -> None:
        """Its client was asked to come later: ``"full"``, ``"draining"``, ``"client"``, ``"unknown client"`` or ``"bus"``."""


class Stream:
    """
    The iterable that the server sends: it waits for a wakeup, reads its source, and never holds a queue.

    Nothing is taken before the server asks for the first chunk: a server may close what it never began to send
    (HEAD, a client that left), and a generator that was not started runs no ``finally``.

    Args:
        source (Source): Where the bytes come from.
        settings (Settings): Time-outs and limits.
        info (StreamInfo): Told to the observer.
        observer (Observer): Told of opening, closing and refusal.
        place (Place): What it takes from its client's share while it is open.
    """

    __slots__ = (
        "_beat",
        "_chunks",
        "_close_connection",
        "_closed",
        "_end_by",
        "_ending",
        "_ends_abruptly",
        "_info",
        "_is_body",
        "_lane",
        "_limit",
        "_observer",
        "_place",
        "_response",
        "_retry_milliseconds",
        "_silent_since",
        "_source",
        "_wake",
        "_wakeup",
        "heartbeat_seconds",
        "is_bare",
        "rest",
        "server",
        "sock",
        "write_timeout_seconds",
        "writing_since",
    )

    def __init__(
        self, source: Source, settings: Settings, info: StreamInfo, observer: Observer, place: Place = ANYBODY
    ) -> None:
        self.server = UNKNOWN_SERVER
        """What sends it; told by :meth:`bind`."""
        self.sock: socket.socket | None = None
        """The client's socket, where the server shows it."""
        # Streams that got an event together are silent together: they must not all beat together too.
        self.heartbeat_seconds = settings.heartbeat_seconds * random.uniform(0.75, 1)
        self.write_timeout_seconds = settings.write_timeout_seconds
        self._silent_since = 0.0
        self.writing_since: float | None = None
        self.rest = b""
        """What the express lane could not send, framed: its greenlet sends it before anything else."""
        self.is_bare = False
        """Whether nothing of this package is around it: then its :meth:`close` is the last that the server hears of it."""
        self._source = source
        self._info = info
        self._observer = observer
        self._place = place
        self._retry_milliseconds = settings.retry_milliseconds
        self._ends_abruptly = settings.abrupt_end and bool(source.channels)
        self._limit = 1
        self._response: Any = None
        self._close_connection: Callable[[], None] = _nothing_to_close
        self._is_body = False
        self._lane: DirectBell | None = None
        self._wake: Wakeup | None = None
        self._wakeup: Wakeup | None = None
        self._beat = self._closed = False
        self._ending: str | None = None
        self._end_by = 0.0
        self._chunks = self._run()

    def bind(
        self,
        server: Server,
        sock: socket.socket | None,
        limit: int,
        response: Any = None,
        close_connection: Callable[[], None] = _nothing_to_close,
    ) -> None:
        """
        Say what sends this stream, before the first chunk.

        Args:
            server (Server): The server of this process.
            sock (socket.socket | None): The client's socket, where the server shows it.
            limit (int): How many streams the process may have with this one.
            response (Any): What :func:`server.plain_response` returned.
            close_connection (Callable): Called before the answer to a client that is refused: its connection is to end with that.
        """
        self.server, self.sock, self._limit, self._response, self._close_connection = (
            server,
            sock,
            limit,
            response,
            close_connection,
        )

    def __eq__(self, other: object) -> bool:
        if self._response is not None and is_server_asking(self):
            self._is_body = True
        return self is other

    __hash__ = object.__hash__

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> bytes:
        if self._closed:
            raise StopIteration
        self.writing_since = None
        chunk = next(self._chunks)
        self._silent_since = self.writing_since = time.monotonic()
        return chunk

    def close(self) -> None:
        """Give everything back. Any number of times, before the first chunk or after the last. Called by the server, or by what stands before it."""
        self._give_back()
        if self.is_bare:
            sockets.hush_timeout()

    def _give_back(self) -> None:
        if self._wakeup is None and not self._closed:
            self._source.abandon()
        self._closed = True
        self._chunks.close()

    def silent_for(self, now: float, looked_at: float) -> float:
        """
        Return for how many seconds the client has heard nothing, or less. Called by the heartbeat alone.

        Args:
            now (float): On the clock of ``time.monotonic``.
            looked_at (float): When this was called last: the express lane notes that it has sent something, and not when.
        """
        if self._lane is not None and self._lane.has_sent:
            self._lane.has_sent = False
            self._silent_since = looked_at
        return now - self._silent_since

    def beat(self) -> None:
        """Send a heartbeat, unless there is something better to send. From any thread."""
        self._beat = True
        if self._wakeup is not None:
            self._wakeup.wake()

    def end(self, reason: str) -> None:
        """
        End soon: at once when the client is ``"gone"``, else after what is ready was sent. From any thread.
        """
        if reason == "gone" and self.sock is not None:
            sockets.forget_error(self.sock)
        # Who was cut off looks gone too; who is to come back may go before.
        if self._ending is None or (reason == "gone" and self._ending != "stalled"):
            self._ending, self._end_by = reason, time.monotonic() + LAST_WORDS_SECONDS
        self._awake()

    def cut_off(self) -> None:
        """End now: the client takes nothing, and a write may be waiting for it. From any thread."""
        self._ending = "stalled"
        if self.sock is not None:
            sockets.cut(self.sock)
        self._awake()

    def abandon(self) -> None:
        """Give everything back though the server has not called ``close``. From any thread."""
        try:
            self._give_back()
        except ValueError:
            pass  # it runs at this moment, so it is not abandoned

    def take(self) -> bytes:
        """Return what is to be sent now; empty when there is nothing. Called by the stream's greenlet, or by who rings while that waits."""
        ending, source = self._ending, self._source
        if ending in _HARD_ENDINGS:
            return b""
        chunk = source.read()
        if chunk and (ending is None or source.outcome is not None or time.monotonic() < self._end_by):
            self._beat = False
            return chunk
        if self._beat and ending is None and source.outcome is None:
            self._beat = False
            return source.heartbeat()
        return b""

    def _awake(self) -> None:
        if self._wake is not None:
            self._wake.wake()

    def _hang_bells(self) -> Wakeup:
        """Make the bells: here a stream takes the express lane, or the portable way."""
        self._wake = self._wakeup = current_backend().wakeup()
        if self._is_body and self._source.is_woken_in_turns and sends_whole_body(self._response):
            self._wakeup = self._lane = _direct_bell()(self, self._source, self._wake, self._response)
        return self._wakeup

    def _send_rest(self) -> None:
        """Send what the express lane could not, as the server itself would: waiting, and cut off by the heartbeat's watch."""
        assert self.sock is not None
        rest, self.rest = self.rest, b""
        self.sock.sendall(rest)
        self.writing_since = None
        self._silent_since = time.monotonic()

    def _enter(self, heartbeat: Heartbeat) -> str | None:
        """Be counted and looked after from now on, or return why not."""
        if self.server.stopping:
            return "draining"
        if (refused := self._place.take()) is not None:
            return refused
        is_in = False
        try:
            is_in = heartbeat.add(self, self._limit)
        finally:
            if not is_in:
                self._place.give_back()
        return None if is_in else "full"

    def _refusal(self, reason: str) -> bytes:
        """Return what is said to a client that is to come later, and let its connection go: it is no use to it until then."""
        self._close_connection()
        if reason == "draining":
            low, high = _retry_range(self._retry_milliseconds)
            return wire.come_back(_REFUSALS[reason], random.randint(low, high))
        return wire.come_back(_REFUSALS[reason], random.randint(*_LATER_MILLISECONDS))

    def _cut_short(self) -> None:
        """Let a planned end look like a fault, where that was chosen: to the server this is a client that left, so it sends no last chunk."""
        if self._ends_abruptly and self._ending == "draining":
            if self.sock is not None:
                sockets.hang_up(self.sock)
            raise BrokenPipeError(errno.EPIPE, "SSE_PUSH_ABRUPT_END: this stream ends without its last chunk")

    def _run(self) -> Generator[bytes, None, None]:
        heartbeat = process_heartbeat.get()
        wakeup = self._hang_bells()
        is_direct = self._lane is not None
        self._silent_since = time.monotonic()
        try:
            refused = self._enter(heartbeat)
        except BaseException:
            self._source.abandon()
            raise
        if refused is not None:
            self._source.abandon()
            self._observer.stream_refused(refused)
            yield self._refusal(refused)
            return
        self._close_connection = _nothing_to_close
        source = self._source
        opened = False
        try:
            if self.sock is not None:
                sockets.bound_buffer(self.sock)
            source.open(wakeup)
            opened = True
            self._observer.stream_opened(self._info, is_direct)
            yield _retry_line(self._retry_milliseconds) + source.prelude() + source.read()
            while self._ending not in _HARD_ENDINGS:
                if chunk := self.take():
                    yield chunk
                elif source.outcome is not None:
                    return
                elif self._ending is not None:
                    # No blank line behind it: see wire.come_back().
                    yield source.farewell() + _retry_line(self._retry_milliseconds)
                    self._cut_short()
                    return
                else:
                    wakeup.wait()
                    if self.rest:
                        self._send_rest()
        finally:
            heartbeat.remove(self)
            self._place.give_back()
            source.close() if opened else source.abandon()
            # Still writing means that the server came no more: its write failed.
            left = "closed" if self.writing_since is None else "gone"
            if opened:
                self._observer.stream_closed(self._info, self._ending or source.outcome or left, is_direct)


@cache
def _direct_bell() -> type[DirectBell]:
    from .direct import DirectBell  # only where gevent runs

    return DirectBell


def _retry_range(milliseconds: int) -> tuple[int, int]:
    """Within half of it, so that clients cut off together come back apart: browsers add nothing of their own."""
    return milliseconds // 2, milliseconds + milliseconds // 2


def _retry_line(milliseconds: int) -> bytes:
    return b"retry: %d\n" % random.uniform(*_retry_range(milliseconds))
