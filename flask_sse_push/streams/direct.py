"""
Direct delivery: who wakes a stream writes its bytes to the client's socket at once.

To wake a greenlet per client and go through the server's response costs three times what the write itself
does. The stream's greenlet is woken only where the write would wait. Imported only where gunicorn's gevent
worker runs.
"""

from __future__ import annotations

import time
from typing import Any

from gevent._hub_local import get_hub_if_exists
from gevent.hub import get_hub

from ..core.session import Action, Cause
from ..platform.gunicorn import is_server_asking, plain_response, sends_whole_body
from ..platform.waiting import Wakeup
from .source import Source
from .stream import Stream

__all__ = ["DirectStream", "DirectWriter"]

_RUNNING = 0  # the greenlet runs, or will
_PARKED = 1
_WRITING = 2


class DirectStream(Stream):
    """
    A stream of channels that writes to its client's socket, where gunicorn sends this very body as it is.

    Elsewhere, as behind a middleware that changes bodies, it is an ordinary stream.
    """

    __slots__ = ("_writer", "unsent")

    unsent: bytes
    """What the socket did not take, framed: the greenlet sends it before anything else."""

    def __eq__(self, other: object) -> bool:
        if is_server_asking(self):
            self.is_direct = True
        return self is other

    __hash__ = object.__hash__

    def look(self, now: float, looked_at: float, margin_seconds: float) -> None:
        """Do what is due, see :meth:`Stream.look`."""
        writer = self._writer
        if writer is not None and writer.has_sent:
            # It notes that it has sent something since the last look, and not when.
            writer.has_sent = False
            self.session.silent_since = looked_at
        super().look(now, looked_at, margin_seconds)

    def _listen(self, wakeup: Wakeup) -> Wakeup:
        connection = self.connection
        response = None
        if self.is_direct:
            response = plain_response(connection.server.worker, connection.start_response, connection.sock)
        self.unsent = b""
        self.is_direct = response is not None and sends_whole_body(response)
        self._writer = DirectWriter(self, self._source, wakeup, response) if self.is_direct else None
        return self._writer or wakeup

    def _woken(self) -> None:
        """
        Send what the socket did not take as the server itself would: waiting, and cut off by the heartbeat.
        """
        if not self.unsent:
            return
        assert self.connection.sock is not None
        unsent, self.unsent = self.unsent, b""
        self.connection.sock.sendall(unsent)
        self.session.writing_since = None
        self.session.silent_since = time.monotonic()


class DirectWriter:
    """
    A wakeup that sends, when it is called while its greenlet waits, what the stream has to send.

    What the socket does not take is left in ``stream.unsent`` for the greenlet. Everything but :meth:`wake`
    happens in the stream's greenlet; ``wake`` may be called from anywhere, and writes in its own loop alone.

    A fan-out over thousands of streams finds each of them out of the processor's cache, and every object that
    it touches costs as much as ten lines of code. So what a delivery needs is kept here: neither the stream
    nor the server's response is touched.

    Args:
        stream (DirectStream): Who waits.
        source (Source): Whose bytes are sent. It never waits.
        wakeup (Wakeup): Wakes the stream's greenlet.
        response (Any): gunicorn's, see :func:`platform.gunicorn.plain_response`. Its headers are set, and go
            out before the first :meth:`wait`.
    """

    __slots__ = (
        "_chunked",
        "_hub",
        "_is_missed",
        "_response",
        "_sent_bytes",
        "_sock",
        "_source",
        "_state",
        "_stream",
        "_wakeup",
        "has_sent",
    )

    def __init__(self, stream: DirectStream, source: Source, wakeup: Wakeup, response: Any) -> None:
        self.has_sent = False
        """Set with everything that is sent; whoever wants to know the time sets it back now and then."""
        self._stream = stream
        self._source = source
        self._wakeup = wakeup
        self._response = response
        self._chunked: bool = response.chunked  # as the server announced it
        # The C socket within gevent's: it never waits, and nobody else can get its number while it is open.
        self._sock = response.sock._sock  # noqa: SLF001
        self._hub = get_hub()
        self._state = _RUNNING
        self._is_missed = False
        self._sent_bytes = 0

    @property
    def is_pending(self) -> bool:
        """Whether the greenlet was woken and has not come to run yet."""
        return self._wakeup.is_pending

    def wake(self) -> None:
        """Send what there is, or wake the greenlet where it is not parked or not in this loop."""
        if self._state != _PARKED or get_hub_if_exists() is not self._hub:
            self._wakeup.wake()
            return
        # A finalizer that runs in between may give way, and whoever wakes this stream then must not overtake
        # us.
        self._state = _WRITING
        source = self._source
        try:
            chunk = source.read() or self._sign_of_life()
            while chunk and self._send(chunk) and source.has_more:
                chunk = source.read()
            if source.outcome is not None:
                self._wakeup.wake()  # an end is the greenlet's
        except BaseException:
            # Nobody knows how far it came, and what the server still has to say would stand in the middle of
            # it. The client comes back, and resumes.
            self._state = _RUNNING
            self._stream.cut_off()
            raise
        finally:
            if self._state == _WRITING:
                self._state = _PARKED
            if self._is_missed:
                self._is_missed = False
                self._wakeup.wake()

    def wait(self, timeout: float | None = None) -> bool:
        """Park: from now on until this returns, :meth:`wake` sends."""
        self._state = _PARKED
        try:
            woken = self._wakeup.wait(timeout)
            while self._state == _WRITING:
                self._is_missed = True
                self._wakeup.wait()
        finally:
            self._state = _RUNNING
            self._response.sent += self._sent_bytes  # for the access log
            self._sent_bytes = 0
        return woken

    def _sign_of_life(self) -> bytes:
        if self.has_sent:
            # An event came in the place of the sign of life for which the heartbeat woke the stream.
            self._stream.session.happen(Cause.SENT)
        action, chunk = self._stream.take()
        return chunk if action is Action.SEND or action is Action.BEAT else b""

    def _send(self, chunk: bytes) -> bool:
        """Return whether the socket took all of it."""
        framed = _framed(chunk) if self._chunked else chunk
        try:
            sent = self._sock.send(framed)
        except OSError:
            # it is full; or it is broken, and the greenlet meets the same error, where the server expects it
            sent = 0
        self._sent_bytes += len(chunk)
        self.has_sent = True
        if sent == len(framed):
            return True
        self._stream.unsent = framed[sent:]
        self._stream.session.writing_since = time.monotonic()
        # Last: the greenlet may have been woken already, and then goes on from here. Until it does, nothing
        # may come in between.
        self._state = _RUNNING
        self._wakeup.wake()
        return False


_last: tuple[bytes, bytes] = (b"", b"")  # the last chunk, and what was made of it


def _framed(chunk: bytes) -> bytes:
    """
    Return a chunk of chunked transfer coding (RFC 9112, 7.1).

    It is made once for streams at the same position that are woken one after the other.
    """
    global _last  # noqa: PLW0603
    last, framed = _last
    if last is not chunk:
        framed = b"%X\r\n%b\r\n" % (len(chunk), chunk)
        _last = chunk, framed
    return framed
