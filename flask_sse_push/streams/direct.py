"""
The express lane: who rings for a stream writes its bytes to the client's socket at once, and wakes its greenlet only where that would wait.

To wake a greenlet per client and go through the server's response costs three times what the write itself does. Imported only
where gunicorn's gevent worker runs.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

from gevent._hub_local import get_hub_if_exists
from gevent.hub import get_hub

from ..platform.waiting import Wakeup

__all__ = ["Direct", "DirectBell"]

_RUNNING = 0  # the greenlet runs, or will
_PARKED = 1
_WRITING = 2


class Direct(Protocol):
    """What the lane knows of a stream."""

    rest: bytes
    """What the socket did not take."""
    writing_since: float | None
    """Since when it does not."""

    def take(self) -> bytes:
        """Return what is to be sent though there are no news, a heartbeat for instance; empty when there is nothing, or when the stream is to end."""

    def cut_off(self) -> None:
        """End now."""


class News(Protocol):
    """What the lane knows of a stream's source."""

    has_more: bool
    """Whether the last read left something that was ready."""

    def read(self) -> bytes:
        """Return what is ready."""


class DirectBell:
    """
    A wakeup that, rung while its greenlet waits, sends what the stream has to send.

    What the socket does not take is left in ``stream.rest`` for the greenlet, which sends it before anything else. Everything but ``ring``
    happens in the stream's greenlet; ``ring`` may be called from anywhere, and writes in its own loop alone.

    A fan-out over thousands of streams finds each of them out of the processor's cache, and every object that it touches costs as much as
    ten lines of code. So what a delivery needs is kept here, and neither the stream nor the server's response is touched.

    Args:
        stream (Direct): Who waits.
        source (News): Whose bytes are sent.
        wake (Wakeup): Wakes the stream's greenlet.
        response (Any): gunicorn's, see :func:`server.plain_response`; its headers are set, and go out before the first ``wait``.
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
        "_wake",
        "has_sent",
    )

    def __init__(self, stream: Direct, source: News, wake: Wakeup, response: Any) -> None:
        self.has_sent = False
        """Set with everything that is sent; whoever wants to know the time sets it back now and then."""
        self._stream = stream
        self._source = source
        self._wake = wake
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
        return self._wake.is_pending

    def wake(self) -> None:
        """Send what there is, or wake the greenlet where it is not parked or not in this loop."""
        if self._state != _PARKED or get_hub_if_exists() is not self._hub:
            self._wake.wake()
            return
        self._state = _WRITING  # a finalizer that runs in between may give way, and whoever rings then must not overtake us
        source = self._source
        try:
            chunk = source.read() or self._stream.take()
            while chunk and self._send(chunk) and source.has_more:
                chunk = source.read()
        except BaseException:
            # Nobody knows how far it came, and what the server still has to say would stand in the middle of it. The client comes back, and resumes.
            self._state = _RUNNING
            self._stream.cut_off()
            raise
        finally:
            if self._state == _WRITING:
                self._state = _PARKED
            if self._is_missed:
                self._is_missed = False
                self._wake.wake()

    def wait(self, timeout: float | None = None) -> bool:
        """Park: from now on until this returns, ``ring`` sends."""
        self._state = _PARKED
        try:
            rung = self._wake.wait(timeout)
            while self._state == _WRITING:
                self._is_missed = True
                self._wake.wait()
        finally:
            self._state = _RUNNING
            self._response.sent += self._sent_bytes  # for the access log
            self._sent_bytes = 0
        return rung

    def _send(self, chunk: bytes) -> bool:
        """Return whether the socket took all of it."""
        framed = _framed(chunk) if self._chunked else chunk
        try:
            sent = self._sock.send(framed)
        except OSError:
            sent = 0  # it is full; or it is broken, and the greenlet meets the same error, where the server expects it
        self._sent_bytes += len(chunk)
        self.has_sent = True
        if sent == len(framed):
            return True
        self._stream.rest = framed[sent:]
        self._stream.writing_since = time.monotonic()
        self._state = _RUNNING  # last: it may have been woken already, and then goes on from here; and until it does nothing may come in between
        self._wake.wake()
        return False


_last: tuple[bytes, bytes] = (b"", b"")  # the last chunk, and what was made of it


def _framed(chunk: bytes) -> bytes:
    """Return a chunk of chunked transfer coding (RFC 9112, 7.1), made once for streams at the same position that are rung one after the other."""
    global _last  # noqa: PLW0603
    last, framed = _last
    if last is not chunk:
        framed = b"%X\r\n%b\r\n" % (len(chunk), chunk)
        _last = chunk, framed
    return framed
