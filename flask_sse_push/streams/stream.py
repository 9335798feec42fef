"""A source turned into the chunks of one response."""

from __future__ import annotations

import errno
import math
import random
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ..core import positions, wire
from ..core.session import Action, Cause, Session, State
from ..platform import sockets
from ..platform.backends import current_backend
from ..platform.server import Connection, Server
from ..platform.waiting import Wakeup
from .registry import StreamRegistry, process_registry
from .source import Source

__all__ = ["Observer", "Place", "Stream", "StreamInfo", "StreamOptions"]

# A browser that is told to come later waits this long: long enough for room, and not all at once.
_LATER_MILLISECONDS = (15_000, 60_000)

_REFUSALS = {
    "draining": "This server is stopping. Come back.",
    "full": "This server has as many streams as it may have. Come back later.",
    "client": "This client has as many streams as it may have. Come back later.",
    "unknown client": "This server cannot tell whose stream this would be. Come back later.",
    "abandoned": "This server has as many streams as it may have. Come back later.",
    "bus": "This server cannot read the events of its app. Come back later.",
}


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
    """Who is told of a stream's life. Called by the stream, from its thread or greenlet."""

    def stream_opened(self, info: StreamInfo, is_direct: bool) -> None:
        """
        Its first byte is about to be sent; ``is_direct``: the client's socket is written to directly after
        it.
        """

    def stream_closed(self, info: StreamInfo, reason: str, is_direct: bool) -> None:
        """It is over and holds nothing any more."""

    def stream_refused(self, reason: str) -> None:
        """
        Its client was asked to come later: ``"full"``, ``"abandoned"``, ``"draining"``, ``"client"``,
        ``"unknown client"`` or ``"bus"``.
        """


class StreamOptions(NamedTuple):
    """What a stream is told of its app's settings."""

    heartbeat_seconds: float
    """How long a client may hear nothing, at most."""
    write_timeout_seconds: float
    """How long a client may take nothing of a write."""
    retry_milliseconds: int
    """After how long clients come back, within half of it."""
    abrupt_end: bool
    """Whether a stream of channels that is asked to end breaks off, like a fault."""


class Place(Protocol):
    """What a stream takes when it begins, and gives back when it has ended."""

    def why_not(self) -> str | None:
        """Return why it could not be taken now; ``None`` when it could."""

    def take(self) -> str | None:
        """Take it, or return why not."""

    def give_back(self) -> None:
        """Undo a :meth:`take` that succeeded."""


def _nothing_to_close() -> None:
    """The server cannot be told to close its connection."""


_UNCONNECTED = Connection(Server("unknown server"), None, None, _nothing_to_close)


class Stream:
    """
    The iterable that the server sends: it waits, reads its source when it is woken, and never holds a queue.

    Nothing is taken before the server asks for the first chunk. A server may close what it never began to
    send (HEAD, a client that left), and a generator that was not started runs no ``finally``.

    What happens when is decided by the :class:`Session`; this class does it by way of the server's response.

    Args:
        source (Source): Where the bytes come from.
        options (StreamOptions): Time-outs and intervals.
        info (StreamInfo): Told to the observer.
        observer (Observer): Told of opening, closing and refusal.
        limit (int): How many streams the process may have with this one.
        place (Place | None): What it takes from its client's share while it is open; ``None`` for no limit.
    """

    __slots__ = (
        "_chunks",
        "_closed",
        "_ends_at",
        "_info",
        "_limit",
        "_listener",
        "_options",
        "_place",
        "_source",
        "_taken_bytes",
        "_wakeup",
        "connection",
        "heartbeat_seconds",
        "is_bare",
        "is_direct",
        "observer",
        "session",
        "write_timeout_seconds",
    )

    def __init__(
        self,
        source: Source,
        options: StreamOptions,
        info: StreamInfo,
        observer: Observer,
        limit: int,
        place: Place | None = None,
    ) -> None:
        # Streams that got an event together are silent together: they must not all get a heartbeat together
        # too.
        self.heartbeat_seconds = options.heartbeat_seconds * random.uniform(0.75, 1)
        """How long this client may hear nothing."""
        self.write_timeout_seconds = options.write_timeout_seconds
        """How long the client may take nothing of a write."""
        self.session = Session(self.heartbeat_seconds, options.write_timeout_seconds)
        """Where it is in its life."""
        self.connection = _UNCONNECTED
        """What sends it; set before the first chunk."""
        self.is_direct = False
        """Whether the client's socket is written to beside the server."""
        self.is_bare = False
        """
        Whether nothing of this package is around it: :meth:`close` is then the last that the server hears of
        it.
        """
        self._source = source
        self._options = options
        self._info = info
        self.observer = observer
        """Who is told of its life."""
        self._limit = limit
        self._place = place
        self._wakeup: Wakeup | None = None  # of the thread or greenlet that sends
        self._listener: Wakeup | None = None  # what the source wakes
        self._closed = False
        self._ends_at = math.inf  # on the clock of time.monotonic
        self._taken_bytes: int | None = None  # by the client, at the last look in the middle of a write
        self._chunks = self._run()

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> bytes:
        if self._closed:
            raise StopIteration
        self.session.writing_since = None
        chunk = next(self._chunks)
        self.session.silent_since = self.session.writing_since = time.monotonic()
        return chunk

    def close(self) -> None:
        """
        Give everything back. Any number of times, before the first chunk or after the last.

        Called by the server, or by what stands before it.
        """
        self._give_back()
        if self.is_bare and sys.exc_info()[1] is not None:
            sockets.hush_timeout()

    def look(self, now: float, looked_at: float, margin_seconds: float) -> None:
        """
        Do what is due. Called by the heartbeat alone.

        Args:
            now (float): On the clock of ``time.monotonic``.
            looked_at (float): When this was called last.
            margin_seconds (float): How long until it is called next, at most.
        """
        if now >= self._ends_at:
            self.end(Cause.STOP)
        sock = self.connection.sock
        if self.session.writing_since is not None and sock is not None:
            taken_bytes = sockets.taken_bytes(sock)
            if taken_bytes != self._taken_bytes:
                self._taken_bytes, self.session.taken_at = taken_bytes, now
        cause = self.session.look(now, margin_seconds)
        if cause is Cause.SILENCE:
            self.session.happen(cause)
            if self._listener is not None:
                self._listener.wake()
        elif cause is not None:
            self.cut_off()
            if cause is Cause.CLOSE:
                # Middleware that forgets close() is against PEP 3333, and common.
                try:
                    self._give_back()
                except ValueError:
                    pass  # the generator runs at this moment, so it is not abandoned

    def end(self, cause: Cause) -> None:
        """
        End soon. From any thread.

        Args:
            cause (Cause): :attr:`Cause.HANG_UP`, or :attr:`Cause.STOP`: then after what is ready was sent.
        """
        self.session.happen(cause, time.monotonic())
        self._wake()

    def cut_off(self) -> None:
        """End now: the client takes nothing, and a write may be waiting for it. From any thread."""
        self.session.happen(Cause.STALL)
        if self.connection.sock is not None:
            sockets.cut(self.connection.sock)
        self._wake()

    def take(self) -> tuple[Action, bytes]:
        """
        Return what to do next, and what to send where that is to be done. Called by one thread at a time.
        """
        session, source = self.session, self._source
        if session.is_over:
            return Action.END, b""
        chunk = source.read()
        action = session.next(bool(chunk), source.outcome is not None, time.monotonic())
        if action is Action.BEAT:
            chunk = source.heartbeat()
        elif action is Action.SAY_GOODBYE:
            # No blank line behind it: see wire.come_back().
            chunk = source.farewell() + self._retry_line()
        return action, chunk

    def _wake(self) -> None:
        if self._wakeup is not None:
            self._wakeup.wake()

    def _give_back(self) -> None:
        has_begun = self._wakeup is not None
        is_first, self._closed = not self._closed, True
        self._chunks.close()
        if is_first and not has_begun:
            self._source.close()

    def _listen(self, wakeup: Wakeup) -> Wakeup:
        """Return what the source is to wake when there is something to read."""
        return wakeup

    def _woken(self) -> None:
        """Do what comes before reading, when the thread or greenlet has waited."""

    def _enter(self, registry: StreamRegistry) -> str | None:
        """Be counted and looked after from now on, or return why not."""
        server = self.connection.server
        if server.worker is not None and not server.worker.alive:
            return "draining"
        if server.stream_seconds is not None and self._source.channels:  # an iterable cannot be gone on with
            self._ends_at = self.session.silent_since + server.stream_seconds * random.uniform(0.75, 1)
        place = self._place
        if place is not None and (refused := place.take()) is not None:
            return refused
        is_in = False
        try:
            is_in = registry.add(self, self._limit)
        finally:
            if not is_in and place is not None:
                place.give_back()
        return None if is_in else "full"

    def _leave(self, registry: StreamRegistry) -> None:
        """Undo :meth:`_enter`."""
        registry.remove(self)
        if self._place is not None:
            self._place.give_back()
        if self.session.state is State.DRAINING:
            # gunicorn's gevent worker would wait for another request on it before it stops, for as long as
            # --keep-alive says. Not earlier: while the socket is watched this looks like a hang-up.
            self.connection.close_after_answer()

    def _refuse(self, reason: str) -> bytes:
        """
        Return what is said to a client that is to come later. Its connection ends: it is of no use until
        then.
        """
        self.session.happen(Cause.REFUSAL)
        self._source.close()
        self.observer.stream_refused(reason)
        self.connection.close_after_answer()
        low, high = self._retry_range() if reason == "draining" else _LATER_MILLISECONDS
        return wire.come_back(_REFUSALS[reason], random.randint(low, high))

    def _break_off(self) -> None:
        """
        Let a planned end look like a fault, where that was chosen.

        To the server this is a client that left, so it sends no last chunk.
        """
        is_planned = self.session.state is State.DRAINING and bool(self._source.channels)
        if is_planned and self._options.abrupt_end:
            if self.connection.sock is not None:
                sockets.hang_up(self.connection.sock)
            raise BrokenPipeError(errno.EPIPE, "SSE_PUSH_ABRUPT_END: this stream ends without its last chunk")

    def _retry_range(self) -> tuple[int, int]:
        """
        Within half of it, so that clients cut off together come back apart: browsers add nothing of their
        own.
        """
        milliseconds = self._options.retry_milliseconds
        return milliseconds // 2, milliseconds + milliseconds // 2

    def _retry_line(self) -> bytes:
        return wire.RETRY_LINE % random.randint(*self._retry_range())

    def _run(self) -> Generator[bytes, None, None]:
        registry = process_registry.made.get(None)
        if registry is None:
            registry = process_registry.get()
        source = self._source
        wakeup = self._wakeup = current_backend().wakeup()
        listener = self._listener = self._listen(wakeup)
        self.session.silent_since = time.monotonic()
        has_entered = has_opened = False
        try:
            refused = self._enter(registry)
            if refused is not None:
                yield self._refuse(refused)
                return
            has_entered = True
            source.open(listener)
            has_opened = True
            self.observer.stream_opened(self._info, self.is_direct)
            first = self._retry_line() + source.prelude() + source.read()
            self.session.happen(Cause.BEGUN)
            yield first
            while True:
                action, chunk = self.take()
                if action is Action.WAIT:
                    listener.wait()
                    self._woken()
                elif action is Action.END:
                    return
                else:
                    yield chunk
                    if action is Action.SAY_GOODBYE:
                        self._break_off()
                        return
        finally:
            if has_entered:
                self._leave(registry)
            source.close()
            if has_opened:
                self.observer.stream_closed(self._info, self.session.close(source.outcome), self.is_direct)
